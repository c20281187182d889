"""Random weights of sane scale, where a model has no trained ones.

Fresh modules are poor test subjects: batch-norm statistics are 0 and 1, biases are 0, torchvision's ViT head is all
zeros, BEiT's head is next to nothing and layer scales are 1e-6, so that whole blocks contribute nothing and a wrong kernel would pass unseen.
"""
import math

import torch
from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Fills every parameter whose initial value hides errors; leaves the others as the model's author drew them."""

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    def normal(tensor, std):
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if isinstance(module, NORMS) or "Affine" in type(module).__name__:
                    if parameter.dim() >= 1 and name in ("weight", "alpha"):
                        uniform(parameter, 0.7, 1.3)
                    else:
                        normal(parameter, 0.1)
                elif name.startswith(("layer_scale", "gamma", "ls1", "ls2")):
                    uniform(parameter, 0.2, 0.5)
                elif name == "bias" or name.endswith("_bias"):
                    normal(parameter, 0.05)
                elif parameter.dim() >= 2 and float(parameter.abs().max()) < 1e-3:  # also heads that start at next to nothing
                    normal(parameter, 1.0 / math.sqrt(parameter[0].numel()))


def calibrate(model: nn.Module, inputs, batches: int = 3) -> None:
    """Sets the running statistics of batch-norm to those of `batches` calls on `inputs()`, so that activations
    neither vanish nor explode in eval mode. Dropout stays off; other modules stay in eval mode."""
    norms = [m for m in model.modules() if isinstance(m, BATCH_NORMS)]
    if not norms:
        return
    model.eval()
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    with torch.no_grad():
        for _ in range(batches):
            model(*inputs())
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
        # One pixel a channel (small images, last stages) has no variance to speak of.
        norm.running_var.clamp_(min=1e-2)
    model.eval()
