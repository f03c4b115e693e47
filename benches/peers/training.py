"""A training step of the YOLOv7-tiny-shaped network in PyTorch on the CPU.

    python training.py [--threads N] [--size 416] [--batch 8] [--seconds 30] [--variant NAME]

A step is forward (batch norm in training), the loss Σ over heads of mean(head²), backward, and SGD
with Nesterov momentum 0.937 and weight decay 5e-4. The loss is simple on purpose: both sides can
state it exactly, and its cost is nothing beside the network's. One JSON object a line; each variant
runs in a process of its own. torch.compile needs g++ on the path.
"""

import argparse
import json
import os
import sys

import measure

VARIANTS = ["eager", "channels-last", "compile", "compile-channels-last"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--variant", choices=VARIANTS)
    options = parser.parse_args()
    if options.variant is None:
        return measure.run_each(VARIANTS, sys.argv[1:])

    import torch

    from yolov7_tiny import Yolov7Tiny

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    net = Yolov7Tiny().train()
    images = torch.rand(options.batch, 3, options.size, options.size)
    if options.variant.endswith("channels-last"):
        net = net.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.937, nesterov=True, weight_decay=5e-4)
    forward = torch.compile(net) if options.variant.startswith("compile") else net
    base = measure.memory_bytes("VmRSS")

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = sum(head.square().mean() for head in forward(images))
        loss.backward()
        optimizer.step()
        return loss

    first = float(step().detach())
    result = measure.summary(measure.time_ms(step, options.seconds, warmup=1))
    last = float(step().detach())
    print(json.dumps({
        "variant": options.variant, "framework": "torch", "version": torch.__version__,
        "threads": options.threads, "batch": options.batch, "size": options.size, **result,
        # A step is three times the forward's operations: forward, input gradient, weight gradient.
        "gflops": round(3 * 5.802 * options.batch * (options.size / 416) ** 2 / result["ms_median"] * 1e3, 1),
        "peak_rss_bytes": measure.memory_bytes("VmHWM"), "loaded_rss_bytes": base,
        "loss_first": first, "loss_last": last,
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
