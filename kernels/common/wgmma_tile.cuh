// The sums of a warpgroup: 64 rows by `n` columns, multiplied by wgmma from tiles that TMA lays out.
//
// A tile in shared memory has rows of 64 two-byte elements along K, 128 bytes, and begins at a multiple of 1024 bytes;
// the 16-byte chunk c of row r lies at c ^ (r % 8), TMA's 128-byte swizzle, so that nothing meets in a bank.
#pragma once
#include "common/hopper.cuh"
#include "common/types.cuh"

constexpr int row_bytes = 128;
constexpr int row_elements = 64;
// K of one product: 32 bytes of a row.
constexpr int product_k = 16;

// The descriptor of a tile from its row at `first`, whose number is a multiple of 8: 8 rows are 1024 bytes, and the
// hardware undoes the swizzle by the address. The distance along K is not used, by convention 1.
DEVICE unsigned long long tile_descriptor(const void* first) {
    const unsigned long long start = (shared_address(first) & 0x3ffffu) >> 4;
    const unsigned long long next_rows = 8 * row_bytes >> 4;
    return start | 1ull << 16 | next_rows << 32 | 1ull << 62;
}
// What to add to a descriptor for the product number `index` along a row.
DEVICE constexpr unsigned long long along_row(int index) {
    return static_cast<unsigned long long>(index * product_k * 2 >> 4);
}

DEVICE void wgmma(float (&d)[16], unsigned long long a, unsigned long long b, f16) { wgmma_m64n32k16_f16(d, a, b); }
DEVICE void wgmma(float (&d)[32], unsigned long long a, unsigned long long b, f16) { wgmma_m64n64k16_f16(d, a, b); }
DEVICE void wgmma(float (&d)[64], unsigned long long a, unsigned long long b, f16) { wgmma_m64n128k16_f16(d, a, b); }
DEVICE void wgmma(float (&d)[128], unsigned long long a, unsigned long long b, f16) { wgmma_m64n256k16_f16(d, a, b); }
DEVICE void wgmma(float (&d)[16], unsigned long long a, unsigned long long b, bf16) { wgmma_m64n32k16_bf16(d, a, b); }
DEVICE void wgmma(float (&d)[32], unsigned long long a, unsigned long long b, bf16) { wgmma_m64n64k16_bf16(d, a, b); }
DEVICE void wgmma(float (&d)[64], unsigned long long a, unsigned long long b, bf16) { wgmma_m64n128k16_bf16(d, a, b); }
DEVICE void wgmma(float (&d)[128], unsigned long long a, unsigned long long b, bf16) { wgmma_m64n256k16_bf16(d, a, b); }

template <class T, int n>
struct WarpgroupSums {
    // A thread's share: `rows` rows, and at each of them `runs` runs of `run` columns.
    static constexpr int rows = 2, run = 8, runs = n / 32;
    static_assert(n % 32 == 0, "columns go by fours of eight");

    float d[n / 2];

    DEVICE void begin() {
#pragma unroll
        for (int i = 0; i < n / 2; i++) d[i] = 0.0f;
    }

    // Begins to add the product of a row's first `products` parts; descriptors are those of the tiles' rows.
    template <int products>
    DEVICE void multiply(unsigned long long a, unsigned long long b) {
        wgmma_fence(d);
#pragma unroll
        for (int i = 0; i < products; i++) wgmma(d, a + along_row(i), b + along_row(i), T{});
        wgmma_commit();
    }

    // The hardware gives a lane of four neighbours two columns of each eight. Passes them on among the four, so that
    // each has runs of 8 neighbouring columns, 16 bytes of a two-byte map: of each row a 4×4 transposition of pairs.
    DEVICE void gather_runs() {
#pragma unroll
        for (int step = 1; step < 4; step *= 2) {
            const bool is_upper = (threadIdx.x & step) != 0;
#pragma unroll
            for (int j = 0; j < n / 8; j++) {
                if ((j & step) != 0) continue;
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float& low = d[4 * j + e];
                    float& high = d[4 * (j + step) + e];
                    const float passed = __shfl_xor_sync(0xffffffffu, is_upper ? low : high, step);
                    if (is_upper) low = passed;
                    else high = passed;
                }
            }
        }
    }

    // After `gather_runs`: element e of a run.
    DEVICE float& at(int row, int of_run, int e) { return d[16 * of_run + 4 * (e / 2) + 2 * row + e % 2]; }
    // Of the warpgroup's 64 rows and n columns.
    DEVICE static int row_of(int row) {
        return static_cast<int>(threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4) + 8 * row;
    }
    DEVICE static int column_of(int of_run) { return 32 * of_run + static_cast<int>(threadIdx.x % 4) * run; }
};
