// Blocks: runs a launch block by block, the threads of a block as fibers that take turns where they
// wait. Barriers, shared memory, and the order of turns are here; what lanes do together is in warp.cpp.
#include "runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

extern "C" {
uint3 emulator_thread_index, emulator_block_index;
dim3 emulator_block_size, emulator_grid_size;
}

namespace emulator {

Block block;
Fiber* current = nullptr;
EmulatorOptions options{EMULATOR_ORDER_ASCENDING, 0, 1, 0};

namespace {

// Between arrays in shared memory, so that an index past the end of one is in none. Keeps the banks.
constexpr size_t shared_gap = 128;

void* main_stack_pointer;
const LaunchArguments* running;
Outcome outcome;

// Threads at the barrier, and their votes.
unsigned waiting;
int vote_all, vote_any, votes;
int last_vote[3];

// ---- whose turn it is ----------------------------------------------------------------------------

struct Random {
    uint64_t state;
    uint32_t below(uint32_t bound) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return static_cast<uint32_t>((state >> 32) % bound);
    }
} random_order;

template <class T>
void shuffle_all(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; i--)
        std::swap(items[i - 1], items[random_order.below(static_cast<uint32_t>(i))]);
}

// The order in which threads become ready when all do at once.
std::vector<uint32_t> thread_order;

// The threads that can run. A ring in arrival order; by warps for the order of warp priorities.
struct ReadyQueue {
    std::vector<uint32_t> ring;
    size_t head, count;
    std::vector<std::vector<uint32_t>> by_warp;
    std::vector<uint32_t> priority;

    void reset(size_t threads, size_t warps) {
        ring.assign(threads, 0);
        head = count = 0;
        by_warp.assign(warps, {});
        priority.resize(warps);
        std::iota(priority.begin(), priority.end(), 0u);
    }
    void push(uint32_t thread) {
        if (options.order == EMULATOR_ORDER_WARP_PRIORITY) {
            by_warp[thread / warp_lanes].push_back(thread);
        } else {
            size_t end = head + count;
            ring[end >= ring.size() ? end - ring.size() : end] = thread;
        }
        count++;
    }
    uint32_t pop() {
        count--;
        if (options.order == EMULATOR_ORDER_WARP_PRIORITY) {
            for (uint32_t warp : priority) {
                std::vector<uint32_t>& lanes = by_warp[warp];
                if (lanes.empty()) continue;
                std::swap(lanes[random_order.below(static_cast<uint32_t>(lanes.size()))], lanes.back());
                uint32_t thread = lanes.back();
                lanes.pop_back();
                return thread;
            }
        }
        if (options.order == EMULATOR_ORDER_SHUFFLED) {
            size_t chosen = (head + random_order.below(static_cast<uint32_t>(count + 1))) % ring.size();
            std::swap(ring[head], ring[chosen]);
        }
        uint32_t thread = ring[head];
        if (++head == ring.size()) head = 0;
        return thread;
    }
} ready;

// Whether a thread can run. If none can, copies land until one can.
bool somebody_can_run() {
    while (ready.count == 0 && land_copy()) {
    }
    return ready.count != 0;
}

// ---- the life of a thread ------------------------------------------------------------------------

void give_turn(Fiber* fiber) {
    current = fiber;
    emulator_thread_index = fiber->index;
}

// Stacks that no thread uses. A thread takes one when it begins; a kernel without barriers needs one.
std::vector<unsigned> idle_stacks;

void finish_thread() {
    Fiber* fiber = current;
    fiber->state = State::done;
    fiber->warp->live &= ~(1u << fiber->lane);
    block.alive--;
    if (waiting != 0 && waiting == block.alive) {
        fail_launch(launch_failed, "the thread ended while the other %u wait at __syncthreads()", waiting);
        abandon();
    }
    if (!fiber->products.empty()) {
        fail_launch(launch_failed, "the thread ended before its warpgroup's products were waited for");
        abandon();
    }
}

// What a stack starts in: a thread, and after it any other that has not begun.
void thread_main() {
    for (;;) {
        running->kernel->call(running->kernel->function, running->arguments);
        finish_thread();
        Fiber* from = current;
        if (!somebody_can_run()) abandon();
        Fiber* to = &block.fibers[ready.pop()];
        give_turn(to);
        if (to->started) {
            idle_stacks.push_back(from->stack);
            emulator_switch(&from->stack_pointer, to->stack_pointer);
            abort();
        }
        to->started = true;
        to->stack = from->stack;
    }
}

// Leaves the running context, saved in `*save`, for a thread.
void switch_to(void** save, Fiber* to) {
    give_turn(to);
    if (!to->started) {
        to->started = true;
        to->stack = idle_stacks.back();
        idle_stacks.pop_back();
        to->stack_pointer = prepare_stack(stack_top(to->stack), thread_main);
    }
    emulator_switch(save, to->stack_pointer);
}

void release_barrier() {
    if (block.alive != block.fibers.size()) {
        fail_launch(launch_failed, "__syncthreads() was reached by %u threads; %zu had ended before", block.alive,
                    block.fibers.size() - block.alive);
        abandon();
    }
    last_vote[vote_and] = vote_all;
    last_vote[vote_or] = vote_any;
    last_vote[vote_count] = votes;
    waiting = 0;
    vote_all = 1;
    vote_any = votes = 0;
    block.epoch++;
    block.launch->barriers++;
    if (options.order == EMULATOR_ORDER_WARP_PRIORITY) shuffle_all(ready.priority);
    for (uint32_t thread : thread_order)
        if (block.fibers[thread].state == State::barrier) wake(&block.fibers[thread]);
}

void describe_deadlock() {
    unsigned at_barrier = 0, in_warp = 0, in_warpgroup = 0, at_phase = 0;
    Fiber* lane = nullptr;
    std::string phase;
    for (Fiber& fiber : block.fibers) {
        at_barrier += fiber.state == State::barrier;
        in_warpgroup += fiber.state == State::warpgroup;
        if (fiber.state == State::collective) {
            in_warp++;
            if (!lane) lane = &fiber;
        }
        if (fiber.state == State::phase && at_phase++ == 0) phase = "; " + describe_barrier(fiber.place);
    }
    current = lane;
    fail_launch(launch_failed,
                "deadlock: %u of %zu threads wait at __syncthreads(), %u for other lanes of their warp, %u for their "
                "warpgroup, %u at barriers in shared memory, %zu have ended%s",
                at_barrier, block.fibers.size(), in_warp, in_warpgroup, at_phase, block.fibers.size() - block.alive,
                phase.c_str());
}

void begin_block(dim3 size, unsigned dynamic_shared) {
    unsigned threads = static_cast<unsigned>(block.fibers.size());
    block.alive = threads;
    block.number++;
    block.first_epoch = ++block.epoch;
    block.dynamic_shared = dynamic_shared;
    block.static_shared = 0;
    block.shared_end = shared_base + (dynamic_shared + 127) / 128 * 128 + shared_gap;
    block.arrays.clear();
    begin_copies();
    waiting = 0;
    vote_all = 1;
    vote_any = votes = 0;
    // Not a number in any type: who reads what nobody wrote sees it.
    memset(block.shared, 0xff, std::min(shared_bytes, block.shared_end + 48 * 1024 + 16 * shared_gap));
    ready.reset(threads, block.warps.size());
    for (unsigned i = 0; i < block.warps.size(); i++) {
        Warp& warp = block.warps[i];
        warp.index = i;
        warp.clock = 0;
        unsigned lanes = std::min(threads - i * warp_lanes, warp_lanes);
        warp.live = lanes == warp_lanes ? ~0u : (1u << lanes) - 1u;
        for (Meeting& meeting : warp.meetings) meeting.arrived = 0;
    }
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = block.fibers[i];
        fiber.index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
        fiber.lane = i % warp_lanes;
        fiber.linear = i;
        fiber.state = State::ready;
        fiber.fenced = false;
        fiber.warp = &block.warps[i / warp_lanes];
        fiber.copies.clear();
        fiber.groups.clear();
        fiber.products.clear();
        fiber.product_groups.clear();
        fiber.products_fenced = false;
        fiber.proxy_fence = 0;
        fiber.started = false;
    }
    idle_stacks.resize(threads);
    for (unsigned i = 0; i < threads; i++) idle_stacks[i] = threads - 1 - i;
    if (options.order == EMULATOR_ORDER_WARP_PRIORITY) shuffle_all(ready.priority);
    for (uint32_t thread : thread_order) ready.push(thread);
}

}  // namespace

void wake(Fiber* fiber) {
    fiber->state = State::ready;
    ready.push(fiber->linear);
}

void wake_at(unsigned place) {
    if (options.order == EMULATOR_ORDER_WARP_PRIORITY) shuffle_all(ready.priority);
    for (uint32_t thread : thread_order) {
        Fiber& fiber = block.fibers[thread];
        if (fiber.state == State::phase && fiber.place == place) wake(&fiber);
    }
}

uint32_t random_below(uint32_t bound) { return random_order.below(bound); }

void wait() {
    Fiber* from = current;
    if (!somebody_can_run()) {
        // Nobody can run: the block has ended, or never will.
        emulator_switch(&from->stack_pointer, main_stack_pointer);
        abort();
    }
    Fiber* to = &block.fibers[ready.pop()];
    if (to != from) switch_to(&from->stack_pointer, to);
}

void abandon() {
    void* nowhere;
    emulator_switch(&nowhere, main_stack_pointer);
    abort();
}

void fail_launch(Failure failure, const char* format, ...) {
    if (block.failed) return;
    block.failed = true;
    char what[512], where[256];
    va_list values;
    va_start(values, format);
    vsnprintf(what, sizeof what, format, values);
    va_end(values);
    const Fiber* fiber = current;
    if (fiber)
        snprintf(where, sizeof where, "%s, block (%u, %u, %u), thread (%u, %u, %u): ", running->kernel->name,
                 emulator_block_index.x, emulator_block_index.y, emulator_block_index.z, fiber->index.x, fiber->index.y,
                 fiber->index.z);
    else
        snprintf(where, sizeof where, "%s, block (%u, %u, %u): ", running->kernel->name, emulator_block_index.x,
                 emulator_block_index.y, emulator_block_index.z);
    outcome = {failure, std::string(where) + what};
}

Outcome run_launch(const LaunchArguments& arguments, Record& record) {
    EmulatorLaunch& launch = record.launch;
    install_fault_handler();
    running = &arguments;
    outcome = {0, {}};
    block.failed = false;
    block.launch = &launch;
    dim3 grid = arguments.grid, size = arguments.block;
    emulator_grid_size = grid;
    emulator_block_size = size;
    unsigned threads = size.x * size.y * size.z;
    reserve_stacks(threads);
    if (!block.shared) block.shared = static_cast<unsigned char*>(aligned_alloc(1024, shared_bytes + 1024));
    block.fibers.resize(threads);
    block.warps.resize((threads + warp_lanes - 1) / warp_lanes);
    random_order.state = options.seed * 0x9E3779B97F4A7C15u | 1u;
    thread_order.resize(threads);
    std::iota(thread_order.begin(), thread_order.end(), 0u);
    uint64_t count = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
    std::vector<uint32_t> block_order(count);
    std::iota(block_order.begin(), block_order.end(), 0u);
    if (options.order == EMULATOR_ORDER_DESCENDING) {
        std::reverse(thread_order.begin(), thread_order.end());
        std::reverse(block_order.begin(), block_order.end());
    } else if (options.order != EMULATOR_ORDER_ASCENDING) {
        shuffle_all(block_order);
    }
    block.number = 0;
    tracing = options.trace != 0;
    if (tracing)
        trace_launch_begin();
    else
        assume_all_initialised();
    enter_kernel();
    for (uint32_t linear : block_order) {
        emulator_block_index = {linear % grid.x, linear / grid.x % grid.y, linear / grid.x / grid.y};
        begin_block(size, arguments.dynamic_shared);
        if (tracing) trace_block_begin();
        switch_to(&main_stack_pointer, &block.fibers[ready.pop()]);
        if (!block.failed && block.alive != 0) describe_deadlock();
        current = nullptr;
        if (!block.failed && copies_under_way() != 0)
            fail_launch(launch_failed, "the block ended with %zu copies of boxes under way", copies_under_way());
        if (block.failed) break;
        if (tracing) trace_block_end();
    }
    leave_kernel();
    current = nullptr;
    launch.static_shared = static_cast<uint32_t>(block.static_shared);
    if (tracing) trace_launch_end(record);
    tracing = false;
    if (outcome.result == 0) {
        std::string slack = check_slack();
        if (!slack.empty()) outcome = {illegal_address, std::string(arguments.kernel->name) + ": " + slack};
    }
    launch.failed = outcome.result != 0;
    return outcome;
}

}  // namespace emulator

using namespace emulator;

EMULATOR_API void emulator_sync_threads() {
    current->state = State::barrier;
    if (++waiting == block.alive) release_barrier();
    wait();
}

EMULATOR_API int emulator_sync_threads_vote(int predicate, Vote vote) {
    vote_all &= predicate != 0;
    vote_any |= predicate != 0;
    votes += predicate != 0;
    emulator_sync_threads();
    return last_vote[vote];
}

EMULATOR_API void* emulator_shared_static(const void* key, const char* name, size_t bytes, size_t alignment) {
    for (const SharedArray& array : block.arrays)
        if (array.key == key) return block.shared + array.offset;
    size_t offset = block.shared_end;
    block.static_shared = (block.static_shared + alignment - 1) / alignment * alignment + bytes;
    if (block.static_shared + block.dynamic_shared > running->shared_limit || offset + bytes > shared_bytes) {
        fail_launch(launch_failed, "shared memory of %zu bytes static and %zu dynamic, of which there are %zu",
                    block.static_shared, block.dynamic_shared, running->shared_limit);
        abandon();
    }
    block.shared_end = (offset + bytes + 127) / 128 * 128 + shared_gap;
    block.arrays.push_back({key, name, offset, bytes});
    return block.shared + offset;
}

EMULATOR_API void* emulator_shared_dynamic(size_t) { return block.shared + shared_base; }

EMULATOR_API unsigned emulator_shared_address(const void* pointer) {
    size_t offset = static_cast<size_t>(static_cast<const unsigned char*>(pointer) - block.shared);
    if (offset >= shared_bytes) {
        fail_launch(launch_failed, "a pointer that is not into shared memory was used as one");
        abandon();
    }
    return static_cast<unsigned>(offset);
}

EMULATOR_API void emulator_fence() { current->fenced = true; }

EMULATOR_API void emulator_trap(const char* why) {
    fail_launch(launch_failed, "%s", why);
    abandon();
}
