"""torchvision's nms and roi_align in Python, for tracing and calibrating where torchvision's extension cannot load.

Slow; they only have to give the right values while a model is exported. torchvision's Python side is told that its
operators are there.
"""
import sys

import torch

_implementations = []  # the library objects own what they register


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Indices of the boxes that stay, by falling score: each drops those after it that overlap it by more."""
    from torchvision.ops import box_iou
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, kept = dets[order], torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if kept[i]:
            kept[i + 1:] &= box_iou(boxes[i:i + 1], boxes[i + 1:])[0] <= iou_threshold
    return order[kept]


def roi_align(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned):
    return sys.modules["torchvision.ops.roi_align"]._roi_align(
        input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)


def has_ops() -> bool:
    return True


def provide() -> None:
    import torchvision.extension
    library = torch.library.Library("torchvision", "IMPL")
    library.impl("nms", nms, "CPU")
    library.impl("roi_align", roi_align, "CPU")
    _implementations.append(library)
    torchvision.extension._has_ops = has_ops
    sys.modules["torchvision.ops.roi_align"]._has_ops = has_ops
