"""Inference of the YOLOv7-tiny-shaped network on the CPU: ONNX Runtime, PyTorch eager, channels_last.

    python inference.py [--threads N] [--size 416] [--batch 1] [--seconds 10] [--variant NAME]

One JSON object a line; each variant runs in a process of its own. Batch norm is folded in all of
them. `gflops` is Darknet's BFLOPs (a multiply-add is 2) over the median time.
"""

import argparse
import json
import os
import sys
import tempfile

import measure

VARIANTS = ["onnxruntime", "torch", "torch-channels-last"]


def network():
    import torch

    from yolov7_tiny import Yolov7Tiny, calibrate, fold

    torch.manual_seed(0)
    return fold(calibrate(Yolov7Tiny(), torch.rand(2, 3, 64, 64)))


def export(path, batch, size):
    """Writes the folded network as ONNX (static shapes, opset 17)."""
    import torch

    net = network()
    example = torch.zeros(batch, 3, size, size)
    torch.onnx.export(
        net, (example,), path, opset_version=17, dynamo=False,
        input_names=["images"], output_names=["head8", "head16", "head32"],
    )


def step_onnxruntime(options):
    """ONNX Runtime alone: the export happens in another process, so torch is not in this one's memory."""
    import subprocess

    import numpy
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "yolov7-tiny.onnx")
        command = [
            sys.executable, sys.argv[0], "--export", path,
            "--size", str(options.size), "--batch", str(options.batch),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.threads
        session_options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])
    images = numpy.random.default_rng(0).random((options.batch, 3, options.size, options.size), dtype=numpy.float32)
    base = measure.memory_bytes("VmRSS")
    return lambda: session.run(None, {"images": images}), "onnxruntime", onnxruntime.__version__, base


def step_torch(options, channels_last):
    import torch

    torch.set_num_threads(options.threads)
    net = network()
    images = torch.rand(options.batch, 3, options.size, options.size)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    base = measure.memory_bytes("VmRSS")

    def step():
        with torch.inference_mode():
            net(images)

    return step, "torch", torch.__version__, base


def bflops(size, batch):
    """BFLOPs at `size`: all of the network's work is proportional to the pixels."""
    from fractions import Fraction

    return 5.802 * batch * float(Fraction(size * size, 416 * 416))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--variant", choices=VARIANTS)
    parser.add_argument("--export", metavar="PATH", help="only write the ONNX file")
    options = parser.parse_args()
    if options.export:
        export(options.export, options.batch, options.size)
        return 0
    if options.variant is None:
        return measure.run_each(VARIANTS, sys.argv[1:])
    if options.variant == "onnxruntime":
        step, framework, version, base = step_onnxruntime(options)
    else:
        step, framework, version, base = step_torch(options, options.variant.endswith("channels-last"))
    result = measure.summary(measure.time_ms(step, options.seconds, warmup=3))
    print(json.dumps({
        "variant": options.variant, "framework": framework, "version": version,
        "threads": options.threads, "batch": options.batch, "size": options.size, **result,
        "gflops": round(bflops(options.size, options.batch) / result["ms_median"] * 1e3, 1),
        "peak_rss_bytes": measure.memory_bytes("VmHWM"), "loaded_rss_bytes": base,
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
