// y = act(x), elementwise, over x where y lies there.
//
// Reads x once and writes y once: the bytes of both are the floor. A thread a pack. No sum: any order of threads
// gives the same bits.
#include "common/activation.cuh"
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256) activate(const X_TYPE* x, int x_stride, Y_TYPE* y, int y_stride,
                                                           int pixels) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    float v[PACK];
    load_pack(v, x + element(at.pixel, x_stride, at.channel));
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] = activate<ACTIVATION>(v[i]);
    store_pack(y + element(at.pixel, y_stride, at.channel), v);
}
