// Global average pooling: y[n, c] = Σ x[n, y, x, c] / (h·w).
//
// Reads x once (the floor) and writes a pixel an image. A block an image (blockIdx.x) and group of channels;
// COLUMNS × ROWS threads: each keeps a pack of channels and walks over every ROWS-th pixel, in short sums that are
// added to a long one, so that a large map loses no digits; rows are added as a tree. The same bits in every schedule.
#include "common/map.cuh"
#include "common/reduce.cuh"

extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS)
    average_pool(const X_TYPE* x, int x_stride, Y_TYPE* y, int y_stride, int area) {
    SHARED_ARRAY(float, shared, PACK * COLUMNS * ROWS);
    Column at = find_column<COLUMNS, PACK>();
    bool valid = at.channel < CHANNELS;
    constexpr int SHORT = 16;
    float sums[PACK] = {};
    if (valid) {
        const X_TYPE* image = x + element(blockIdx.x * area, x_stride, at.channel);
        for (int first = at.row; first < area; first += SHORT * ROWS) {
            float part[PACK] = {};
#pragma unroll 4
            for (int k = 0; k < SHORT; k++) {
                int pixel = first + k * ROWS;
                if (pixel >= area) break;
                float v[PACK];
                load_pack(v, image + element(pixel, x_stride, 0));
#pragma unroll
                for (int i = 0; i < PACK; i++) part[i] += v[i];
            }
#pragma unroll
            for (int i = 0; i < PACK; i++) sums[i] += part[i];
        }
    }
    sum_rows<ROWS, COLUMNS>(sums, shared, at.row, at.column);
    if (!valid || at.row != 0) return;
    float inverse = 1.0f / static_cast<float>(area);
#pragma unroll
    for (int i = 0; i < PACK; i++) sums[i] *= inverse;
    store_pack(y + element(blockIdx.x, y_stride, at.channel), sums);
}
