// The emulator's twin of kernels/common/hopper.cuh: the same functions over the emulator's runtime. What each one
// means is said there.
#pragma once
#include "common/intrinsics.cuh"

#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#error "this kernel is compiled for sm_90a"
#endif

// ---- barriers in shared memory ("mbarrier") -------------------------------------------------------

using Barrier = unsigned long long;

DEVICE void barrier_init(Barrier* barrier, unsigned arrivals) { emulator_barrier_init(barrier, arrivals); }
DEVICE void barrier_init_fence() { emulator_barrier_init_fence(); }
DEVICE void barrier_arrive(Barrier* barrier) { emulator_barrier_arrive(barrier, 0); }
DEVICE void barrier_arrive_expect(Barrier* barrier, unsigned bytes) { emulator_barrier_arrive(barrier, bytes); }
DEVICE void barrier_wait(Barrier* barrier, unsigned parity) { emulator_barrier_wait(barrier, parity); }
DEVICE void shared_proxy_fence() { emulator_proxy_fence(); }

// ---- copies of boxes (TMA) ------------------------------------------------------------------------

struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

DEVICE void tma_load_3d(void* shared, const TensorMap* map, int x, int y, int z, Barrier* barrier) {
    const int at[3] = {x, y, z};
    emulator_tma_load(shared, map, at, 3, barrier);
}
DEVICE void tma_load_4d(void* shared, const TensorMap* map, int x, int y, int z, int w, Barrier* barrier) {
    const int at[4] = {x, y, z, w};
    emulator_tma_load(shared, map, at, 4, barrier);
}

// ---- products of a warpgroup (wgmma) --------------------------------------------------------------

// The runtime has the sums while products are under way, and nothing moves around its calls.
template <int count>
DEVICE void hold_registers(float (&)[count]) {}
template <int count>
DEVICE void wgmma_fence(float (&)[count]) {
    emulator_wgmma_fence();
}
DEVICE void wgmma_commit() { emulator_wgmma_commit(); }
template <int pending, int count>
DEVICE void wgmma_wait(float (&)[count]) {
    emulator_wgmma_wait(pending);
}

#define WGMMA(n, count, type)                                                                               \
    DEVICE void wgmma_m64n##n##k16_##type(float (&d)[count], unsigned long long a, unsigned long long b) { \
        emulator_wgmma(d, n, a, b, emulator::element_##type);                                              \
    }
WGMMA(32, 16, f16)
WGMMA(64, 32, f16)
WGMMA(128, 64, f16)
WGMMA(256, 128, f16)
WGMMA(32, 16, bf16)
WGMMA(64, 32, bf16)
WGMMA(128, 64, bf16)
WGMMA(256, 128, bf16)
