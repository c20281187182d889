"""Exports models as TorchScript: tools/models/export NAME... [--small] [--batch N] [-o FILE | -d FOLDER]."""
import argparse
import os
import sys
import time


def parse():
    parser = argparse.ArgumentParser(prog="tools/models/export", description=__doc__)
    parser.add_argument("name", nargs="*", help="models to export, or 'all'")
    parser.add_argument("--list", action="store_true", help="print the names and leave")
    parser.add_argument("--small", action="store_true", help="a small instance of the family, for quick tests")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="batch size (default 1)")
    parser.add_argument("-o", "--output", metavar="FILE", help="file to write (one model only)")
    parser.add_argument("-d", "--directory", metavar="FOLDER", default=".", help="folder for NAME.pt (default: here)")
    return parser, parser.parse_args()


def main() -> int:
    parser, options = parse()
    # Late, so that --help needs no torch.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from . import zoo

    if options.list:
        print("\n".join(zoo.names()))
        return 0
    wanted = zoo.names() if options.name == ["all"] else options.name
    unknown = [name for name in wanted if name not in zoo.names()]
    if unknown or not wanted:
        parser.error(f"no model named {', '.join(unknown) or '(none given)'}; there are: {', '.join(zoo.names())}")
    if options.output and len(wanted) > 1:
        parser.error("-o names one file; use -d FOLDER for several models")
    for name in wanted:
        start = time.time()
        path = options.output or os.path.join(options.directory, name + ".pt")
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        built = zoo.export(name, path, options.small, options.batch)
        with torch.no_grad():
            outputs = built.module(*built.inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        shapes = ", ".join(f"{list(o.shape)} deviation {o.std():.3g} max {o.abs().max():.3g}" for o in outputs)
        print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB, {time.time() - start:.1f} s, outputs {shapes}", flush=True)
        if not all(torch.isfinite(o).all() for o in outputs):
            print(f"error: {name} gives values that are not finite", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
