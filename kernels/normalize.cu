// y = act((z − mean)·γ/√(var + ε) + β), and a residual added to the first RESIDUAL channels: batch norm, activation
// and PRN's masked residual in one pass, over z where y lies there.
//
// Reads z and the residual once and writes y once: the floor. 3 FLOPs and an activation an element. COLUMNS × ROWS
// threads: each computes scale and shift of a pack of channels once and walks over the pixels, PIXELS of them in
// flight. No sum over threads: any order gives the same bits.
#include "common/activation.cuh"
#include "common/norm.cuh"

extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS)
    normalize(const Z_TYPE* z, int z_stride, const float* mean, const float* variance, const float* gamma,
              const float* beta, Y_TYPE* y, int y_stride, int pixels, float epsilon
#if RESIDUAL > 0
              ,
              const RESIDUAL_TYPE* residual, int residual_stride
#endif
    ) {
    Column at = find_column<COLUMNS, PACK>();
    if (at.channel >= CHANNELS) return;
    float means[PACK], scale[PACK], shift[PACK];
    load_norm<VECTOR>(means, scale, shift, mean, variance, gamma, beta, at.channel, epsilon);
    int step = gridDim.x * ROWS;
    for (int first = blockIdx.x * ROWS + at.row; first < pixels; first += step * PIXELS) {
        float v[PIXELS][PACK];
#pragma unroll
        for (int k = 0; k < PIXELS; k++) {
            int pixel = first + k * step;
            if (pixel < pixels) load_pack(v[k], z + element(pixel, z_stride, at.channel));
        }
#pragma unroll
        for (int k = 0; k < PIXELS; k++) {
            int pixel = first + k * step;
            if (pixel >= pixels) break;
#pragma unroll
            for (int i = 0; i < PACK; i++) v[k][i] = activate<ACTIVATION>(fmaf(v[k][i], scale[i], shift[i]));
#if RESIDUAL > 0
            float r[PACK];
            load_pack_within<RESIDUAL>(r, residual + element(pixel, residual_stride, 0), at.channel);
#pragma unroll
            for (int i = 0; i < PACK; i++) v[k][i] += r[i];
#endif
            store_pack(y + element(pixel, y_stride, at.channel), v[k]);
        }
    }
}
