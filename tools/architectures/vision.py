"""torchvision's and timm's architectures: the eager module, example inputs, and how to draw more of them.

Options: `size` is the side of the image, `frames` the length of a video, `pass_size=1` tells the model its image size.
"""
import torch
from torch import nn

try:
    import torchvision.models as tv
except Exception:  # its extension belongs to another build of torch
    from models import torchvision_schemas  # noqa: F401
    import torchvision.models as tv
    from . import detection_ops
    detection_ops.provide()

VIDEO = ("mc3_", "r2plus1d_", "r3d_", "s3d", "swin3d_", "mvit_")
DETECTION = ("fasterrcnn_", "fcos_", "keypointrcnn_", "maskrcnn_", "retinanet_", "ssd300_", "ssdlite320_")


class Detector(nn.Module):
    """One image in, the tensors found in it out; a detection model itself takes a list of images."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor):
        if torch.jit.is_scripting():
            return self.model([image])[1][0]  # scripted, torchvision's give (losses, detections)
        return self.model([image])[0]

    def spread(self, image: torch.Tensor):
        """Scales what the heads end in, so that scores lie apart and boxes within the image: where all scores are 1 to the last digit, rounding
        alone decides what is found."""
        hooks = [module.register_forward_hook(self.scaled_to(0.5 if "bbox" in name or "regression" in name else 2.0))
                 for name, module in self.model.named_modules() if self.is_end(name)]
        with torch.no_grad():
            self(torch.randn_like(image))  # as `mica verify` draws images
        for hook in hooks:
            hook.remove()

    @staticmethod
    def is_end(name: str) -> bool:
        last = name.rsplit(".", 1)[-1]
        return last in ("cls_logits", "cls_score", "bbox_reg", "bbox_pred", "bbox_ctrness") or ".module_list." in name and name.count(".") in (3, 4)

    @staticmethod
    def scaled_to(wanted: float):
        done = set()

        def hook(module, inputs, output):
            if id(module) in done or not isinstance(module, (nn.Conv2d, nn.Linear)):
                return None
            done.add(id(module))
            factor = wanted / max(float(output.std()), 1e-6)
            module.weight.mul_(factor)
            if module.bias is not None:
                module.bias.zero_()
            return module(*inputs)
        return hook

    def calibration(self):
        """The part whose batch-norm is calibrated alone: what the heads see depends on what is found."""
        return self.model.backbone


def torchvision_arguments(name: str, size: int) -> dict:
    arguments = {"weights": None}
    if name.startswith("quantized_"):
        arguments["quantize"] = False
    if "googlenet" in name or "inception" in name:
        arguments["init_weights"] = False  # theirs takes a minute
    if name.startswith(DETECTION) or name.startswith(("deeplabv3_", "fcn_", "lraspp_")):
        arguments["weights_backbone"] = None
    if name.startswith(DETECTION) and not name.startswith("ssd"):
        arguments.update(min_size=size, max_size=size)
    if name.startswith(("fasterrcnn_", "keypointrcnn_", "maskrcnn_")):  # fewer boxes than the thousand of training
        arguments.update(rpn_pre_nms_top_n_test=200, rpn_post_nms_top_n_test=50, box_detections_per_img=20)
    elif name.startswith(DETECTION):
        arguments.update(topk_candidates=50, detections_per_img=20)
    if name.startswith("vit_"):
        arguments["image_size"] = size
    return arguments


def torchvision_model(name: str, options: dict):
    """(module, draw): `draw(batch, generator)` gives the tuple of inputs."""
    size, frames = options.get("size", 224), options.get("frames", 16)
    model = tv.get_model(name, **torchvision_arguments(name, size))
    if name.startswith(DETECTION):
        detector = Detector(model)
        return detector, lambda batch, g: (torch.rand(3, size, size, generator=g),) if batch == 1 else (
            torch.randn(batch, 3, size, size, generator=g),)
    if name.startswith("raft_"):
        return model, lambda batch, g: tuple(torch.rand(batch, 3, size, size, generator=g) * 2 - 1 for _ in range(2))
    shape = (3, frames, size, size) if name.startswith(VIDEO) else (3, size, size)
    return model, lambda batch, g: (torch.randn(batch, *shape, generator=g),)


def timm_model(name: str, options: dict):
    """(module, draw), as torchvision_model."""
    import timm
    size = options.get("size", 224)
    arguments = {"img_size": size} if options.get("pass_size") else {}
    model = timm.create_model(name, pretrained=False, **arguments)
    channels = (getattr(model, "default_cfg", None) or {}).get("input_size", (3,))[0]
    return model, lambda batch, g: (torch.randn(batch, channels, size, size, generator=g),)


def names_of_torchvision() -> list[str]:
    return tv.list_models()
