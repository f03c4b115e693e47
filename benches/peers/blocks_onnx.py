"""Blocks and networks of `gradpath bench` in ONNX Runtime: inference, the same options, table, JSON and CSV.

    python blocks_onnx.py csp prn elan --size 80,40
    python blocks_onnx.py --device cuda --dtype f16 --csv onnx.csv

`blocks_torch.py` writes the models, in a process of its own, with batch norm folded.

| variant | what it is |
|---|---|
| onnxruntime | the CPU provider, or the CUDA provider with inputs and outputs on the GPU |
| onnxruntime-graph | the CUDA provider with NHWC kernels, replayed as a CUDA graph |

A time is of one run by the host's clock. `held` on the CPU is how far the process's memory grew above what it held with
the libraries loaded; on a GPU ONNX Runtime does not say.
"""

import json
import os
import subprocess
import sys
import tempfile

import workloads

VARIANTS = ["onnxruntime", "onnxruntime-graph"]
DEFAULT = {"cpu": ["onnxruntime"], "cuda": VARIANTS}
WARMUP = 5


def exported(payload, path):
    """Writes the model, and returns what was counted of it; None where there is none."""
    folder = os.path.dirname(os.path.abspath(__file__))
    payload = json.dumps({**payload, "export": path})
    command = [sys.executable, os.path.join(folder, "blocks_torch.py"), "--one", payload]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError((result.stderr.strip().splitlines() or ["the export failed"])[-1])
    return json.loads(result.stdout.strip().splitlines()[-1])


def session_of(payload, path):
    """A session and a function that makes one run of it."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = payload["threads"], 1
    shape = [payload["workload"][key] for key in ("n", "c", "h", "w")]
    kinds = {"f32": numpy.float32, "f16": numpy.float16}
    if payload["dtype"] not in kinds:
        raise ValueError("NumPy has no bf16 to feed: use f16")
    x = numpy.random.default_rng(0).random(shape, dtype=numpy.float32).astype(kinds[payload["dtype"]])
    if payload["device"] == "cpu":
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return session, lambda: session.run(None, {"x": x})
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError("this ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu")
    graph = payload["variant"] == "onnxruntime-graph"
    provider = {"cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "0"}
    if graph:
        provider.update(prefer_nhwc="1", enable_cuda_graph="1")
    providers = [("CUDAExecutionProvider", provider), "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(x, "cuda", 0)
    binding.bind_ortvalue_input("x", value)
    outputs = []
    for output in session.get_outputs():
        # A captured graph writes where it wrote first: the buffer is ours, and stays.
        outputs.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type(output.shape, x.dtype, "cuda", 0))
        binding.bind_ortvalue_output(output.name, outputs[-1])

    def run(keep=(value, outputs)):
        session.run_with_iobinding(binding)

    return session, run


def measure(payload):
    """One measurement, or None where the stage has no counterpart without the block."""
    import measure as process

    name = payload["variant"]
    try:
        if payload["workload"]["training"]:
            raise ValueError("only inference")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            counted = exported(payload, path)
            if counted is None:
                return None
            stage = counted.pop("stage", None)
            name += f", {stage}" if stage else ""
            # The library, before memory is looked at.
            import onnxruntime  # noqa: F401

            process.reset_peak()
            base = process.memory_bytes("VmRSS")
            session, run = session_of(payload, path)
        times = [wall / 1e3 for wall, _ in process.time_ms(run, payload["seconds"], WARMUP)]
        held = process.memory_bytes("VmHWM") - base if payload["device"] == "cpu" else None
        del session
    except Exception as error:  # a variant that cannot run leaves the others their turn
        return {"name": name, "error": (str(error).strip().splitlines() or [repr(error)])[0][:300]}
    return {"name": name, "time": workloads.timing(times), **counted, "held_bytes": held}


def main():
    options = workloads.parser(__doc__.splitlines()[0], VARIANTS).parse_args()
    device = ""
    if not options.one:
        import onnxruntime

        threads = f"{options.threads} threads, " if options.device == "cpu" else ""
        device = f"{options.device} ({threads}ONNX Runtime {onnxruntime.__version__}, {options.dtype})"
    return workloads.run(options, os.path.abspath(__file__), VARIANTS, DEFAULT[options.device], device, measure, True)


if __name__ == "__main__":
    sys.exit(main())
