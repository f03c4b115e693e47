// What the parts of the emulator know of each other: fibers (fiber.cpp) are scheduled by block.cpp, meet
// in warp.cpp and wgmma.cpp, begin copies in tma.cpp, touch memory that arena.cpp hands out, and are
// watched by trace.cpp; driver.cpp and
// stream.cpp call `run_launch`. All of it runs under one lock, on whichever host thread synchronises.
#pragma once
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "control.h"
#define EMULATOR_CONST
#include "interface.h"

namespace emulator {

constexpr unsigned warp_lanes = 32;
// The most that any device has (sm_90), and what one block can get of it.
constexpr size_t shared_capacity = 227 * 1024;
// Where dynamic shared memory starts, and how much there is with room for the gaps between arrays.
constexpr size_t shared_base = 1024;
constexpr size_t shared_bytes = shared_base + shared_capacity + 16 * 1024;

// ---- fiber.cpp -----------------------------------------------------------------------------------

// Saves the running fiber's registers on its stack and its stack pointer in `*save`; resumes `to`.
extern "C" void emulator_switch(void** save, void* to);
// A stack that starts in `entry` when it is switched to.
void* prepare_stack(void* top, void (*entry)());
// Stacks for `count` threads, a guard page below each. They are kept for the next launch.
void reserve_stacks(unsigned count);
void* stack_top(unsigned index);
// Turns a fault of the running kernel into a failed launch; other faults go where they went before.
void install_fault_handler();
// The host thread that runs a kernel now.
void enter_kernel();
void leave_kernel();

// ---- block.cpp -----------------------------------------------------------------------------------

// What a thread waits for: __syncthreads, other lanes, a phase of a barrier in shared memory, its warpgroup.
enum class State : uint8_t { ready, barrier, collective, phase, warpgroup, done };

struct CopyAsync {
    void* shared;
    const void* global;
    unsigned bytes;
    bool valid;
    const void* pc;
};

// A product of a warpgroup, as one of its threads began it.
struct Product {
    float* d;
    unsigned columns;
    uint64_t a, b;
    Element element;
};

struct Warp;
struct Fiber {
    uint3 index;
    unsigned lane;
    void* stack_pointer;
    unsigned linear, stack;
    State state;
    // Has a stack; before, it has not begun.
    bool started;
    // Has called __threadfence().
    bool fenced;
    Warp* warp;
    // Copies not yet done, oldest first, and how many there were at the end of each open group.
    std::vector<CopyAsync> copies;
    std::vector<size_t> groups;
    // Products not yet done, likewise, and the thread's share of their sums meanwhile; how many groups the thread's
    // wait leaves; whether a fence lies before the next product.
    std::vector<Product> products;
    std::vector<size_t> product_groups;
    std::vector<float> sums;
    size_t groups_left;
    bool products_fenced;
    // The barrier in shared memory whose phase it waits for.
    unsigned place;
    // The epoch of its last fence between its own accesses and those of copies and products.
    uint32_t proxy_fence;
};

// A meeting of the lanes that `mask` names.
struct Meeting {
    unsigned mask, arrived;
    int kind;
    void* slots[warp_lanes];
};
struct Warp {
    unsigned index;
    // Lanes that have not exited.
    unsigned live;
    // Counts __syncwarp.
    uint32_t clock;
    // One for each lowest lane of a mask.
    Meeting meetings[warp_lanes];
};

struct SharedArray {
    const void* key;
    const char* name;
    size_t offset, bytes;
};

// The block that runs.
struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    unsigned alive;
    // The number of the block within its launch, in the order in which blocks run, from 1.
    uint32_t number;
    // Rises at each barrier and at each block, and never falls: the time of an access.
    uint32_t epoch, first_epoch;
    unsigned char* shared;
    size_t dynamic_shared, static_shared;
    // Where the next static array goes.
    size_t shared_end;
    std::vector<SharedArray> arrays;
    // Statistics of the launch.
    EmulatorLaunch* launch;
    bool failed;
};
extern Block block;
extern EmulatorOptions options;

// The thread that runs; null between blocks.
extern Fiber* current;

// Makes `fiber` runnable.
void wake(Fiber* fiber);
// The same with all that wait for a phase of the barrier at `place`.
void wake_at(unsigned place);
// Random, by the launch's seed.
uint32_t random_below(uint32_t bound);
// The current fiber has set its state: runs others until it is woken.
void wait();
// What a failed launch returns.
enum Failure : int { illegal_address = 700, misaligned_address = 716, launch_failed = 719 };
// Notes why the launch fails, in a sentence (printf style); only the first is kept.
void fail_launch(Failure failure, const char* format, ...) __attribute__((format(printf, 2, 3)));
// Leaves the kernel for good.
[[noreturn]] void abandon();

struct LaunchArguments {
    const Kernel* kernel;
    dim3 grid, block;
    unsigned dynamic_shared;
    // Static and dynamic together, for this device and this function's attribute.
    size_t shared_limit;
    void** arguments;
};
struct Outcome {
    // Zero if all went well.
    int result;
    std::string error;
};
struct Record;
// Runs a launch to its end and writes its statistics.
Outcome run_launch(const LaunchArguments& arguments, Record& record);

// ---- tma.cpp -------------------------------------------------------------------------------------

// A block begins: no barriers in shared memory, and no copies of boxes under way.
void begin_copies();
// Lets one copy land; false if none is under way.
bool land_copy();
size_t copies_under_way();
// Whether a copy is under way to any of these bytes of shared memory.
bool is_copied_to(size_t offset, size_t bytes);
// What the barrier there waits for, for messages.
std::string describe_barrier(unsigned place);

// ---- wgmma.cpp -----------------------------------------------------------------------------------

// Whether a product that is not waited for reads any of these bytes of shared memory.
bool is_multiplied(size_t offset, size_t bytes);

// ---- arena.cpp -----------------------------------------------------------------------------------

struct Allocation {
    uint64_t address, bytes;
    // A launch that was not traced may have written anywhere: no uninitialised reads are reported.
    bool assumed_initialised;
};
// Zero if the arena is full. Pages around it fault; it is filled with 0xFF, a NaN in every float type.
uint64_t allocate(size_t bytes);
// False if nothing is allocated there.
bool release(uint64_t address);
// The allocation whose pages hold `address`, or null. Bytes past its end may be meant.
Allocation* find_allocation(uint64_t address);
const std::vector<Allocation*>& live_allocations();
// In the arena of device memory, allocated or not.
bool is_device_address(uint64_t address);
void mark_initialised(uint64_t address, size_t bytes);
// As if nobody had written there.
void poison(uint64_t address, size_t bytes);
// As the bytes of `from` are.
void copy_initialised(uint64_t to, uint64_t from, size_t bytes);
bool is_initialised(uint64_t address, size_t bytes);
void assume_all_initialised();
// A sentence if somebody wrote past the end of an allocation, into the rest of its last page.
std::string check_slack();

// ---- trace.cpp -----------------------------------------------------------------------------------

extern bool tracing;
enum class Access : uint8_t { read, write, atomic };
void trace_launch_begin();
void trace_block_begin();
void trace_block_end();
// What one instruction asked of memory; see EmulatorSite.
struct Site {
    const void* pc;
    bool shared, written;
    uint64_t requests, passes, ideal_passes;
};
struct Record {
    EmulatorLaunch launch;
    std::vector<EmulatorTraffic> traffic;
    std::vector<Site> sites;
};
void trace_launch_end(Record& record);
[[noreturn]] void trace_misaligned(const void* address, size_t bytes, Access access, const void* pc);
// Checks and counts an access of the current fiber.
void trace_access(const void* address, size_t bytes, Access access, const void* pc);
// An asynchronous copy to shared memory is under way, and done.
void trace_copy_begin(const void* shared, size_t bytes, const void* pc);
void trace_copy_end(const void* shared, size_t bytes, const void* pc);
// A row of a box is read, and a box of this size is there; both by no thread. A product reads 16 bytes of an operand.
void trace_box_read(const void* global, size_t bytes, const void* pc);
void trace_box_end(size_t offset, size_t bytes);
void trace_operand(size_t offset, size_t bytes, const void* pc);
// An atomic on global memory by a thread that had fenced: what its block has written is there for blocks
// that do an atomic later; and that atomic.
void trace_release();
void trace_acquire();

// ---- module.cpp ----------------------------------------------------------------------------------

// "file:line" of the instruction before each `pc` in a kernel's source, and of the calls that are inlined
// around it; empty if unknown.
std::vector<std::string> source_lines(const std::vector<const void*>& pcs);
// The same of one, in parentheses after a space, for messages.
std::string source_line(const void* pc);

}  // namespace emulator
