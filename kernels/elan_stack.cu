// Two stacked convolutions of an efficient layer aggregation network, for inference: m = first(x), y = second(m),
// where both are parts of the stack's concat. A block writes its own tile of m into m's slice, and reads m for y from
// shared memory, with a halo that it computed itself.
//
// Fuses: both biases and activations, the writes into two channel slices of the concat.
// Bytes (floor): x and both weights once, m and y once. On top, from the caches where they hold it: x again at the
// halos, of (FIRST_KERNEL + SECOND_KERNEL − 2) / 2 pixels around each tile; the weights in each block. Apart, the
// second convolution reads m beside that.
// FLOPs: 2 · pixels · (FIRST_KERNEL² · C_IN · C_MIDDLE + SECOND_KERNEL² · C_MIDDLE · C_OUT), and the first
// convolution's share again for its halo: (TILE_H + 2)(TILE_W + 2) / (TILE_H · TILE_W) of it at 3×3.
// Launch: a block an output tile, 128 · PARTS_N threads; the middle map and the stages in dynamic shared memory.
// Deterministic: each sum is one thread's, over K in order.
//
// Macros beside those of common/conv_chain.cuh: MIDDLE_TYPE, MIDDLE_PACK, Y_TYPE, Y_PACK.
#include "common/conv_chain.cuh"

extern "C" __global__ void __launch_bounds__(threads, 1)
elan_stack(const X_TYPE* x, const FIRST_WEIGHT_TYPE* first_weight, const float* first_bias,
           const SECOND_WEIGHT_TYPE* second_weight, const float* second_bias, MIDDLE_TYPE* m, Y_TYPE* y, int x_stride,
           int m_stride, int y_stride, int h, int w) {
    SHARED_DYNAMIC(shared);
    COMPUTE_TYPE* middle = reinterpret_cast<COMPUTE_TYPE*>(shared);
    COMPUTE_TYPE* stages = reinterpret_cast<COMPUTE_TYPE*>(shared + middle_bytes);
    const Tile tile(h, w);

    first_conv(tile, middle, stages, x, x_stride, first_weight, first_bias,
               [&](int at_y, int at_x, int channel, auto& values) {
                   store_run<MIDDLE_PACK>(m + tile.pixel(at_y, at_x) * m_stride + channel, values,
                                          C_MIDDLE - channel);
               });
    second_conv(tile, middle, stages, second_weight, second_bias, [&](int at_y, int at_x, int channel, auto& values) {
        store_run<Y_PACK>(y + tile.pixel(at_y, at_x) * y_stride + channel, values, C_OUT - channel);
    });
}
