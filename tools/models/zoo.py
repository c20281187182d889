"""Every model by name: build, give it weights and inputs, trace or script."""
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from . import text, vision, weights

SCRIPTED = "_scripted"  # suffix: torch.jit.script in place of torch.jit.trace
NO_GRAD = "_no_grad"  # suffix: traced under torch.no_grad(), where nn.MultiheadAttention takes its fused path


def names() -> list[str]:
    return [*vision.MODELS, "resnet18" + SCRIPTED, "vit_b_16" + NO_GRAD, *text.MODELS]


@dataclass
class Built:
    module: nn.Module
    inputs: tuple  # example tensors, drawn from a fixed seed


def build(name: str, small: bool = False, batch: int = 1) -> Built:
    """The eager module in eval mode and a batch of inputs. Weights depend on the name and the size alone."""
    base = name.removesuffix(SCRIPTED).removesuffix(NO_GRAD)
    torch.manual_seed(0)  # the authors' own initialisation draws from the global generator
    generator = torch.Generator().manual_seed(1)
    if base in vision.MODELS:
        full, full_size, little, little_size = vision.MODELS[base]
        module, size = (little(), little_size) if small else (full(), full_size)
        weights.randomise(module, generator)
        weights.calibrate(module, lambda: vision.image_inputs(8 if small else 2, size, generator))
        draw = lambda g: vision.image_inputs(batch, size, g)
    elif base in text.MODELS:
        builder, with_mask, trained = text.MODELS[base]
        module = builder(small)
        if small or not trained:
            weights.randomise(module, generator)
        vocabulary = next(m for m in module.modules() if isinstance(m, nn.Embedding)).num_embeddings
        sequence = text.SMALL_SEQUENCE if small else text.SEQUENCE
        draw = lambda g: text.token_inputs(batch, sequence, vocabulary, with_mask, g)
    else:
        raise KeyError(name)
    return Built(module.eval(), draw(torch.Generator().manual_seed(2)))


def export(name: str, path: str, small: bool = False, batch: int = 1) -> Built:
    """Writes the TorchScript archive. A trace keeps its inputs in it; a scripted module has none."""
    built = build(name, small, batch)
    with torch.set_grad_enabled(not name.endswith(NO_GRAD)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer warnings of the models' own Python branches; deprecation of TorchScript
        if name.endswith(SCRIPTED):
            script = torch.jit.script(built.module)
        else:
            script = torch.jit.trace(built.module, built.inputs, check_trace=False)
        script.save(path)
    return built
