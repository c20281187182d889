"""lit's configuration. Run all:   .venv/bin/lit -v tests
Run one:   .venv/bin/lit -v tests/passes/graph/fold_batch_norm.mica
Another build:   --param build=build/debug      Rewrite golden files:   MICA_BLESS=1 .venv/bin/lit tests/cli

A test may use: mica, FileCheck, not, count, python (the one of .venv), %s, %t, %S, %T as usual, %root (the source
tree), %models (small exported models, kept in the build folder), and the features named below in REQUIRES lines.
"""
import os
import platform
import shutil

import lit.formats

root = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
build = os.path.abspath(os.path.join(root, lit_config.params.get("build", "build/release")))
llvm = os.environ.get("MICA_LLVM_BIN", "/usr/lib/llvm-19/bin")
python = os.path.join(root, ".venv", "bin", "python")

config.name = "mica"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mica", ".test"]
config.excludes = ["models", "Inputs", "Output"]
config.test_source_root = os.path.join(root, "tests")
config.test_exec_root = os.path.join(build, "tests", "lit")

mica = os.path.join(build, "bin", "mica")
if not os.path.exists(mica):
    lit_config.fatal(f"{mica} is not built; run: cmake --build --preset release")
config.environment["PATH"] = os.pathsep.join([os.path.join(build, "bin"), llvm, os.path.join(root, ".venv", "bin"), os.environ["PATH"]])
for name in ("MICA_BLESS", "MICA_THREADS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
if os.environ.get("CI") and "MICA_BLESS" in os.environ:
    lit_config.fatal("MICA_BLESS is set in CI: golden files are rewritten by hand, then committed")

models = os.path.join(build, "tests", "models")
config.substitutions.append(("%root", root))
config.substitutions.append(("%models", models))

# Features for REQUIRES: what this machine and this build have.
config.available_features.add(platform.machine())
try:
    flags = open("/proc/cpuinfo").read().split("flags", 1)[1].split("\n", 1)[0].split()
    for feature in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni"):
        if feature in flags:
            config.available_features.add(feature)
except (OSError, IndexError):
    pass
if os.path.exists(python):
    config.available_features.add("python")
if os.path.isdir(models) and any(f.endswith(".pt") for f in os.listdir(models)):
    config.available_features.add("models")
if shutil.which("gcc"):
    config.available_features.add("gcc")
