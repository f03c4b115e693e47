"""The blocks and small networks of gradpath in PyTorch: the same channels, the same parameters, the same operations.

Names and meanings are those of `gradpath bench` (src/analysis/workload.rs, src/nn, src/zoo/nano.rs). Maps are
[n, c, h, w]. Run as a program it checks that inference in f32 keeps its values when batch norm is folded.
"""

import math

import torch
from torch import nn


def rounded(value):
    """To the nearest whole number, halves up: as gradpath rounds a share of channels."""
    return math.floor(value + 0.5)


class ConvUnit(nn.Module):
    """Convolution, batch norm, SiLU; padding keeps the size at stride 1."""

    def __init__(self, c_in, c_out, kernel, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03)

    def forward(self, x):
        x = self.norm(self.conv(x))
        # In place only where backward does not need what it would overwrite.
        return nn.functional.silu(x, inplace=not torch.is_grad_enabled())


class Residual(nn.Module):
    """y = F(x) + m ⊙ x: the mask keeps the first `share` of the channels, at most those that both have."""

    def __init__(self, channels, block, share=1.0):
        super().__init__()
        self.block = block
        self.kept = rounded(share * channels)

    def forward(self, x):
        return masked_add(self.block(x), x, self.kept)


def masked_add(f, x, kept):
    """f with the first `kept` channels of x added, at most those that both have."""
    kept = min(kept, f.shape[1], x.shape[1])
    if kept == 0:
        return f
    if kept == f.shape[1] == x.shape[1]:
        return f + x
    if torch.onnx.is_in_onnx_export():
        # An assignment to a slice becomes a scatter.
        return torch.cat([f[:, :kept] + x[:, :kept], f[:, kept:]], 1)
    f[:, :kept] += x[:, :kept]
    return f


def bottleneck(c_in, middle, c_out, share=1.0):
    """Darknet-53's residual block."""
    return Residual(c_in, nn.Sequential(ConvUnit(c_in, middle, 1), ConvUnit(middle, c_out, 3)), share)


class Split(nn.Module):
    """CSP by a slice: the last `share` of the channels runs through `block`, the others cross.

    The truncations differ in their transitions: `inner` stands on the block's path, `last` behind the concat."""

    def __init__(self, channels, share, block, inner, last):
        super().__init__()
        self.inside = rounded(share * channels)
        self.block = block
        self.inner = ConvUnit(self.inside, self.inside, 1) if inner else nn.Identity()
        self.last = ConvUnit(channels, channels, 1) if last else nn.Identity()

    def forward(self, x):
        crossing = x.shape[1] - self.inside
        inside = self.inner(self.block(x[:, crossing:]))
        return self.last(torch.cat([inside, x[:, :crossing]], 1))


class SplitByTransitions(nn.Module):
    """CSP by two transitions that read the same map, fusion first: csp-nano's stage."""

    def __init__(self, c_in, half, block, c_out):
        super().__init__()
        self.crossing, self.entry = ConvUnit(c_in, half, 1), ConvUnit(c_in, half, 1)
        self.block = block
        self.last = ConvUnit(2 * half, c_out, 1)

    def forward(self, x):
        crossing = self.crossing(x)
        return self.last(torch.cat([self.block(self.entry(x)), crossing], 1))


class Elan(nn.Module):
    """Two branches, `groups` groups of `depth` 3×3 units behind the second, one transition."""

    def __init__(self, c_in, branch, inner, groups, depth, c_out):
        super().__init__()
        self.crossing, self.entry = ConvUnit(c_in, branch, 1), ConvUnit(c_in, branch, 1)
        widths = [branch] + [inner] * (groups * depth)
        units = [ConvUnit(a, b, 3) for a, b in zip(widths, widths[1:])]
        self.groups = nn.ModuleList(nn.Sequential(*units[i * depth:(i + 1) * depth]) for i in range(groups))
        self.transition = ConvUnit(2 * branch + groups * inner, c_out, 1)

    def forward(self, x):
        parts = [self.crossing(x), self.entry(x)]
        for group in self.groups:
            parts.append(group(parts[-1]))
        return self.transition(torch.cat(parts, 1))


class Dense(nn.Module):
    """DenseNet's block; SparseNet's where a layer reads only the outputs at distances 1, 2, 4, 8, …"""

    def __init__(self, channels, growth, layers, sparse):
        super().__init__()
        self.sparse = sparse
        widths = [channels] + [growth] * layers
        self.layers = nn.ModuleList(ConvUnit(sum(self.seen(widths[:i + 1])), growth, 3) for i in range(layers))

    def seen(self, parts):
        """Those of `parts` that the next layer reads."""
        if not self.sparse:
            return list(parts)
        distances = [1 << i for i in range(len(parts).bit_length()) if 1 << i <= len(parts)]
        return [parts[-d] for d in reversed(distances)]

    def forward(self, x):
        parts = [x]
        for layer in self.layers:
            seen = self.seen(parts)
            parts.append(layer(torch.cat(seen, 1) if len(seen) > 1 else seen[0]))
        return torch.cat(self.seen(parts), 1)


class OneShot(nn.Module):
    """VoVNet's one-shot aggregation: units in a row, all concatenated once, one transition."""

    def __init__(self, channels, inner, layers):
        super().__init__()
        widths = [channels] + [inner] * layers
        self.layers = nn.ModuleList(ConvUnit(a, b, 3) for a, b in zip(widths, widths[1:]))
        self.transition = ConvUnit(sum(widths), channels, 1)

    def forward(self, x):
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts[-1]))
        return self.transition(torch.cat(parts, 1))


def block(what, c, layers, depth, split):
    """The block of that name with `c` channels that enter."""
    half, quarter = max(c // 2, 1), max(c // 4, 1)
    row = lambda make: nn.Sequential(*(make() for _ in range(layers)))
    if what in ("conv1", "conv3"):
        return row(lambda: ConvUnit(c, c, int(what[-1])))
    if what in ("bottleneck", "prn"):
        return row(lambda: bottleneck(c, half, c, split if what == "prn" else 1.0))
    if what == "resx":
        groups = max(g for g in range(1, min(32, half) + 1) if half % g == 0)
        units = lambda: (ConvUnit(c, half, 1), ConvUnit(half, half, 3, groups=groups), ConvUnit(half, c, 1))
        return row(lambda: Residual(c, nn.Sequential(*units())))
    if what.startswith("csp"):
        width = max(rounded(split * c), 1)
        inside = row(lambda: bottleneck(width, width, width))
        return Split(c, split, inside, inner=what != "csp-fusion-first", last=what != "csp-fusion-last")
    if what == "elan":
        return Elan(c, half, half, layers, depth, c)
    if what in ("dense", "sparse"):
        return Dense(c, quarter, layers, what == "sparse")
    return OneShot(c, half, layers)


def without(what, c, layers, depth):
    """The same stage without what the block is about, and its name, or None: see `BlockSpec::without`."""
    half = max(c // 2, 1)
    if what.startswith("csp") or what == "prn":
        return "residual", block("bottleneck", c, layers, depth, 1.0)
    if what == "elan":
        units = [ConvUnit(half, half, 3) for _ in range(layers * depth)]
        return "plain", nn.Sequential(ConvUnit(c, half, 1), *units, ConvUnit(half, c, 1))
    if what == "osa":
        widths = [c] + [half] * layers
        units = [ConvUnit(a, b, 3) for a, b in zip(widths, widths[1:])]
        return "plain", nn.Sequential(*units, ConvUnit(half, c, 1))
    return None


class SppCsp(nn.Module):
    """Pyramid pooling in one of two paths."""

    def __init__(self, c_in, hidden, windows):
        super().__init__()
        self.crossing, self.entry = ConvUnit(c_in, hidden, 1), ConvUnit(c_in, hidden, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in windows)
        self.inner = ConvUnit(hidden * (len(windows) + 1), hidden, 1)
        self.transition = ConvUnit(2 * hidden, hidden, 1)

    def forward(self, x):
        crossing, x = self.crossing(x), self.entry(x)
        pooled = [pool(x) for pool in reversed(self.pools)]
        return self.transition(torch.cat([crossing, self.inner(torch.cat([*pooled, x], 1))], 1))


class Nano(nn.Module):
    """elan-nano, csp-nano or prn-nano: pictures [n, 3, h, w] (multiples of 32) to three maps."""

    def __init__(self, design, classes=80):
        super().__init__()
        self.design = design
        outputs, stage = 3 * (5 + classes), self.stage
        # A concat has the channels of both; PRN's asymmetric residual those of the first.
        joined = (lambda a, b: a) if design == "prn" else (lambda a, b: a + b)
        self.stem = nn.Sequential(ConvUnit(3, 16, 3, 2), ConvUnit(16, 24, 3, 2))
        self.stage2, self.stage3 = stage(24, 32), stage(32, 64)
        self.stage4, self.stage5 = stage(64, 96), stage(96, 128)
        self.spp = SppCsp(128, 64, [3, 5, 7])
        self.top4, self.lateral4 = ConvUnit(64, 48, 1), ConvUnit(96, 48, 1)
        self.merge4 = stage(joined(48, 48), 48)
        self.top3, self.lateral3 = ConvUnit(48, 32, 1), ConvUnit(64, 32, 1)
        self.merge3 = stage(joined(32, 32), 32)
        self.down4, self.out4 = ConvUnit(32, 48, 3, 2), stage(joined(48, 48), 48)
        self.down5, self.out5 = ConvUnit(48, 64, 3, 2), stage(joined(64, 64), 64)
        head = lambda c_in, c: nn.Sequential(ConvUnit(c_in, c, 3), nn.Conv2d(c, outputs, 1))
        self.head3, self.head4, self.head5 = head(32, 48), head(48, 64), head(64, 96)
        self.pool = nn.MaxPool2d(2, 2)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def stage(self, c_in, c):
        """A stage's computational block, `c` channels out."""
        half = c // 2
        if self.design == "elan":
            return Elan(c_in, half, half, 2, 1, c)
        if self.design == "csp":
            inside = nn.Sequential(*(bottleneck(half, half, half) for _ in range(2)))
            return SplitByTransitions(c_in, half, inside, c)
        return nn.Sequential(ConvUnit(c_in, c, 1), bottleneck(c, half, c, 0.5), Residual(c, ConvUnit(c, c, 1), 0.5))

    def join(self, a, b):
        """One map from two of the same size."""
        return masked_add(a, b, b.shape[1]) if self.design == "prn" else torch.cat([a, b], 1)

    def forward(self, x):
        c3 = self.stage3(self.pool(self.stage2(self.stem(x))))
        c4 = self.stage4(self.pool(c3))
        p5 = self.spp(self.stage5(self.pool(c4)))
        p4 = self.merge4(self.join(self.lateral4(c4), self.upsample(self.top4(p5))))
        n3 = self.merge3(self.join(self.lateral3(c3), self.upsample(self.top3(p4))))
        n4 = self.out4(self.join(self.down4(n3), p4))
        n5 = self.out5(self.join(self.down5(n4), p5))
        return [self.head3(n3), self.head4(n4), self.head5(n5)]


def network(what, classes):
    """The network of that name."""
    if what == "yolov7-tiny":
        from yolov7_tiny import Yolov7Tiny

        return Yolov7Tiny(outputs=3 * (5 + classes))
    return Nano(what.split("-")[0], classes)


def model(workload, without_block=False):
    """The model of a `Workload`; of the stage without its block, None where there is none."""
    if not workload.is_block:
        return None if without_block else network(workload.what, workload.classes)
    if without_block:
        found = without(workload.what, workload.c, workload.layers, workload.depth)
        return found and found[1]
    return block(workload.what, workload.c, workload.layers, workload.depth, workload.split)


def parameters(net):
    """Those that learn."""
    return sum(p.numel() for p in net.parameters())


def flops(net, shape, training=False, input_gradient=True):
    """Operations of a pass over a batch of `shape` [n, c, h, w], by gradpath's rules: a multiply-add is 2.

    Inference is exact: convolutions, bias 1 and norm 2 an element, an add 1 for each element that is added, a pooling 1
    for each that it reads. A training step has the gradients of inputs and weights beside; for each element of a norm 3
    for the statistics, 2 to normalise and 12 for the gradient; 8 a parameter for SGD; 3 an element for the loss. Left
    out are adds of gradients that meet, below 2 %.
    """
    total = 0
    images = not input_gradient

    def count(module, inputs, output):
        nonlocal total, images
        elements = output.numel()
        if isinstance(module, nn.Conv2d):
            one = 2 * module.weight.numel() * elements // module.out_channels
            # What reads the pictures needs no gradient of them.
            passes = 1 if not training else 2 if images else 3
            images = False
            total += passes * one + (elements if module.bias is not None else 0) * (2 if training else 1)
        elif isinstance(module, nn.BatchNorm2d):
            total += elements * (17 if training else 2) + (6 * module.num_features if training else 0)
        elif isinstance(module, nn.MaxPool2d):
            total += elements * module.kernel_size ** 2 * (2 if training else 1)
        elif isinstance(module, nn.Upsample):
            total += elements if training else 0
        elif isinstance(module, Residual):
            kept = min(module.kept, output.shape[1], inputs[0].shape[1])
            total += elements // output.shape[1] * kept * (2 if training else 1)

    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.Upsample, Residual)
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, kinds)]
    was_training = net.training
    net.eval()
    with torch.no_grad():
        maps = net(torch.zeros(shape, device=next(net.parameters()).device, dtype=next(net.parameters()).dtype))
    net.train(was_training)
    for hook in hooks:
        hook.remove()
    if isinstance(net, Nano) and net.design == "prn":
        # Its neck adds where the others concatenate: channels and stride of each join.
        joins = [(48, 16), (32, 8), (48, 16), (64, 32)]
        added = sum(c * (shape[2] // s) * (shape[3] // s) for c, s in joins)
        total += shape[0] * added * (2 if training else 1)
    if training:
        maps = maps if isinstance(maps, list) else [maps]
        total += 8 * parameters(net) + sum(3 * m.numel() for m in maps)
    return total


def fold(net):
    """The network for inference: batch norm folded into weights, in place."""
    net.eval()
    for unit in net.modules():
        if hasattr(unit, "norm") and isinstance(unit.norm, nn.BatchNorm2d):
            unit.conv = nn.utils.fusion.fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.norm = nn.Identity()
    return net


def main():
    """Checks that every block and network can be built, and that folding changes nothing."""
    from workloads import BLOCKS, NETWORKS, Workload

    torch.manual_seed(0)
    for what in [*BLOCKS, *NETWORKS]:
        c, side = (16, 8) if what in BLOCKS else (3, 64)
        net = model(Workload(what, False, 1, side, side, c)).double().train()
        x = torch.rand(2, c, side, side, dtype=torch.float64)
        # Statistics of its own, so that folding has something to fold.
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = 1.0
        with torch.no_grad():
            net(x)
            before = net.eval()(x)
            after = fold(net)(x)
        pairs = zip(before, after) if isinstance(before, list) else [(before, after)]
        worst = max(((a - b).abs().max() / b.std()).item() for a, b in pairs)
        print(f"{what:18} {parameters(net):>9} folded parameters, folding changes it by at most {worst:.1e}")
        assert worst < 1e-9


if __name__ == "__main__":
    main()
