// The third of three launches of a batch norm's backward: dz = scale·g − (base + slope·z) with g = dy·act'(x), over
// dy where dz lies there. The coefficients [4][CHANNELS] are those of normalize_gradient_totals.cu.
//
// Reads dy and z once and writes dz once. 6 FLOPs and a derivative an element: computing g a second time costs less
// than keeping it in memory would. COLUMNS × ROWS threads: each keeps a pack of channels and walks over the pixels.
// No sum over threads: any order gives the same bits.
#include "common/activation.cuh"
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS)
    normalize_gradient(const DY_TYPE* dy, int dy_stride, const Z_TYPE* z, int z_stride, const float* coefficients,
                       DZ_TYPE* dz, int dz_stride, int pixels) {
    Column at = find_column<COLUMNS, PACK>();
    if (at.channel >= CHANNELS) return;
    float scale[PACK], shift[PACK], base[PACK], slope[PACK];
    load_pack(scale, coefficients + at.channel);
    load_pack(shift, coefficients + CHANNELS + at.channel);
    load_pack(base, coefficients + 2 * CHANNELS + at.channel);
    load_pack(slope, coefficients + 3 * CHANNELS + at.channel);
    int step = gridDim.x * ROWS;
    for (int first = blockIdx.x * ROWS + at.row; first < pixels; first += step * PIXELS) {
        float v[PIXELS][PACK], g[PIXELS][PACK];
#pragma unroll
        for (int k = 0; k < PIXELS; k++) {
            int pixel = first + k * step;
            if (pixel >= pixels) break;
            load_pack(v[k], z + element(pixel, z_stride, at.channel));
            load_pack(g[k], dy + element(pixel, dy_stride, at.channel));
        }
#pragma unroll
        for (int k = 0; k < PIXELS; k++) {
            int pixel = first + k * step;
            if (pixel >= pixels) break;
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                float slope_of_act = activation_derivative<ACTIVATION>(fmaf(v[k][i], scale[i], shift[i]));
                g[k][i] = scale[i] * (g[k][i] * slope_of_act) - fmaf(slope[i], v[k][i], base[i]);
            }
            store_pack(dz + element(pixel, dz_stride, at.channel), g[k]);
        }
    }
}
