// y = x in y's element type, rounded to nearest: one read, one write, nothing else.
//
// Bytes (floor): x once, y once. FLOPs: none. Launch: a thread a pack of PACK channels.
// Deterministic: every element has one writer.
//
// Macros: X_TYPE, Y_TYPE, PACK (elements of one instruction, of both operands).
#include "common/types.cuh"

extern "C" __global__ void __launch_bounds__(256)
cast(const X_TYPE* x, Y_TYPE* y, int x_stride, int y_stride, int channels, int packs) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= packs) return;
    int packs_per_pixel = channels / PACK;
    int pixel = i / packs_per_pixel;
    int channel = (i - pixel * packs_per_pixel) * PACK;
    float value[PACK];
    load_pack(value, x + static_cast<long long>(pixel) * x_stride + channel);
    store_pack(y + static_cast<long long>(pixel) * y_stride + channel, value);
}
