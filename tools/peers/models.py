"""What is measured: a module in evaluation mode and its inputs, from a name, an archive or a Python file."""
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass
class Source:
    name: str
    module: torch.nn.Module  # eager, or a ScriptModule where there is only an archive
    inputs: tuple
    archive: Path | None = None  # the TorchScript archive, where it is given

    @property
    def scripted(self) -> bool:
        return isinstance(self.module, torch.jit.ScriptModule)


class NoSuchModel(Exception):
    """The text names no model; str() says what would."""


def load(text: str, batch: int) -> Source:
    """A name of tools/models/export --list, a line of tools/coverage.list ("timm convnext_tiny"), FILE.pt that was traced, or
    FILE.py:FUNCTION that gives back (module, inputs) for a batch size. Raises NoSuchModel."""
    if text.endswith(".pt"):
        return from_archive(Path(text), batch)
    if ".py:" in text:
        return from_file(*text.rsplit(":", 1), batch)
    from models import zoo
    if text in zoo.names():
        built = zoo.build(text, batch=batch)
        return Source(text, built.module, built.inputs)
    from architectures import export, names
    for architecture in names.read(names.LIST)[0]:
        if str(architecture) == text and not architecture.scripted:
            module, inputs = export.build(architecture)
            return Source(text.replace(" ", "-"), module, tuple(repeat(x, batch) for x in inputs))
    raise NoSuchModel(f"no model '{text}'; give a name of tools/models/export --list, a line of tools/coverage.list, FILE.pt or FILE.py:FUNCTION")


def repeat(x: torch.Tensor, batch: int) -> torch.Tensor:
    return x.repeat(batch, *[1] * (x.dim() - 1)) if batch > 1 and x.dim() else x


def from_archive(path: Path, batch: int) -> Source:
    if batch != 1:
        raise NoSuchModel(f"{path} is a trace of one batch size; export it with the size that is to be measured, and leave --batch out")
    module = torch.jit.load(str(path), map_location="cpu").eval()
    kinds = [value.type() for value in list(module.graph.inputs())[1:]]
    if not all(kind.kind() == "TensorType" and kind.sizes() is not None for kind in kinds):
        raise NoSuchModel(f"{path} does not say the shapes of its inputs; trace the model, or give FILE.py:FUNCTION")
    generator = torch.Generator().manual_seed(2)
    inputs = tuple(draw(kind, generator) for kind in kinds)
    return Source(path.stem, module, inputs, path)


def draw(kind, generator) -> torch.Tensor:
    dtype = kind.dtype() or torch.float32
    if dtype.is_floating_point:
        return torch.randn(kind.sizes(), generator=generator, dtype=torch.float32).to(dtype)
    return torch.randint(0, 2, kind.sizes(), generator=generator).to(dtype)


def from_file(path: str, function: str, batch: int) -> Source:
    spec = importlib.util.spec_from_file_location("peer_model", path)
    if spec is None or not Path(path).exists():
        raise NoSuchModel(f"no Python file {path}")
    file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    if not hasattr(file, function):
        raise NoSuchModel(f"{path} has no function {function}")
    torch.manual_seed(0)  # every contender makes the model for itself
    module, inputs = getattr(file, function)(batch)
    return Source(function, module.eval(), tuple(inputs))
