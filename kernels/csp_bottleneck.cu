// The computational block of a cross-stage partial network, for inference: y = second(first(x)) + residual on the
// first channels, where the map between the two convolutions exists in shared memory only. In a CSP or Darknet
// bottleneck the first is 1×1, the second 3×3, and the residual is x; in a detection head they are 3×3 and 1×1.
//
// Fuses: both biases and activations, the masked residual, the write into a channel slice.
// Bytes (floor): x, both weights and the residual once, y once. On top, from the caches where they hold it: x again
// at the halos, of (FIRST_KERNEL + SECOND_KERNEL − 2) / 2 pixels around each tile; the weights in each block.
// Apart, the two convolutions write and read the middle map beside that.
// FLOPs: 2 · pixels · (FIRST_KERNEL² · C_IN · C_MIDDLE + SECOND_KERNEL² · C_MIDDLE · C_OUT), and the first
// convolution's share again for its halo: (TILE_H + 2)(TILE_W + 2) / (TILE_H · TILE_W) of it at 3×3.
// Launch: a block an output tile, 128 · PARTS_N threads; the middle map and the stages in dynamic shared memory.
// Deterministic: each sum is one thread's, over K in order.
//
// Macros beside those of common/conv_chain.cuh: Y_TYPE, Y_PACK, RESIDUAL, RESIDUAL_TYPE, RESIDUAL_PACK.
#include "common/conv_chain.cuh"

extern "C" __global__ void __launch_bounds__(threads, 1)
csp_bottleneck(const X_TYPE* x, const FIRST_WEIGHT_TYPE* first_weight, const float* first_bias,
               const SECOND_WEIGHT_TYPE* second_weight, const float* second_bias, const RESIDUAL_TYPE* residual,
               Y_TYPE* y, int x_stride, int residual_stride, int residual_channels, int y_stride, int h, int w) {
    SHARED_DYNAMIC(shared);
    COMPUTE_TYPE* middle = reinterpret_cast<COMPUTE_TYPE*>(shared);
    COMPUTE_TYPE* stages = reinterpret_cast<COMPUTE_TYPE*>(shared + middle_bytes);
    const Tile tile(h, w);

    first_conv(tile, middle, stages, x, x_stride, first_weight, first_bias, [](int, int, int, auto&) {});
    second_conv(tile, middle, stages, second_weight, second_bias, [&](int at_y, int at_x, int channel, auto& values) {
        long long pixel = tile.pixel(at_y, at_x);
#if RESIDUAL
        // In place, residual is y: each thread reads what it then writes.
        add_run<RESIDUAL_PACK>(values, residual + pixel * residual_stride + channel, residual_channels - channel);
#endif
        store_run<Y_PACK>(y + pixel * y_stride + channel, values, C_OUT - channel);
    });
}
