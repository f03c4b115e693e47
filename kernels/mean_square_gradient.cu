// dx = 2/N · dy · x for a scalar dy, elementwise, over x where dx lies there.
//
// Reads x once and writes dx once. A thread a pack. No sum: any order of threads gives the same bits.
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256)
    mean_square_gradient(const X_TYPE* x, int x_stride, DX_TYPE* dx, int dx_stride, int pixels, const float* dy,
                         float factor) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    float scale = factor * dy[0];
    float v[PACK];
    load_pack(v, x + element(at.pixel, x_stride, at.channel));
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] *= scale;
    store_pack(dx + element(at.pixel, dx_stride, at.channel), v);
}
