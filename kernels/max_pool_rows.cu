// Max pooling over large windows is separable. First, along rows: the maximum of each row of each window, into
// maxima[n, h, w_out, CHANNELS], and for a backward (KEEPS_INDEX) its column in x, into indices of the same shape.
//
// Reads x once from memory, up to KERNEL_W times from the cache, and writes the maxima (and 2 bytes each). A thread a
// pack. Selections only: any order of threads gives the same bits.
#include "common/window.cuh"

// `pixels` is n · h · w_out.
extern "C" __global__ void __launch_bounds__(256)
    max_pool_rows(const X_TYPE* x, int x_stride, int pixels, int w, int w_out, X_TYPE* maxima
#if KEEPS_INDEX
                  ,
                  unsigned short* indices
#endif
    ) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    int row = at.pixel / w_out;
    Range columns = window_of(at.pixel - row * w_out, STRIDE_W, KERNEL_W, PADDING_LEFT, w);
    float best[PACK];
    int index[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) {
        best[i] = -INFINITY_F32;
        index[i] = columns.first;
    }
#pragma unroll 4
    for (int column = columns.first; column < columns.end; column++) {
        float v[PACK];
        load_pack(v, x + element(row * w + column, x_stride, at.channel));
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            bool better = replaces(v[i], best[i]);
            best[i] = better ? v[i] : best[i];
            index[i] = better ? column : index[i];
        }
    }
    store_pack(maxima + element(at.pixel, CHANNELS, at.channel), best);
#if KEEPS_INDEX
    store_indices(indices + element(at.pixel, CHANNELS, at.channel), index);
#endif
}
