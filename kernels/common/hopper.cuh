// What Hopper adds (sm_90a): barriers in shared memory that count bytes, copies of boxes of tensors (TMA), and matrix
// products of a warpgroup. PTX behind functions, as in common/intrinsics.cuh; tests/emulator/hopper.cuh is the twin.
// A kernel that includes this is compiled for sm_90a, whose code runs on compute capability 9.0 alone.
//
// PTX ISA 8.0 and later, sections "mbarrier", "membar/fence", "cp.async.bulk.tensor", "Asynchronous warpgroup level
// matrix instructions"; tensor maps: CUDA driver API, "Tensor map object management".
#pragma once
#include "common/intrinsics.cuh"

#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#error "this kernel is compiled for sm_90a"
#endif

// ---- barriers in shared memory ("mbarrier") -------------------------------------------------------

// Completes a phase when as many threads have arrived as it was made for and all bytes that they expect have come;
// then the next phase begins. Aligned to 8 bytes.
using Barrier = unsigned long long;

// One thread makes a barrier for `arrivals` a phase, calls `barrier_init_fence`, and the block synchronises.
DEVICE void barrier_init(Barrier* barrier, unsigned arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Shows the barriers that this thread made to asynchronous copies.
DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void barrier_arrive(Barrier* barrier) {
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and makes the phase wait for `bytes` more.
DEVICE void barrier_arrive_expect(Barrier* barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}
// Waits until the phase of this parity is over: phases count from 0, and before phase 0 one of parity 1 is over.
DEVICE void barrier_wait(Barrier* barrier, unsigned parity) {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "again:\n"
        "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 over, [%0], %1;\n"
        "@!over bra again;\n"
        "}" ::"r"(shared_address(barrier)),
        "r"(parity)
        : "memory");
}
// Orders this thread's plain accesses to shared memory before what copies and warpgroups do there after a barrier.
DEVICE void shared_proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- copies of boxes (TMA) ------------------------------------------------------------------------

// A tensor in global memory, and the box that one copy takes of it: encoded by the driver (cuTensorMapEncodeTiled), a
// parameter `const __grid_constant__ TensorMap`. Coordinates and sizes begin with the innermost axis.
struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

// Copies the box that begins at the coordinates to `shared` (aligned to 128 bytes), and tells `barrier` of its bytes
// when they are there. Elements outside of the tensor become zero and count as bytes. One thread calls it.
DEVICE void tma_load_3d(void* shared, const TensorMap* map, int x, int y, int z, Barrier* barrier) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
        "[%5];" ::"r"(shared_address(shared)),
        "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
        : "memory");
}
DEVICE void tma_load_4d(void* shared, const TensorMap* map, int x, int y, int z, int w, Barrier* barrier) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
        "[%1, {%2, %3, %4, %5}], [%6];" ::"r"(shared_address(shared)),
        "l"(map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(shared_address(barrier))
        : "memory");
}

// ---- products of a warpgroup (wgmma) --------------------------------------------------------------
//
// A warpgroup is four warps of which the first's number is a multiple of four; all 128 threads call each function
// together. Products run behind the threads' back: between the first of them and the wait that covers the last,
// nobody may touch the sums, nor change the operands in shared memory.

// The values must be in their registers here: neither sooner nor later.
template <int count>
DEVICE void hold_registers(float (&d)[count]) {
#pragma unroll
    for (int i = 0; i < count; i++) asm volatile("" : "+f"(d[i])::"memory");
}
// Orders what the threads did with the sums before the products that follow.
template <int count>
DEVICE void wgmma_fence(float (&d)[count]) {
    hold_registers(d);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// Closes the group of the products begun since the last one.
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most `pending` of the groups are still under way.
template <int pending, int count>
DEVICE void wgmma_wait(float (&d)[count]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
    hold_registers(d);
}

// `wgmma_m64n32k16_bf16(d, a, b)` and so on: d += a·b, a 64×16 and b 16×n of two-byte elements in shared memory, along
// K without gaps, named by matrix descriptors ("Matrix descriptor format"); d 64×n of f32. With warp = warp of the
// warpgroup, group = lane / 4 and thread = lane % 4: d[4·j + 2·i + e] is row 16·warp + group + 8·i, column
// 8·j + 2·thread + e ("Matrix fragments for wgmma.mma_async.m64nNk16").
#define WGMMA_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_16(i) WGMMA_4(i), WGMMA_4(i + 4), WGMMA_4(i + 8), WGMMA_4(i + 12)
#define WGMMA_32(i) WGMMA_16(i), WGMMA_16(i + 16)
#define WGMMA_64(i) WGMMA_32(i), WGMMA_32(i + 32)
#define WGMMA_128(i) WGMMA_64(i), WGMMA_64(i + 64)
#define WGMMA_NAMES_16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define WGMMA_NAMES_32 \
    WGMMA_NAMES_16 \
    ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WGMMA_NAMES_64 \
    WGMMA_NAMES_32 \
    ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
    ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define WGMMA_NAMES_128 \
    WGMMA_NAMES_64 \
    ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79" \
    ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95" \
    ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
    ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
// No scaling, nothing transposed.
#define WGMMA(n, count, after, last, type)                                                                   \
    DEVICE void wgmma_m64n##n##k16_##type(float (&d)[count], unsigned long long a, unsigned long long b) {   \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." #type "." #type " {" WGMMA_NAMES_##count \
                     "}, %" #after ", %" #last ", 1, 1, 1, 0, 0;"                                            \
                     : WGMMA_##count(0)                                                                      \
                     : "l"(a), "l"(b));                                                                      \
    }
WGMMA(32, 16, 16, 17, f16)
WGMMA(64, 32, 32, 33, f16)
WGMMA(128, 64, 64, 65, f16)
WGMMA(256, 128, 128, 129, f16)
WGMMA(32, 16, 16, 17, bf16)
WGMMA(64, 32, 32, 33, bf16)
WGMMA(128, 64, 64, 65, bf16)
WGMMA(256, 128, 128, 129, bf16)
