"""The peers: each makes, of a module and its inputs, a function that runs them once. All are told the number of threads and the precision.

A contender that is not able to says so by raising Unable; the table shows the reason in its place."""
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch


class Unable(Exception):
    """Why a contender cannot be measured on this model, this machine or with this precision."""


@dataclass
class Task:
    module: torch.nn.Module
    inputs: tuple
    threads: int
    precision: str  # "fp32", "bf16"
    folder: Path  # for files of the contender's own
    exports: Path  # for files that contenders share: the same model and batch size


def in_precision(task: Task):
    """Module and inputs in the working type of torch's own contenders."""
    if task.precision == "fp32":
        return task.module, task.inputs
    dtype = torch.bfloat16
    return task.module.to(dtype), tuple(x.to(dtype) if x.is_floating_point() else x for x in task.inputs)


def traced(task: Task):
    module, inputs = in_precision(task)
    if isinstance(module, torch.jit.ScriptModule):
        return module, inputs
    return torch.jit.trace(module, inputs, check_trace=False, strict=False), inputs


def eager(task: Task):
    module, inputs = in_precision(task)
    return lambda: module(*inputs)


def frozen(task: Task):
    script, inputs = traced(task)
    script = torch.jit.optimize_for_inference(torch.jit.freeze(script.eval()))
    return lambda: script(*inputs)


def for_inductor(task: Task):
    """Module and inputs, with weights to be folded in (`freezing`), as Inductor recommends for inference."""
    if isinstance(task.module, torch.jit.ScriptModule):
        raise Unable("takes no TorchScript archive")
    from torch._inductor import config
    config.freezing = True
    return in_precision(task)


def compile_module(task: Task):
    module, inputs = for_inductor(task)
    compiled = torch.compile(module)
    return lambda: compiled(*inputs)


def aot_inductor(task: Task):
    module, inputs = for_inductor(task)
    from torch import _inductor as inductor
    exported = torch.export.export(module, inputs)
    package = inductor.aoti_compile_and_package(exported, package_path=str(task.folder / "model.pt2"))
    loaded = inductor.aoti_load_package(package)
    return lambda: loaded(*inputs)


def export_onnx(task: Task) -> Path:
    """By torch's newer exporter, and by the older one where that gives up. Whoever comes first exports for all; a failure holds for this run, since the
    next one may have other libraries."""
    done, failure, errors = task.exports / "onnx", task.folder.parent / "onnx.error", []
    if done.exists():
        return done / "model.onnx"
    if failure.exists():
        raise Unable(failure.read_text())
    for dynamo in ([False] if isinstance(task.module, torch.jit.ScriptModule) else [True, False]):
        unfinished = Path(tempfile.mkdtemp(dir=task.exports))
        try:
            torch.onnx.export(task.module, task.inputs, str(unfinished / "model.onnx"), dynamo=dynamo, **({} if dynamo else {"opset_version": 17}))
            unfinished.rename(done)
            return done / "model.onnx"
        except Exception as error:  # exporters raise whatever they like
            shutil.rmtree(unfinished)
            errors.append(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    failure.write_text("no ONNX file: " + "; ".join(errors))
    raise Unable(failure.read_text())


def onnx_runtime(task: Task):
    if task.precision != "fp32":
        raise Unable("has no bf16 kernels for CPUs")
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(export_onnx(task)), options, providers=["CPUExecutionProvider"])
    feed = {given.name: x.numpy() for given, x in zip(session.get_inputs(), task.inputs)}
    return lambda: session.run(None, feed)


def openvino(task: Task):
    import openvino as ov
    core = ov.Core()
    try:
        model = core.read_model(str(export_onnx(task)))
    except Unable:
        script, _ = traced(Task(task.module, task.inputs, task.threads, "fp32", task.folder, task.exports))
        model = ov.convert_model(script, example_input=task.inputs)
    compiled = core.compile_model(model, "CPU", {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": "bf16" if task.precision == "bf16" else "f32",
    })
    request = compiled.create_infer_request()
    for at, x in enumerate(task.inputs):
        request.set_input_tensor(at, ov.Tensor(x.numpy(), shared_memory=True))

    def run():
        request.infer()
        return [request.get_output_tensor(at).data for at in range(len(compiled.outputs))]
    return run


TABLE = {
    "eager": eager,
    "frozen": frozen,
    "torch.compile": compile_module,
    "aotinductor": aot_inductor,
    "onnxruntime": onnx_runtime,
    "openvino": openvino,
}


def first_tensor(result):
    """The first tensor of whatever a contender gives back, as fp64."""
    while isinstance(result, (tuple, list, dict)) or hasattr(result, "to_tuple"):
        if hasattr(result, "to_tuple"):
            result = result.to_tuple()
        result = next(iter(result.values())) if isinstance(result, dict) else result[0]
    return torch.as_tensor(result).detach().to(torch.float64)


def prepare(name: str, task: Task):
    """The contender's function. Raises Unable, also for whatever its libraries raise."""
    os.environ["OMP_NUM_THREADS"] = str(task.threads)
    torch.set_num_threads(task.threads)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    try:
        return TABLE[name](task)
    except Unable:
        raise
    except ImportError as error:
        raise Unable(f"{error}; run tools/setup --with-peers") from None
    except Exception as error:
        raise Unable(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from None
