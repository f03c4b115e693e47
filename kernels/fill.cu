// y = value. Writes y once. A thread a pack.
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256) fill(Y_TYPE* y, int y_stride, int pixels, float value) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    float v[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] = value;
    store_pack(y + element(at.pixel, y_stride, at.channel), v);
}
