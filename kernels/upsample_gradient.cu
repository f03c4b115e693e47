// The gradient of nearest-neighbour upsampling: dx[n, i, j, c] = Σ dy[n, FACTOR·i + a, FACTOR·j + b, c].
//
// Reads dy once and writes dx once (the floor). A thread a pack of dx, which adds row by row: the same bits in every
// schedule. h and w are those of dx.
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256)
    upsample_gradient(DX_TYPE* dx, int dx_stride, int pixels, const DY_TYPE* dy, int dy_stride, int h, int w) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    Position to = position_of(at.pixel, h, w);
    float sum[PACK] = {};
    for (int a = 0; a < FACTOR; a++) {
        int row = ((to.image * h + to.y) * FACTOR + a) * w * FACTOR + to.x * FACTOR;
#pragma unroll 4
        for (int b = 0; b < FACTOR; b++) {
            float v[PACK];
            load_pack(v, dy + element(row + b, dy_stride, at.channel));
#pragma unroll
            for (int i = 0; i < PACK; i++) sum[i] += v[i];
        }
    }
    store_pack(dx + element(at.pixel, dx_stride, at.channel), sum);
}
