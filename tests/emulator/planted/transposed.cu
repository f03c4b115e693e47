// y = xᵀ for tiles of 32 × 32 floats, a block a tile of 32 × 8 threads. -DPITCH=33 avoids bank conflicts.
#include "common/intrinsics.cuh"

extern "C" __global__ void transposed(const float* x, float* y, int rows, int columns) {
    SHARED_ARRAY(float, tile, 32 * PITCH);
    int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8) tile[(threadIdx.y + i) * PITCH + threadIdx.x] = x[(row + i) * columns + column];
    __syncthreads();
    column = blockIdx.y * 32 + threadIdx.x;
    row = blockIdx.x * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8) y[(row + i) * rows + column] = tile[threadIdx.x * PITCH + threadIdx.y + i];
}
