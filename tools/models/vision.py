"""Image models: torchvision and timm, full size and a small instance of each family."""
import torch
from torch import nn

from . import torchvision_schemas  # noqa: F401  (before torchvision)

import torchvision.models as tv
from torchvision.models import convnext, densenet, efficientnet, inception, mobilenetv3, resnet, swin_transformer
from torchvision.models import vgg, vision_transformer
import timm
from timm.models import efficientnet as timm_efficientnet
from timm.models import mlp_mixer


def small_resnet18():
    return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)


def small_resnet50():
    return resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=10, width_per_group=16)


def small_mobilenet_v3():
    setting, last = mobilenetv3._mobilenet_v3_conf("mobilenet_v3_large", width_mult=0.25, reduced_tail=True)
    return mobilenetv3.MobileNetV3(setting, last, num_classes=10)


def small_efficientnet():
    setting, last = efficientnet._efficientnet_conf("efficientnet_b0", width_mult=0.25, depth_mult=0.4)
    return efficientnet.EfficientNet(setting, dropout=0.2, last_channel=last, num_classes=10)


def small_densenet():
    return densenet.DenseNet(growth_rate=8, block_config=(2, 3, 2, 2), num_init_features=16, num_classes=10)


def small_vgg():
    model = vgg.VGG(vgg.make_layers([8, "M", 16, "M", 24, 24, "M"]), num_classes=10)
    model.avgpool = nn.AdaptiveAvgPool2d((2, 2))
    model.classifier = nn.Sequential(nn.Linear(24 * 2 * 2, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, 10))
    return model


class SmallInception(nn.Module):
    """One of each kind of torchvision's inception blocks: 1x7 and 7x1 kernels, branches of unequal length, concat."""

    def __init__(self):
        super().__init__()
        self.stem = inception.BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.a = inception.InceptionA(32, pool_features=32)
        self.b = inception.InceptionB(256)
        self.c = inception.InceptionC(736, channels_7x7=32)
        self.d = inception.InceptionD(768)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(1280, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.stem(x), kernel_size=3, stride=2)
        x = self.d(self.c(self.b(self.a(x))))
        return self.fc(torch.flatten(self.pool(x), 1))


def small_convnext():
    config = convnext.CNBlockConfig
    return convnext.ConvNeXt([config(16, 32, 1), config(32, 64, 2), config(64, None, 1)], num_classes=10)


def small_vit():
    return vision_transformer.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=10)


def small_swin():
    # 16 x 16 tokens in windows of 4, so that the second block of each stage shifts its windows.
    return swin_transformer.SwinTransformer(
        patch_size=[4, 4], embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=10)


def small_mixnet():
    return timm_efficientnet._gen_mixnet_s("mixnet_s", channel_multiplier=0.25, num_classes=10)


def small_resmlp():
    return mlp_mixer.MlpMixer(num_classes=10, img_size=64, patch_size=16, num_blocks=2, embed_dim=48, mlp_ratio=4,
                              block_layer=mlp_mixer.ResBlock, norm_layer=mlp_mixer.Affine)


def timm_model(name):
    return lambda: timm.create_model(name, pretrained=False)


# name -> (full-size model, its image size, small instance, its image size)
MODELS = {
    "resnet18": (tv.resnet18, 224, small_resnet18, 64),
    "resnet50": (tv.resnet50, 224, small_resnet50, 64),
    "mobilenet_v3_large": (tv.mobilenet_v3_large, 224, small_mobilenet_v3, 64),
    "efficientnet_b0": (tv.efficientnet_b0, 224, small_efficientnet, 64),
    "densenet121": (tv.densenet121, 224, small_densenet, 64),
    "vgg16": (tv.vgg16, 224, small_vgg, 32),
    "inception_v3": (lambda: tv.inception_v3(init_weights=True, aux_logits=True), 299, SmallInception, 63),
    "convnext_tiny": (tv.convnext_tiny, 224, small_convnext, 32),
    "vit_b_16": (tv.vit_b_16, 224, small_vit, 32),
    "swin_t": (tv.swin_t, 224, small_swin, 64),
    "mixnet_s": (timm_model("mixnet_s"), 224, small_mixnet, 64),
    "resmlp_12_224": (timm_model("resmlp_12_224"), 224, small_resmlp, 64),
}


def image_inputs(batch: int, size: int, generator: torch.Generator):
    """A batch of images as a normalising loader gives them: f32[batch, 3, size, size], mean 0, deviation 1."""
    return (torch.randn(batch, 3, size, size, generator=generator),)
