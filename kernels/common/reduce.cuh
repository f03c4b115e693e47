// Sums over the threads of a block, in an order that only the block's shape decides.
#pragma once
#include "common/intrinsics.cuh"

// Adds the `count` values of the threads (row, column) over the rows, as a tree; row 0 has the sums.
// `shared` has rows · columns · count floats: [count][row][column], so that neighbours never meet in a bank.
// Every thread of the block calls it. It begins with writes and ends without a barrier: a second call on the
// same memory needs one before.
template <int rows, int columns, int count>
DEVICE void sum_rows(float (&values)[count], float* shared, int row, int column) {
    if (rows == 1) return;
    constexpr int threads = rows * columns;
    int own = row * columns + column;
#pragma unroll
    for (int i = 0; i < count; i++) shared[i * threads + own] = values[i];
#pragma unroll
    for (int left = rows; left > 1; left = (left + 1) / 2) {
        int half = (left + 1) / 2;
        __syncthreads();
        if (row + half < left) {
#pragma unroll
            for (int i = 0; i < count; i++) {
                values[i] += shared[i * threads + own + half * columns];
                shared[i * threads + own] = values[i];
            }
        }
    }
}
