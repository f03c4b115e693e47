// Max pooling over small windows: y[n, oy, ox, c] = max of the window, NaN where it has one.
//
// Reads x once from memory (the floor; up to KERNEL_H · KERNEL_W times from the cache) and writes y once. As many
// comparisons an element as the window has places. A thread a pack of y. Larger windows take max_pool_rows.cu and
// max_pool_columns.cu. Selections only: any order of threads gives the same bits.
#include "common/window.cuh"

extern "C" __global__ void __launch_bounds__(256)
    max_pool(Y_TYPE* y, int y_stride, int pixels, const X_TYPE* x, int x_stride, int h, int w, int h_out, int w_out) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    Position to = position_of(at.pixel, h_out, w_out);
    Range rows = window_of(to.y, STRIDE_H, KERNEL_H, PADDING_TOP, h);
    Range columns = window_of(to.x, STRIDE_W, KERNEL_W, PADDING_LEFT, w);
    float best[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) best[i] = -INFINITY_F32;
    // Where a window is cut off, its last places repeat the last one inside: that changes no maximum, and the loads
    // need no branch.
#pragma unroll
    for (int a = 0; a < KERNEL_H; a++) {
        int row = (to.image * h + min(rows.first + a, rows.end - 1)) * w;
#pragma unroll
        for (int b = 0; b < KERNEL_W; b++) {
            float v[PACK];
            load_pack(v, x + element(row + min(columns.first + b, columns.end - 1), x_stride, at.channel));
#pragma unroll
            for (int i = 0; i < PACK; i++) best[i] = replaces(v[i], best[i]) ? v[i] : best[i];
        }
    }
    store_pack(y + element(at.pixel, y_stride, at.channel), best);
}
