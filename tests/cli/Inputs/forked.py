"""Writes a scripted model whose two halves are forked and awaited, one of them in a loop over the futures."""
import sys
from typing import List

import torch


class Tower(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.layer = torch.nn.Linear(features, features)

    def forward(self, x, scale: float):
        return torch.relu(self.layer(x)) * scale


class Forked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left = Tower(6)
        self.right = Tower(6)

    def forward(self, x):
        futures: List[torch.jit.Future[torch.Tensor]] = []
        for i in range(3):
            futures.append(torch.jit.fork(self.left, x + i, 0.5))
        other = torch.jit.fork(self.right, x, 2.0)
        y = torch.jit.wait(other)
        for future in futures:
            y = y + torch.jit.wait(future)
        return y


torch.manual_seed(3)
torch.jit.script(Forked().eval()).save(sys.argv[1])
