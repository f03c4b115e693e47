// The gradient of global average pooling: dx[n, y, x, c] = dy[n, c] / (h·w).
//
// Writes dx once (the floor); dy comes from the cache after its first reader. A thread a pack of dx.
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256)
    average_pool_gradient(DX_TYPE* dx, int dx_stride, int pixels, const DY_TYPE* dy, int dy_stride, int area) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    float inverse = 1.0f / static_cast<float>(area);
    float v[PACK];
    load_pack(v, dy + element(at.pixel / area, dy_stride, at.channel));
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] *= inverse;
    store_pack(dx + element(at.pixel, dx_stride, at.channel), v);
}
