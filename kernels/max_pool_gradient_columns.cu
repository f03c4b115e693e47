// The gradient of max pooling over large windows, back along columns: part[n, h, w_out, CHANNELS] is the sum of dy
// over the windows whose maximum lies in the row, by the rows that max_pool_columns.cu kept.
//
// Reads dy and the indices once from memory, up to KERNEL_H times from the cache, and writes part once. In gather
// form: a thread a pack of part, which adds its windows in order, so that the bits do not depend on the schedule.
#include "common/window.cuh"

// `pixels` is n · h · w_out.
extern "C" __global__ void __launch_bounds__(256)
    max_pool_gradient_columns(const DY_TYPE* dy, int dy_stride, const unsigned short* indices, int pixels, int h,
                              int h_out, int w_out, float* part) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    Position to = position_of(at.pixel, h, w_out);
    Range over = windows_over(to.y, STRIDE_H, KERNEL_H, PADDING_TOP, h_out);
    float sum[PACK] = {};
#pragma unroll 4
    for (int oy = over.first; oy < over.end; oy++) {
        int pixel = (to.image * h_out + oy) * w_out + to.x;
        int index[PACK];
        float g[PACK];
        load_indices(index, indices + element(pixel, CHANNELS, at.channel));
        load_pack(g, dy + element(pixel, dy_stride, at.channel));
#pragma unroll
        for (int i = 0; i < PACK; i++) sum[i] += index[i] == to.y ? g[i] : 0.0f;
    }
    store_pack(part + element(at.pixel, CHANNELS, at.channel), sum);
}
