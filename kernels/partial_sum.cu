// y = scale · Σ partials: the last step of a mean whose blocks left a sum each.
//
// Reads 4 bytes a partial, writes 4. One block of 256 threads; partials are few (a launch leaves at most
// 1024). Deterministic: a thread adds its partials in order, then the block's tree.
#include "common/block_sum.cuh"

constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads)
    partial_sum(const float* __restrict__ partials, int count, float scale, float* __restrict__ y) {
    SHARED_ARRAY(float, scratch, threads / 32);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < count; i += threads) sum += partials[i];
    sum = block_sum<threads>(sum, scratch);
    if (threadIdx.x == 0) *y = scale * sum;
}
