"""A network of YOLOv7-tiny's shape in PyTorch, for comparing speed and memory with gradpath.

Written from the description of the blocks (Wang et al., 2022: ELAN with two groups of one 3x3
convolution, CSP around spatial pyramid pooling, a PAN neck, three heads) and the layer table of
AlexeyAB's cfg/yolov7-tiny.cfg. Modules are declared in that file's layer order, so walking
`network.modules()` gives the parameters in the order of a Darknet weights file.

Run as a program it checks what is known of the network: parameters and BFLOPs.
"""

import torch
from torch import nn

# What Darknet counts for the cfg: floats in a weights file, those that train, 1e9 operations at 416.
STORED_PARAMETERS = 6_241_885
LEARNABLE_PARAMETERS = 6_227_101
BFLOPS_AT_416 = 5.802


class ConvUnit(nn.Module):
    """Convolution, batch norm, leaky ReLU (slope 0.1); padding keeps the size at stride 1."""

    def __init__(self, c_in, c_out, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03)
        self.activation = nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x):
        return self.activation(self.norm(self.conv(x)))


class Elan(nn.Module):
    """ELAN: a split 1x1, a stem 1x1, two 3x3 in a row; all four joined (last first), then a 1x1."""

    def __init__(self, c_in, hidden, c_out):
        super().__init__()
        self.split = ConvUnit(c_in, hidden, 1)
        self.stem = ConvUnit(c_in, hidden, 1)
        self.first = ConvUnit(hidden, hidden, 3)
        self.second = ConvUnit(hidden, hidden, 3)
        self.transition = ConvUnit(4 * hidden, c_out, 1)

    def forward(self, x):
        split = self.split(x)
        stem = self.stem(x)
        first = self.first(stem)
        second = self.second(first)
        # route layers = -5,-3,-2,-1: the cfg's order of concatenation.
        return self.transition(torch.cat([split, stem, first, second], 1))


class SppCsp(nn.Module):
    """Spatial pyramid pooling (5, 9, 13) in one of two CSP paths."""

    def __init__(self, c_in, hidden):
        super().__init__()
        self.split = ConvUnit(c_in, hidden, 1)
        self.stem = ConvUnit(c_in, hidden, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))
        self.join = ConvUnit(4 * hidden, hidden, 1)
        self.transition = ConvUnit(2 * hidden, hidden, 1)

    def forward(self, x):
        split = self.split(x)
        x = self.stem(x)
        p5, p9, p13 = (pool(x) for pool in self.pools)
        # route layers = -1,-3,-5,-6: widest pool first, the unpooled map last.
        x = self.join(torch.cat([p13, p9, p5, x], 1))
        return self.transition(torch.cat([split, x], 1))


class Yolov7Tiny(nn.Module):
    """Images [n, 3, h, w] (h and w multiples of 32) to three maps [n, outputs, h/8|16|32, w/...].

    `logistic` applies the sigmoid that the cfg has on its heads; training losses take the raw maps.
    """

    def __init__(self, outputs=255, logistic=False):
        super().__init__()
        self.logistic = logistic
        self.down2 = ConvUnit(3, 32, 3, 2)
        self.down4 = ConvUnit(32, 64, 3, 2)
        self.elan4 = Elan(64, 32, 64)
        self.elan8 = Elan(64, 64, 128)
        self.elan16 = Elan(128, 128, 256)
        self.elan32 = Elan(256, 256, 512)
        self.spp = SppCsp(512, 256)
        self.reduce32 = ConvUnit(256, 128, 1)
        self.lateral16 = ConvUnit(256, 128, 1)
        self.up16 = Elan(256, 64, 128)
        self.reduce16 = ConvUnit(128, 64, 1)
        self.lateral8 = ConvUnit(128, 64, 1)
        self.up8 = Elan(128, 32, 64)
        self.down16 = ConvUnit(64, 128, 3, 2)
        self.pan16 = Elan(256, 64, 128)
        self.down32 = ConvUnit(128, 256, 3, 2)
        self.pan32 = Elan(512, 128, 256)
        self.head8 = nn.Sequential(ConvUnit(64, 128, 3), nn.Conv2d(128, outputs, 1))
        self.head16 = nn.Sequential(ConvUnit(128, 256, 3), nn.Conv2d(256, outputs, 1))
        self.head32 = nn.Sequential(ConvUnit(256, 512, 3), nn.Conv2d(512, outputs, 1))
        self.pool = nn.MaxPool2d(2, 2)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x):
        x = self.elan4(self.down4(self.down2(x)))
        c8 = self.elan8(self.pool(x))
        c16 = self.elan16(self.pool(c8))
        c32 = self.elan32(self.pool(c16))
        spp = self.spp(c32)
        up = self.upsample(self.reduce32(spp))
        up16 = self.up16(torch.cat([self.lateral16(c16), up], 1))
        up = self.upsample(self.reduce16(up16))
        p8 = self.up8(torch.cat([self.lateral8(c8), up], 1))
        p16 = self.pan16(torch.cat([self.down16(p8), up16], 1))
        p32 = self.pan32(torch.cat([self.down32(p16), spp], 1))
        heads = [self.head8(p8), self.head16(p16), self.head32(p32)]
        return [torch.sigmoid(head) for head in heads] if self.logistic else heads


def parameters(network):
    """(stored, learnable): all floats of a weights file, and those that train."""
    learnable = sum(p.numel() for p in network.parameters())
    statistics = sum(b.numel() for name, b in network.named_buffers() if name.split(".")[-1] != "num_batches_tracked")
    return learnable + statistics, learnable


def bflops(network, size):
    """1e9 operations by Darknet's rule: 2 a multiply-add of a convolution, 1 an element a pool reads."""
    total = 0

    def count(module, _, output):
        nonlocal total
        pixels = output.shape[2] * output.shape[3]
        if isinstance(module, nn.Conv2d):
            per_pixel = 2 * module.weight.numel()
        else:
            kernel = module.kernel_size
            per_pixel = kernel * kernel * output.shape[1]
        total += per_pixel * pixels

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d))]
    training = network.training
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return total / 1e9


def fold(network):
    """The network for inference: batch norm folded into weights, in place."""
    network.eval()
    for unit in network.modules():
        if isinstance(unit, ConvUnit):
            unit.conv = nn.utils.fusion.fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.norm = nn.Identity()
    return network


def calibrate(network, images):
    """Sets the running statistics to those of `images`, so that activations keep their scale in eval mode."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(images)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return network


def main():
    """Checks parameters, BFLOPs, head shapes and folding."""
    torch.manual_seed(0)
    network = Yolov7Tiny()
    stored, learnable = parameters(network)
    operations = bflops(network, 416)
    print(f"stored {stored}  learnable {learnable}  BFLOPs at 416 {operations:.3f}")
    assert (stored, learnable) == (STORED_PARAMETERS, LEARNABLE_PARAMETERS)
    assert round(operations, 3) == BFLOPS_AT_416
    # In f64: with untrained weights on noise a channel's mean dwarfs its deviation, and f32 rounding grows.
    network.double()
    x = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    calibrate(network, x).eval()
    with torch.no_grad():
        before = network(x)
        after = fold(network)(x)
    assert [tuple(h.shape) for h in after] == [(2, 255, 8, 12), (2, 255, 4, 6), (2, 255, 2, 3)]
    worst = max(((a - b).abs().max() / b.std()).item() for a, b in zip(before, after))
    print(f"folding changes the heads by at most {worst:.1e} of their standard deviation")
    assert worst < 1e-9


if __name__ == "__main__":
    main()
