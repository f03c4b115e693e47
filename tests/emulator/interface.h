// What a compiled kernel and the stand-in for the driver agree on: the functions that a running kernel
// calls, and the table by which the driver finds its entry points. A change here makes older compiled
// kernels invalid; nvrtc.cpp writes the hash of the sources into each.
#pragma once

#ifndef EMULATOR_CONST
#define EMULATOR_CONST const
#endif

using size_t = __SIZE_TYPE__;

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace emulator {

// One entry point of a compiled kernel file; the table ends with an entry without a name.
struct Kernel {
    const char* name;
    void (*call)(const void* function, void** arguments);
    const void* function;
    unsigned arguments;
    const size_t* sizes;
    unsigned max_threads;
};

// What a compiled kernel file was made for.
struct Image {
    unsigned long long interface;
    unsigned sm;
    // For this architecture alone, as sm_90a.
    bool is_specific;
};

enum Vote { vote_and, vote_or, vote_count };
enum Shuffle { shuffle_index, shuffle_up, shuffle_down, shuffle_xor };
enum Reduce { reduce_add, reduce_min, reduce_max, reduce_and, reduce_or, reduce_xor };
enum Element { element_f16, element_bf16 };

}  // namespace emulator

#pragma GCC visibility push(default)
extern "C" {
// Constant for as long as a thread runs its kernel, whoever else takes turns: a kernel's compiler may keep
// them, and does not trace them. The runtime sets them.
extern EMULATOR_CONST uint3 emulator_thread_index, emulator_block_index;
extern EMULATOR_CONST dim3 emulator_block_size, emulator_grid_size;

void emulator_sync_threads();
int emulator_sync_threads_vote(int predicate, emulator::Vote vote);
void emulator_sync_warp(unsigned mask);
void emulator_fence();
unsigned long long emulator_shuffle(unsigned mask, unsigned long long value, int lane, emulator::Shuffle kind,
                                    int width);
unsigned emulator_ballot(unsigned mask, int predicate);
unsigned emulator_match_any(unsigned mask, unsigned long long value);
unsigned emulator_reduce(unsigned mask, unsigned value, emulator::Reduce kind, int is_signed);
unsigned emulator_active_mask();
void* emulator_shared_static(const void* key, const char* name, size_t bytes, size_t alignment);
void* emulator_shared_dynamic(size_t alignment);
unsigned emulator_shared_address(const void* pointer);
void emulator_copy_async(void* shared, const void* global, unsigned bytes, int valid);
void emulator_copy_async_commit();
void emulator_copy_async_wait(int pending);
void emulator_load_matrix_x4(unsigned* registers, const void* row, int transposed);
void emulator_mma_m16n8(float* d, const unsigned* a, const unsigned* b, int k, emulator::Element element);
void emulator_barrier_init(void* barrier, unsigned arrivals);
void emulator_barrier_init_fence();
void emulator_barrier_arrive(void* barrier, unsigned bytes);
void emulator_barrier_wait(void* barrier, unsigned parity);
void emulator_proxy_fence();
void emulator_tma_load(void* shared, const void* map, const int* at, int rank, void* barrier);
void emulator_wgmma_fence();
void emulator_wgmma(float* d, unsigned columns, unsigned long long a, unsigned long long b, emulator::Element element);
void emulator_wgmma_commit();
void emulator_wgmma_wait(int pending);
void emulator_atomic(void* address, unsigned bytes, int is_float);
void emulator_trap(const char* why);
int printf(const char* format, ...);
}
#pragma GCC visibility pop
