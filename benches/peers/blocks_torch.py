"""Blocks and networks of `gradpath bench` in PyTorch: the same workloads, options, table, JSON and CSV.

    python blocks_torch.py csp prn elan --size 80,40 --training
    python blocks_torch.py --device cuda --dtype bf16 --variants channels-last,graph,compile --csv torch.csv

A training step is gradpath's: forward (batch norm in training), the loss mean(y²) (summed over heads), gradients of
all parameters and, of a block, of its input, and SGD with Nesterov momentum 0.937 and weight decay 5e-4. Inference has
batch norm folded into the convolutions. With bf16 or f16, inference is of a network in that type, training in autocast
with weights in f32.

| variant | what it is |
|---|---|
| eager | as it is written, in PyTorch's own layout |
| channels-last | the same, maps stored as gradpath stores them |
| graph | channels-last, the whole step captured once as a CUDA graph and replayed |
| compile | channels-last under `torch.compile(mode="max-autotune")`, CUDA graphs included; on the CPU it needs g++ |

A time is of one run on data that is there already: by the device's own clock on a GPU, in bursts, as gradpath's are.
In f32 a GPU multiplies in f32 unless `--tf32` is given. `held`: on a GPU what the allocator had at its peak since the
model was built, for a graph what it keeps reserved; on the CPU, where each measurement is a process of its own, how far
its memory grew above what it held with the libraries loaded (unknown for `compile`, whose compiler dwarfs it).
"""

import gc
import os
import sys
import time

import workloads

VARIANTS = ["eager", "channels-last", "graph", "compile"]
DEFAULT = {"cpu": ["eager", "channels-last"], "cuda": ["channels-last", "graph", "compile"]}
WARMUP = 3
# As gradpath: a burst lasts so long, and has so many runs at most.
BURST_SECONDS, LONGEST_BURST = 0.002, 64
FEWEST_RUNS = 3


def dtype_of(name):
    """PyTorch's type of that name."""
    import torch

    return {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[name]


def prepare(payload):
    """(step, net): a function that makes one run, and the model."""
    import torch

    from blocks import fold, model

    workload, device = workloads.Workload(**payload["workload"]), payload["device"]
    dtype, variant, training = dtype_of(payload["dtype"]), payload["variant"], workload.training
    torch.manual_seed(0)
    net = model(workload, payload["without"])
    if not training:
        net = fold(net).to(dtype)
    net = net.to(device)
    # A block's map is stored as maps are; a picture is fed as it is.
    x = torch.rand(workload.n, workload.c, workload.h, workload.w, device=device)
    x = x.to(dtype) if workload.is_block or not training else x
    if variant != "eager":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    compiled = variant == "compile"
    if not training:
        forward = torch.compile(net, mode="max-autotune") if compiled else net

        def step():
            with torch.inference_mode():
                return forward(x)

        return step, net
    net.train()
    x.requires_grad_(workload.is_block)
    options = {"fused": True} if device == "cuda" else {}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.937, nesterov=True, weight_decay=5e-4, **options)
    mixed = payload["dtype"] != "f32"

    def loss_of(x):
        with torch.autocast(device, dtype, enabled=mixed):
            maps = net(x)
        maps = maps if isinstance(maps, list) else [maps]
        return sum(m.float().square().mean() for m in maps)

    forward = torch.compile(loss_of, mode="max-autotune") if compiled else loss_of

    def step():
        optimizer.zero_grad(set_to_none=True)
        x.grad = None
        loss = forward(x)
        loss.backward()
        optimizer.step()

    return step, net


def captured(step):
    """`step` as a CUDA graph that is replayed."""
    import torch

    # Capture wants everything to have run once on a stream of its own.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def times_on_gpu(step, seconds):
    """Seconds of each run by the device's clock, in bursts."""
    import torch

    def burst(count):
        events = []
        for _ in range(count):
            pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            pair[0].record()
            step()
            pair[1].record()
            events.append(pair)
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) / 1e3 for begin, end in events]

    count = min(max(int(BURST_SECONDS / max(burst(1)[0], 1e-6)) + 1, 1), LONGEST_BURST)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < FEWEST_RUNS:
        times += burst(count)
    return times


def times_on_cpu(step, seconds):
    """Seconds of each run."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < FEWEST_RUNS:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return times


def measure(payload):
    """One measurement, or None where the stage has no counterpart without the block."""
    import torch
    from torch import nn

    import measure as process
    from blocks import flops, model, parameters, without

    workload, device, variant = workloads.Workload(**payload["workload"]), payload["device"], payload["variant"]
    name, plain = variant, model(workload, payload["without"])
    if plain is None:
        return None
    if payload["without"]:
        name += ", " + without(workload.what, workload.c, workload.layers, workload.depth)[0]
    counted = {
        "parameters": parameters(plain),
        "flops": flops(plain.to("meta"), (workload.n, workload.c, workload.h, workload.w), workload.training,
                       input_gradient=workload.is_block),
    }
    del plain
    try:
        if device == "cpu":
            if variant == "graph":
                raise ValueError("only a GPU has graphs")
            torch.set_num_threads(payload["threads"])
            # Loads what a convolution needs, forward and backward, before memory is looked at.
            nn.Conv2d(8, 8, 3)(torch.zeros(1, 8, 8, 8)).sum().backward()
            process.reset_peak()
            base = process.memory_bytes("VmRSS")
            step, net = prepare(payload)
            for _ in range(WARMUP):
                step()
            times = times_on_cpu(step, payload["seconds"])
            held = None if variant == "compile" else process.memory_bytes("VmHWM") - base
        else:
            torch.backends.cudnn.benchmark = True
            gc.collect()
            torch.compiler.reset()
            torch.cuda.empty_cache()
            allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
            step, net = prepare(payload)
            if variant == "graph":
                step = captured(step)
            for _ in range(WARMUP):
                step()
            torch.cuda.synchronize()
            # What autotuning and capturing took is not what runs hold.
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            times = times_on_gpu(step, payload["seconds"])
            held = torch.cuda.max_memory_allocated() - allocated
            if variant in ("graph", "compile"):
                held = max(held, torch.cuda.memory_reserved() - reserved)
        del step, net
    except Exception as error:  # a variant that cannot run leaves the others their turn
        return {"name": name, "error": (str(error).strip().splitlines() or [repr(error)])[0][:300]}
    return {"name": name, "time": workloads.timing(times), **counted, "held_bytes": held}


def described(options):
    """The device, in words."""
    import torch

    version = f"PyTorch {torch.__version__}"
    if options.device == "cpu":
        return f"cpu ({options.threads} threads, {version}, {options.dtype})"
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device")
    tf32 = ", tf32" if options.dtype == "f32" and torch.backends.cudnn.allow_tf32 else ""
    return f"cuda ({torch.cuda.get_device_name()}, {version}, {options.dtype}{tf32})"


def export(payload):
    """Writes the folded model as ONNX (static shapes), and says what was counted of it."""
    import torch

    from blocks import flops, fold, model, parameters, without

    workload = workloads.Workload(**payload["workload"])
    net = model(workload, payload["without"])
    if net is None:
        return None
    shape = (workload.n, workload.c, workload.h, workload.w)
    counted = {"parameters": parameters(net), "flops": flops(net, shape)}
    if payload["without"]:
        counted["stage"] = without(workload.what, workload.c, workload.layers, workload.depth)[0]
    dtype = dtype_of(payload["dtype"])
    torch.manual_seed(0)
    torch.onnx.export(fold(net).to(dtype), (torch.zeros(shape, dtype=dtype),), payload["export"], opset_version=17,
                      dynamo=False, input_names=["x"])
    return counted


def main():
    options = workloads.parser(__doc__.splitlines()[0], VARIANTS)
    options.add_argument("--tf32", action="store_true", help="let a GPU multiply f32 in tf32")
    options.add_argument("--isolate", action="store_true", help="a process for each measurement on a GPU too")
    options = options.parse_args()
    if options.one and '"export"' in options.one:
        run = export
    else:
        run = measure
    if options.device == "cuda":
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
    name = "" if options.one else described(options)
    isolated = options.device == "cpu" or options.isolate
    return workloads.run(options, os.path.abspath(__file__), VARIANTS, DEFAULT[options.device], name, run, isolated)


if __name__ == "__main__":
    sys.exit(main())
