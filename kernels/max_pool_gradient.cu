// The gradient of max pooling over small windows: dx is the sum of dy over the windows whose maximum the element is.
// Each window is searched again, which costs less memory traffic than keeping an index map from the forward.
//
// Reads x and dy once from memory (the floor; x up to KERNEL_H · KERNEL_W times from the cache for every window that
// covers an element) and writes dx once. In gather form: a thread a pack of dx, which adds its windows in row-major
// order, so that there are no atomics and the bits do not depend on the schedule. Two blocks a multiprocessor are asked
// for, since the compiler would spill to reach eight.
#include "common/window.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
    max_pool_gradient(DX_TYPE* dx, int dx_stride, int pixels, const X_TYPE* x, int x_stride, const DY_TYPE* dy,
                      int dy_stride, int h, int w, int h_out, int w_out) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    Position to = position_of(at.pixel, h, w);
    Range over_y = windows_over(to.y, STRIDE_H, KERNEL_H, PADDING_TOP, h_out);
    Range over_x = windows_over(to.x, STRIDE_W, KERNEL_W, PADDING_LEFT, w_out);
    int own = to.y * w + to.x;
    float sum[PACK] = {};
    for (int oy = over_y.first; oy < over_y.end; oy++) {
        for (int ox = over_x.first; ox < over_x.end; ox++) {
            Range rows = window_of(oy, STRIDE_H, KERNEL_H, PADDING_TOP, h);
            Range columns = window_of(ox, STRIDE_W, KERNEL_W, PADDING_LEFT, w);
            float best[PACK];
            int index[PACK];
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                best[i] = -INFINITY_F32;
                index[i] = rows.first * w + columns.first;
            }
            // As in max_pool.cu, repeated places instead of a branch: they change neither the first of equals nor
            // the last of NaNs.
#pragma unroll
            for (int a = 0; a < KERNEL_H; a++) {
                int row = min(rows.first + a, rows.end - 1) * w;
#pragma unroll
                for (int b = 0; b < KERNEL_W; b++) {
                    int place = row + min(columns.first + b, columns.end - 1);
                    float v[PACK];
                    load_pack(v, x + element(to.image * h * w + place, x_stride, at.channel));
#pragma unroll
                    for (int i = 0; i < PACK; i++) {
                        bool better = replaces(v[i], best[i]);
                        best[i] = better ? v[i] : best[i];
                        index[i] = better ? place : index[i];
                    }
                }
            }
            float g[PACK];
            load_pack(g, dy + element((to.image * h_out + oy) * w_out + ox, dy_stride, at.channel));
#pragma unroll
            for (int i = 0; i < PACK; i++) sum[i] += index[i] == own ? g[i] : 0.0f;
        }
    }
    store_pack(dx + element(at.pixel, dx_stride, at.channel), sum);
}
