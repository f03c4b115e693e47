// Sums over the threads of a block, as a tree: the same bits whatever the order in which warps run, and
// an error that grows with the logarithm of the threads.
#pragma once
#include "common/intrinsics.cuh"

// The sum over the lanes of a warp, in every lane.
template <class T>
DEVICE T warp_sum(T value) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(~0u, value, lanes);
    return value;
}

// The sum over a block of `threads` (a multiple of 32, at most 1024), in thread 0. `scratch` has a place
// for each warp and may be used again after the next __syncthreads().
template <int threads, class T>
DEVICE T block_sum(T value, T* scratch) {
    value = warp_sum(value);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    if (warp == 0) value = warp_sum(lane < threads / 32 ? scratch[lane] : T(0));
    return value;
}
