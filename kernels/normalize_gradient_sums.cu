// The first of three launches of a batch norm's backward: with g = dy·act'(x), x the normalised value, each block's
// Σ g and Σ g·(z − mean) over its run of pixels, into partials[block][2][CHANNELS]. With running statistics
// (WRITES_DZ) nothing else is needed for dz = scale·g, which is written in the same pass, over dy where it lies there.
//
// Reads dy and z once and writes 8 bytes a channel and block (and dz). 8 FLOPs and a derivative an element.
// COLUMNS × ROWS threads: each keeps a pack of channels and walks over every ROWS-th pixel of the run; rows are added
// as a tree. Which pixels a block has depends on the shape alone: the same bits in every schedule.
#include "common/activation.cuh"
#include "common/norm.cuh"
#include "common/reduce.cuh"

// Up to 128 registers: of its own accord the compiler takes 32 for some on sm_100, and spills.
extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS, 2)
    normalize_gradient_sums(const DY_TYPE* dy, int dy_stride, const Z_TYPE* z, int z_stride, const float* mean,
                            const float* variance, const float* gamma, const float* beta, float* partials, int pixels,
                            int run, float epsilon
#if WRITES_DZ
                            ,
                            DZ_TYPE* dz, int dz_stride
#endif
    ) {
    SHARED_ARRAY(float, shared, 2 * PACK * COLUMNS * ROWS);
    Column at = find_column<COLUMNS, PACK>();
    bool valid = at.channel < CHANNELS;
    int first = blockIdx.x * run;
    int last = min(first + run, pixels);
    float sums[2 * PACK] = {};
    if (valid) {
        float means[PACK], scale[PACK], shift[PACK];
        load_norm<VECTOR>(means, scale, shift, mean, variance, gamma, beta, at.channel, epsilon);
#pragma unroll 2
        for (int pixel = first + at.row; pixel < last; pixel += ROWS) {
            float v[PACK], g[PACK];
            load_pack(v, z + element(pixel, z_stride, at.channel));
            load_pack(g, dy + element(pixel, dy_stride, at.channel));
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                g[i] *= activation_derivative<ACTIVATION>(fmaf(v[i], scale[i], shift[i]));
                sums[i] += g[i];
                sums[PACK + i] += g[i] * (v[i] - means[i]);
            }
#if WRITES_DZ
#pragma unroll
            for (int i = 0; i < PACK; i++) g[i] *= scale[i];
            store_pack(dz + element(pixel, dz_stride, at.channel), g);
#endif
        }
    }
    sum_rows<ROWS, COLUMNS>(sums, shared, at.row, at.column);
    if (!valid || at.row != 0) return;
    float* partial = partials + 2ll * blockIdx.x * CHANNELS + at.channel;
    float part[PACK];
#pragma unroll
    for (int k = 0; k < 2; k++) {
#pragma unroll
        for (int i = 0; i < PACK; i++) part[i] = sums[k * PACK + i];
        store_pack(partial + k * CHANNELS, part);
    }
}
