"""bad_models.py FOLDER: writes models that cannot be compiled as they are, each in the way its name says, and one that can."""
import os
import sys
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")
folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self, last=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.last = last

    def forward(self, image):
        x = self.drop(self.norm(self.conv(image)))
        return x if self.last is None else self.last(x)


class Unknown(nn.Module):
    def forward(self, x):
        return torch.linalg.qr(x)[0] + torch.linalg.svdvals(x).sum()


class DataDependent(nn.Module):
    def forward(self, x):
        offsets = torch.cumsum(x > 0, 0) - (x[:1] > 0).long()
        return nn.functional.embedding_bag(torch.arange(4), x.view(4, 1), offsets)


class DeadBranch(nn.Module):
    """Of the two branches the shape decides which one runs."""

    def forward(self, x):
        return torch.linalg.qr(x)[0] if x.dim() == 3 else x + 1


def trace(module, name, *inputs):
    torch.jit.trace(module, inputs, check_trace=False).save(f"{folder}/{name}.pt")


image = torch.randn(1, 3, 8, 8)
trace(Net().eval(), "good", image)
trace(Net().train(), "training_baked", image)
torch.jit.script(Net().train()).save(f"{folder}/scripted_training.pt")
trace(Unknown(), "unknown_op", torch.randn(3, 3))
torch.jit.script(DeadBranch()).save(f"{folder}/dead_branch.pt")
trace(DataDependent(), "data_dependent", torch.randn(4))
torch.save(Net().state_dict(), f"{folder}/state_dict.pt")
torch.save(Net(), f"{folder}/whole_module.pt")
torch.export.save(torch.export.export(Net().eval(), (image,)), f"{folder}/exported.pt2")
open(f"{folder}/empty.pt", "w").close()
good = open(f"{folder}/good.pt", "rb").read()
open(f"{folder}/truncated.pt", "wb").write(good[: len(good) // 2])
open(f"{folder}/text.pt", "w").write("this is no model\n")
