// Max pooling over large windows, second, along columns: the maximum of the row maxima of max_pool_rows.cu over each
// window's rows, into y; or, for a backward (KEEPS_INDEX), the row in x that has it, into indices[n, h_out, w_out,
// CHANNELS].
//
// Reads the maxima once from memory, up to KERNEL_H times from the cache, and writes y once (or 2 bytes an element).
// A thread a pack. Selections only: any order of threads gives the same bits.
#include "common/window.cuh"

extern "C" __global__ void __launch_bounds__(256)
    max_pool_columns(const X_TYPE* maxima, int pixels, int h, int h_out, int w_out
#if KEEPS_INDEX
                     ,
                     unsigned short* indices
#else
                     ,
                     Y_TYPE* y, int y_stride
#endif
    ) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    Position to = position_of(at.pixel, h_out, w_out);
    Range rows = window_of(to.y, STRIDE_H, KERNEL_H, PADDING_TOP, h);
    float best[PACK];
    int index[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) {
        best[i] = -INFINITY_F32;
        index[i] = rows.first;
    }
#pragma unroll 4
    for (int row = rows.first; row < rows.end; row++) {
        float v[PACK];
        load_pack(v, maxima + element((to.image * h + row) * w_out + to.x, CHANNELS, at.channel));
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            bool better = replaces(v[i], best[i]);
            best[i] = better ? v[i] : best[i];
            index[i] = better ? row : index[i];
        }
    }
#if KEEPS_INDEX
    store_indices(indices + element(at.pixel, CHANNELS, at.channel), index);
#else
    store_pack(y + element(at.pixel, y_stride, at.channel), best);
#endif
}
