// The sums of a matrix's columns, y[column] = Σ x[row, column]: the gradient of a bias (rows are pixels), and the
// second launch of whoever leaves partial sums in rows.
//
// A block sums `block_rows` rows of LANES · PACK columns; with several blocks over the rows, y has one row of
// partial sums for each, and a second launch of the same kernel adds those. Within a block a thread adds every
// (256 / LANES)-th row, and a tree adds the threads' sums.
//
// FLOPs: one addition an element. Bytes: x once, 4 · columns · blocks over the rows written.
// Launch: grid (⌈columns / (LANES · PACK)⌉, ⌈rows / block_rows⌉), 256 threads.
// Deterministic: every sum has one order.
#include "common/types.cuh"

constexpr int THREADS = 256;
constexpr int ROWS = THREADS / LANES;

extern "C" __global__ void __launch_bounds__(THREADS)
    column_sum(const X_TYPE* x, float* y, int rows, int columns, int row_stride, int block_rows) {
    SHARED_ARRAY(float, part, PACK * THREADS);  // [PACK][ROWS][LANES]
    int thread = static_cast<int>(threadIdx.x);
    int lane = thread % LANES, first_column = static_cast<int>(blockIdx.x) * LANES * PACK;
    int column = first_column + lane * PACK;
    int first = static_cast<int>(blockIdx.y) * block_rows;
    int end = min(first + block_rows, rows);

    float sum[PACK] = {};
    if (column < columns) {
        const X_TYPE* from = x + column;
#pragma unroll 4
        for (int row = first + thread / LANES; row < end; row += ROWS) {
            float values[PACK];
            load_pack(values, from + static_cast<long long>(row) * row_stride);
#pragma unroll
            for (int i = 0; i < PACK; i++) sum[i] += values[i];
        }
    }
#pragma unroll
    for (int i = 0; i < PACK; i++) part[i * THREADS + thread] = sum[i];
#pragma unroll
    for (int half = THREADS / 2; half >= LANES; half /= 2) {
        __syncthreads();
        if (thread < half) {
#pragma unroll
            for (int i = 0; i < PACK; i++) part[i * THREADS + thread] += part[i * THREADS + thread + half];
        }
    }
    __syncthreads();
    if (thread < LANES * PACK && first_column + thread < columns) {
        y[static_cast<long long>(blockIdx.y) * columns + first_column + thread] =
            part[thread % PACK * THREADS + thread / PACK];
    }
}
