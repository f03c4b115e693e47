// Index arithmetic that the convolutions share: pixels, taps, and what lies in the padding.
//
// Compiled with -DKERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, PADDING_TOP, PADDING_LEFT, DILATION_H, DILATION_W
// (`ops::conv::cuda::define_geometry`). Map sizes are arguments: they do not change the code. Pixels are
// counted over the whole batch, row by row, and fit an int; elements may not: `element` is 64 bits wide.
#pragma once
#include "common/intrinsics.cuh"

constexpr int kernel_taps = KERNEL_H * KERNEL_W;

// Where a pixel lies in a batch of maps. y and x of an input may lie in the padding.
struct Position {
    int image, y, x;
};

DEVICE Position position_of(int pixel, int h, int w) {
    int row = pixel / w;
    int image = row / h;
    return {image, row - image * h, pixel - row * w};
}

DEVICE int pixel_of(Position at, int h, int w) { return (at.image * h + at.y) * w + at.x; }

DEVICE bool is_inside(int y, int x, int h, int w) {
    return static_cast<unsigned>(y) < static_cast<unsigned>(h) && static_cast<unsigned>(x) < static_cast<unsigned>(w);
}

// The input position of an output's first tap: the corner of its window.
DEVICE Position window_of(Position output) {
    return {output.image, output.y * STRIDE_H - PADDING_TOP, output.x * STRIDE_W - PADDING_LEFT};
}

// An element of one output channel's weights [kernel_h, kernel_w, channels], flattened: the K of the GEMM.
struct Tap {
    int y, x, channel;
};

template <int channels>
DEVICE Tap tap_of(int k) {
    int tap = k / channels;
    int y = tap / KERNEL_W;
    return {y, tap - y * KERNEL_W, k - tap * channels};
}

// The offset of a pixel's first element in a view.
DEVICE long long element(int pixel, int pixel_stride) { return static_cast<long long>(pixel) * pixel_stride; }
