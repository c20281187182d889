#pragma once

namespace mica::frontend {

/// Makes torchvision::nms and torchvision::roi_align known to LibTorch, once. Before a model is loaded or compiled from source.
void register_torchvision();

}  // namespace mica::frontend
