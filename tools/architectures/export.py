"""One architecture to one TorchScript archive, with weights from a fixed seed."""
import os
import warnings

import torch

from models import weights
from .names import Architecture

LETTERS = {torch.float32: "f32", torch.int64: "i64", torch.bool: "bool"}


class NotAvailable(Exception):
    """This version of the library does not have the architecture."""


def build(architecture: Architecture):
    """(module in eval mode with random weights of sane scale, inputs). Raises NotAvailable."""
    from . import text, vision
    torch.manual_seed(0)  # the authors' own initialisation draws from the global generator
    generator = torch.Generator().manual_seed(1)
    maker = {"timm": vision.timm_model, "transformers": text.transformers_model}.get(architecture.kind, vision.torchvision_model)
    try:
        module, draw = maker(architecture.name, architecture.options)
    except (ImportError, AttributeError, ValueError, RuntimeError, KeyError) as error:
        if known(architecture):
            raise
        raise NotAvailable(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    module.eval()
    weights.randomise(module, generator)
    part = module.calibration() if hasattr(module, "calibration") else module
    weights.calibrate(part, lambda: draw(4, generator), batches=1)
    if hasattr(module, "spread"):
        module.eval().spread(*draw(1, generator))
    return module.eval(), draw(1, torch.Generator().manual_seed(2))


def known(architecture: Architecture) -> bool:
    """Whether the installed library has an architecture of the name, so that an error in making it is an error."""
    from . import text, vision
    if architecture.kind == "timm":
        import timm
        return timm.is_model(architecture.name)
    if architecture.kind == "transformers":
        return text.available(architecture.name)
    return architecture.name in vision.names_of_torchvision()


def export(architecture: Architecture, path: str) -> list[str]:
    """Writes the archive; gives back the --input flags that it needs (a trace has its inputs in it)."""
    module, inputs = build(architecture)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer warnings of the models' own Python branches; deprecations
        if architecture.scripted:
            torch.jit.script(module).save(path)
            return [f for t in inputs for f in ("--input", "x".join(map(str, t.shape)) + ":" + LETTERS[t.dtype])]
        torch.jit.trace(module, inputs, check_trace=False, strict=False).save(path)
        return []


def versions() -> dict[str, str]:
    import importlib.metadata
    found = {"torch": torch.__version__}
    for name in ("torchvision", "timm", "transformers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            module = __import__(name)
            found[name] = getattr(module, "__version__", "unknown")
    return found


def warm_up() -> None:
    """Imports what every export needs, once, before the sweep forks."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    from . import text, vision  # noqa: F401
