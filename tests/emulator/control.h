// What a test may ask of the emulator, beside the driver's own functions: the C interface that the
// stand-in for the driver exports and tests/emulator/mod.rs wraps. One process has one device state;
// every function takes the emulator's lock.
#pragma once
#include <cstddef>
#include <cstdint>

// In which order the threads of a block, and the blocks of a launch, run.
enum EmulatorOrder : uint32_t {
    // Threads by index, each up to where it waits; blocks by index.
    EMULATOR_ORDER_ASCENDING = 0,
    // The same from the last to the first.
    EMULATOR_ORDER_DESCENDING = 1,
    // Warps have random priorities, drawn anew at each barrier: the highest one that can run, runs. Finds
    // a warp that overtakes the others. Blocks are shuffled.
    EMULATOR_ORDER_WARP_PRIORITY = 2,
    // A random thread of those that can run; blocks are shuffled.
    EMULATOR_ORDER_SHUFFLED = 3,
};

struct EmulatorOptions {
    uint32_t order;
    // Nonzero: every access is checked (bounds, races, uninitialised reads, alignment) and counted.
    uint32_t trace;
    uint64_t seed;
    // Nonzero: errors are kept for emulator_last_error, and not printed on standard error.
    uint64_t quiet;
};

struct EmulatorDevice {
    char name[64];
    // 10 · major + minor of the compute capability: 75, 80, …
    uint32_t sm;
    uint32_t multiprocessors;
    // Allocations beyond this many bytes fail.
    uint64_t memory_bytes;
    // As cuDriverGetVersion says it: 1000 · major + 10 · minor.
    uint32_t driver_version;
    uint32_t count;
};

// One kernel launch that has run. Counts are zero where it was not traced.
struct EmulatorLaunch {
    char kernel[128];
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t dynamic_shared;
    uint32_t static_shared;
    uint32_t traced;
    // Nonzero: the launch failed, see emulator_last_error.
    uint32_t failed;
    // Global memory: bytes that were accessed at least once, and every access summed.
    uint64_t unique_read_bytes, unique_write_bytes;
    uint64_t read_bytes, write_bytes;
    // 32 bytes for each aligned 32-byte sector accessed at least once: what memory must move.
    uint64_t sector_read_bytes, sector_write_bytes;
    // Global memory by warp: instructions, the sectors they touched, and the fewest that their bytes
    // fill. Lanes that do not run an instruction equally often are matched by count.
    uint64_t requests, sectors, ideal_sectors;
    // Shared memory by warp: instructions (an 8-byte access counts one a half warp, a 16-byte access one
    // a quarter), and the passes over the 32 banks they need; the excess is bank conflicts.
    uint64_t shared_requests, shared_wavefronts;
    // Atomics on global or shared memory, and those on floats, whose sum depends on the order.
    uint64_t atomics, float_atomics;
    uint64_t barriers;
};

// What one launch did to one allocation.
struct EmulatorTraffic {
    uint64_t address, bytes;
    uint64_t unique_read_bytes, unique_write_bytes;
    uint64_t sector_read_bytes, sector_write_bytes;
};

// What one instruction of a launch asked of memory, over all blocks.
struct EmulatorSite {
    // Source line, and the calls that are inlined around it: "types.cuh:48 in conv.cu:120". Empty if unknown.
    char line[128];
    uint32_t shared, written;
    // As in EmulatorLaunch, for global or for shared memory; `passes` are sectors or wavefronts, and
    // `ideal_passes` the fewest: full sectors, or one wavefront a request.
    uint64_t requests, passes, ideal_passes;
};

struct EmulatorMemory {
    // Device memory that the program holds now, and the most it has held since the last clear.
    uint64_t live_allocations, live_bytes, peak_bytes;
    // Calls of the driver's allocation functions, and pinned host bytes held now.
    uint64_t allocation_calls, pinned_bytes;
};

#define EMULATOR_API extern "C" __attribute__((visibility("default")))

EMULATOR_API void emulator_set_options(const EmulatorOptions* options);
EMULATOR_API void emulator_get_options(EmulatorOptions* options);
// The device as a program sees it; read when a function asks.
EMULATOR_API void emulator_set_device(const EmulatorDevice* device);
EMULATOR_API void emulator_get_device(EmulatorDevice* device);
// Forgets launches, the last error, planned failures and the peak; a broken context works again. Work
// that still waits is dropped; allocations stay.
EMULATOR_API void emulator_clear();
EMULATOR_API size_t emulator_launch_count();
// Zero if there is no launch `index`.
EMULATOR_API int emulator_launch(size_t index, EmulatorLaunch* launch);
// How many allocations the launch touched, and the first `capacity` of them by address.
EMULATOR_API size_t emulator_launch_traffic(size_t launch, EmulatorTraffic* traffic, size_t capacity);
// How many instructions of the launch accessed memory, and those, in the order in which they first ran, if
// `capacity` is enough for all. Lines are looked up now, in the modules that are loaded now.
EMULATOR_API size_t emulator_launch_sites(size_t launch, EmulatorSite* sites, size_t capacity);
EMULATOR_API void emulator_memory(EmulatorMemory* memory);
// Copies the sentence, cut to `capacity` with its zero, and says its whole length. Empty if none.
EMULATOR_API size_t emulator_last_error(char* text, size_t capacity);
// The `nth` call from now (1: the next) of the driver function `function` does nothing and returns
// `code`. An unknown function never fails.
EMULATOR_API void emulator_fail(const char* function, uint32_t nth, uint32_t code);
// The bytes are as if nobody had written them. Zero if they are not within one allocation. Waiting work
// runs first.
EMULATOR_API int emulator_poison(uint64_t address, size_t bytes);
// Work that has been given to streams and has not run yet.
EMULATOR_API size_t emulator_pending();
