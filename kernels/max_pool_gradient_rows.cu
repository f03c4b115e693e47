// The gradient of max pooling over large windows, back along rows: dx is the sum of part over the row windows whose
// maximum the element is, by the columns that max_pool_rows.cu kept.
//
// Reads part and the indices once from memory, up to KERNEL_W times from the cache, and writes dx once. In gather
// form: a thread a pack of dx, which adds its windows in order, so that the bits do not depend on the schedule.
#include "common/window.cuh"

// 64 registers: on sm_120 the compiler takes 48 of its own accord, and spills.
extern "C" __global__ void __launch_bounds__(256, 4)
    max_pool_gradient_rows(DX_TYPE* dx, int dx_stride, int pixels, const float* part, const unsigned short* indices,
                           int w, int w_out) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    int row = at.pixel / w;
    int column = at.pixel - row * w;
    Range over = windows_over(column, STRIDE_W, KERNEL_W, PADDING_LEFT, w_out);
    float sum[PACK] = {};
#pragma unroll 4
    for (int ox = over.first; ox < over.end; ox++) {
        long long from = element(row * w_out + ox, CHANNELS, at.channel);
        int index[PACK];
        float g[PACK];
        load_indices(index, indices + from);
        load_pack(g, part + from);
#pragma unroll
        for (int i = 0; i < PACK; i++) sum[i] += index[i] == column ? g[i] : 0.0f;
    }
    store_pack(dx + element(at.pixel, dx_stride, at.channel), sum);
}
