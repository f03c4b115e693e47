// The gradient of a gather: rows of a match table are added into a map that is zero elsewhere. Several
// rows may name the same anchor of the same cell; they are added in the order of the table.
//
// The zeros are the work: a head's map has megabytes, its matches kilobytes. So clear.cu writes the map
// once, which is the floor; scatter_mark.cu leaves the key of each row, and bits that say which keys are
// repeated (rows may be tens of thousands, nearly all of them unused or alone in their cell); and here a
// warp takes a row. Where its key is not repeated it is written as it is. Where it is, the warp reads the
// keys of the table, 32 at a time: the first row of the key adds all of them, the others leave. Reads and
// writes the matched rows, reads 4 bytes of key a row, and of the whole table for a row that is repeated.
// Deterministic: one warp writes each destination, in the order of the table, summed in f32.
#include "common/types.cuh"

constexpr int threads = 256;

// The columns that a warp adds at a time: a few registers a lane, whatever COLUMNS is.
constexpr int columns_per_lane = COLUMNS < 128 ? (COLUMNS + 31) / 32 : 4;

extern "C" __global__ void __launch_bounds__(threads)
    scatter(const X_TYPE* __restrict__ x, const int* __restrict__ keys, const unsigned* __restrict__ marks, int words,
            Y_TYPE* __restrict__ y) {
    int row = blockIdx.x * (threads / 32) + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    int rows = static_cast<int>(marks[2 * words]);
    if (row >= rows) return;
    int key = keys[row];
    if (key < 0) return;
    Y_TYPE* to = y + static_cast<size_t>(key / ANCHORS) * Y_STRIDE + key % ANCHORS * COLUMNS;

    if (!(marks[words + key / 32] >> (key % 32) & 1u)) {
        for (int column = lane; column < COLUMNS; column += 32)
            to[column] = from_float<Y_TYPE>(to_float(x[static_cast<size_t>(row) * X_STRIDE + column]));
        return;
    }
    for (int begin = lane; begin < COLUMNS + lane; begin += 32 * columns_per_lane) {
        float sum[columns_per_lane] = {};
        bool is_first = true;
        for (int base = 0; base < rows; base += 32) {
            int other = base + lane < rows ? keys[base + lane] : -1;
            unsigned same = __ballot_sync(~0u, other == key);
            for (; same != 0; same &= same - 1) {
                int found = base + __ffs(static_cast<int>(same)) - 1;
                if (is_first && found != row) return;
                is_first = false;
                const X_TYPE* from = x + static_cast<size_t>(found) * X_STRIDE;
#pragma unroll
                for (int i = 0; i < columns_per_lane; i++)
                    if (begin + 32 * i < COLUMNS) sum[i] += to_float(from[begin + 32 * i]);
            }
        }
#pragma unroll
        for (int i = 0; i < columns_per_lane; i++)
            if (begin + 32 * i < COLUMNS) to[begin + 32 * i] = from_float<Y_TYPE>(sum[i]);
    }
}
