"""Counts the operators of TorchScript archives after freezing and inlining: what a frontend has to know.

    PYTHONPATH=tools .venv/bin/python -m models.list_ops FILE.pt...
"""
import collections
import os
import sys

import torch


def nodes(block):
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes(inner)


def spelling(node) -> str:
    """`aten::add.Tensor` where the node has a schema, else its kind."""
    schema = node.schema()
    return schema.split("(", 1)[0] if schema != "(no schema)" else node.kind()


def frozen_graph(path: str):
    module = torch.jit.load(path).eval()
    frozen = torch._C._freeze_module(module._c)
    graph = frozen._get_method("forward").graph
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_dce(graph)
    return graph


def main() -> None:
    uses, models = collections.Counter(), collections.defaultdict(list)
    for path in sys.argv[1:]:
        name = os.path.basename(path).removesuffix(".pt")
        counts = collections.Counter(spelling(node) for node in nodes(frozen_graph(path)))
        uses.update(counts)
        for op in counts:
            models[op].append(name)
    print(f"{'op':52} {'uses':>6} {'models':>6}  in")
    for op, count in uses.most_common():
        shown = models[op] if len(models[op]) <= 6 else [*models[op][:6], "..."]
        print(f"{op:52} {count:6} {len(models[op]):6}  {' '.join(shown)}")


if __name__ == "__main__":
    main()
