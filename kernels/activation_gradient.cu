// dx = dy · act'(x), elementwise, over dy where dx lies there.
//
// Reads dy and x once and writes dx once. A thread a pack. No sum: any order of threads gives the same bits.
#include "common/activation.cuh"
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256)
    activation_gradient(const DY_TYPE* dy, int dy_stride, const X_TYPE* x, int x_stride, DX_TYPE* dx, int dx_stride,
                        int pixels) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    float g[PACK], v[PACK];
    load_pack(g, dy + element(at.pixel, dy_stride, at.channel));
    load_pack(v, x + element(at.pixel, x_stride, at.channel));
#pragma unroll
    for (int i = 0; i < PACK; i++) g[i] *= activation_derivative<ACTIVATION>(v[i]);
    store_pack(dx + element(at.pixel, dx_stride, at.channel), g);
}
