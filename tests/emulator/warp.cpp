// What the lanes of a warp do together: shuffles, votes, matrices; and asynchronous copies and atomics.
// A collective is a meeting: each lane leaves a pointer to its operands and waits; the last to come
// computes for all.
#include <cstring>

#include "elements.h"
#include "runtime.h"

using namespace emulator;

namespace {

enum Kind { kind_sync, kind_shuffle, kind_ballot, kind_match, kind_reduce, kind_load_matrix, kind_mma };

template <class Function>
void each_lane(unsigned mask, Function function) {
    for (; mask != 0; mask &= mask - 1) function(static_cast<unsigned>(__builtin_ctz(mask)));
}

// `together(slots, mask)` runs once, when all lanes of `mask` are here.
template <class Together>
void meet(unsigned mask, Kind kind, void* slot, Together together) {
    Fiber* fiber = current;
    Warp& warp = *fiber->warp;
    unsigned self = 1u << fiber->lane;
    unsigned threads = static_cast<unsigned>(block.fibers.size()) - warp.index * warp_lanes;
    if (threads < warp_lanes) mask &= (1u << threads) - 1u;
    if (!(mask & self)) {
        fail_launch(launch_failed, "a lane takes part in a warp operation whose mask 0x%08x does not name it", mask);
        abandon();
    }
    if (mask & ~warp.live) {
        fail_launch(launch_failed, "the mask 0x%08x of a warp operation names lanes that have ended", mask);
        abandon();
    }
    Meeting& meeting = warp.meetings[__builtin_ctz(mask)];
    if (meeting.arrived == 0) {
        meeting.mask = mask;
        meeting.kind = kind;
    } else if (meeting.mask != mask || meeting.kind != kind) {
        fail_launch(launch_failed, "lanes of a warp meet in different warp operations, or with different masks");
        abandon();
    }
    meeting.slots[fiber->lane] = slot;
    meeting.arrived |= self;
    if (meeting.arrived != mask) {
        fiber->state = State::collective;
        wait();
        return;
    }
    meeting.arrived = 0;
    together(meeting.slots, mask);
    Fiber* lane_0 = fiber - fiber->lane;
    each_lane(mask & ~self, [&](unsigned lane) { wake(lane_0 + lane); });
}

void whole_warp(const char* what) {
    if (block.fibers.size() - current->warp->index * warp_lanes < warp_lanes) {
        fail_launch(launch_failed, "%s needs a warp of 32 threads", what);
        abandon();
    }
}

// Two elements of a fragment's register, the lower address in the lower half.
void unpack(float* low, float* high, unsigned bits, Element element) {
    uint16_t first = static_cast<uint16_t>(bits), second = static_cast<uint16_t>(bits >> 16);
    *low = element_to_float(first, element);
    *high = element_to_float(second, element);
}

struct Mma {
    float* d;
    const unsigned *a, *b;
    int k;
    Element element;
};

// The fragments of mma.m16n8k8 and .m16n8k16 (PTX ISA, "Matrix fragments for mma"). With group = lane / 4
// and thread = lane % 4: register r of a holds row group + 8·(r % 2), columns 2·thread + 8·(r / 2) and
// the next; register r of b rows 2·thread + 8·r and the next, column group; d[r] row group + 8·(r / 2),
// column 2·thread + r % 2.
void multiply(void** slots) {
    typedef float Row __attribute__((vector_size(32)));
    float a[16][16];
    Row b[16], d[16];
    int k = static_cast<Mma*>(slots[0])->k;
    for (unsigned lane = 0; lane < warp_lanes; lane++) {
        const Mma& mma = *static_cast<Mma*>(slots[lane]);
        unsigned group = lane / 4, thread = lane % 4;
        for (int r = 0; r < k / 4; r++) {
            float* row = &a[group + 8 * (r % 2)][2 * thread + 8 * (r / 2)];
            unpack(row, row + 1, mma.a[r], mma.element);
        }
        for (int r = 0; r < k / 8; r++)
            unpack(reinterpret_cast<float*>(&b[2 * thread + 8 * r]) + group,
                   reinterpret_cast<float*>(&b[2 * thread + 8 * r + 1]) + group, mma.b[r], mma.element);
        for (int r = 0; r < 4; r++) d[group + 8 * (r / 2)][2 * thread + r % 2] = mma.d[r];
    }
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < k; j++) d[i] += a[i][j] * b[j];
    for (unsigned lane = 0; lane < warp_lanes; lane++) {
        const Mma& mma = *static_cast<Mma*>(slots[lane]);
        unsigned group = lane / 4, thread = lane % 4;
        for (int r = 0; r < 4; r++) mma.d[r] = d[group + 8 * (r / 2)][2 * thread + r % 2];
    }
}

// The copy is done: its bytes are there.
void land(const CopyAsync& copy) {
    if (copy.valid)
        memcpy(copy.shared, copy.global, copy.bytes);
    else
        memset(copy.shared, 0, copy.bytes);
    if (tracing) trace_copy_end(copy.shared, copy.bytes, copy.pc);
}

void land_first(Fiber* fiber, size_t count) {
    for (size_t i = 0; i < count; i++) land(fiber->copies[i]);
    fiber->copies.erase(fiber->copies.begin(), fiber->copies.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace

EMULATOR_API void emulator_sync_warp(unsigned mask) {
    meet(mask, kind_sync, nullptr, [](void**, unsigned) { current->warp->clock++; });
}

EMULATOR_API unsigned long long emulator_shuffle(unsigned mask, unsigned long long value, int lane, Shuffle kind,
                                                 int width) {
    struct Operands {
        unsigned long long value;
        int lane;
        Shuffle kind;
        int width;
        unsigned long long result;
    } operands{value, lane, kind, width, 0};
    meet(mask, kind_shuffle, &operands, [](void** slots, unsigned present) {
        each_lane(present, [&](unsigned lane) {
            Operands& own = *static_cast<Operands*>(slots[lane]);
            int self = static_cast<int>(lane), first = self & ~(own.width - 1), last = first + own.width - 1;
            int source = self;
            if (own.kind == shuffle_index) source = first + (own.lane & (own.width - 1));
            if (own.kind == shuffle_up && self - own.lane >= first) source = self - own.lane;
            if (own.kind == shuffle_down && self + own.lane <= last) source = self + own.lane;
            if (own.kind == shuffle_xor && (self ^ own.lane) <= last) source = self ^ own.lane;
            // What a lane that takes no part gives is undefined: a NaN.
            own.result = present >> source & 1u ? static_cast<Operands*>(slots[source])->value : ~0ull;
        });
    });
    return operands.result;
}

EMULATOR_API unsigned emulator_ballot(unsigned mask, int predicate) {
    struct Operands {
        int predicate;
        unsigned result;
    } operands{predicate, 0};
    meet(mask, kind_ballot, &operands, [](void** slots, unsigned present) {
        unsigned result = 0;
        each_lane(present, [&](unsigned lane) {
            if (static_cast<Operands*>(slots[lane])->predicate) result |= 1u << lane;
        });
        each_lane(present, [&](unsigned lane) { static_cast<Operands*>(slots[lane])->result = result; });
    });
    return operands.result;
}

EMULATOR_API unsigned emulator_match_any(unsigned mask, unsigned long long value) {
    struct Operands {
        unsigned long long value;
        unsigned result;
    } operands{value, 0};
    meet(mask, kind_match, &operands, [](void** slots, unsigned present) {
        each_lane(present, [&](unsigned lane) {
            Operands& own = *static_cast<Operands*>(slots[lane]);
            each_lane(present, [&](unsigned other) {
                if (static_cast<Operands*>(slots[other])->value == own.value) own.result |= 1u << other;
            });
        });
    });
    return operands.result;
}

EMULATOR_API unsigned emulator_reduce(unsigned mask, unsigned value, Reduce kind, int is_signed) {
    struct Operands {
        unsigned value;
        Reduce kind;
        int is_signed;
        unsigned result;
    } operands{value, kind, is_signed, 0};
    meet(mask, kind_reduce, &operands, [](void** slots, unsigned present) {
        const Operands& first = *static_cast<Operands*>(slots[__builtin_ctz(present)]);
        unsigned result = first.value;
        each_lane(present & (present - 1), [&](unsigned lane) {
            unsigned next = static_cast<Operands*>(slots[lane])->value;
            bool less = first.is_signed ? static_cast<int>(next) < static_cast<int>(result) : next < result;
            switch (first.kind) {
                case reduce_add: result += next; break;
                case reduce_min: result = less ? next : result; break;
                case reduce_max: result = less ? result : next; break;
                case reduce_and: result &= next; break;
                case reduce_or: result |= next; break;
                case reduce_xor: result ^= next; break;
            }
        });
        each_lane(present, [&](unsigned lane) { static_cast<Operands*>(slots[lane])->result = result; });
    });
    return operands.result;
}

EMULATOR_API unsigned emulator_active_mask() { return current->warp->live; }

EMULATOR_API void emulator_load_matrix_x4(unsigned* registers, const void* row, int transposed) {
    whole_warp("ldmatrix");
    unsigned address = emulator_shared_address(row);
    if (address % 16 != 0) {
        fail_launch(misaligned_address, "ldmatrix reads a row at shared address %u, which is not a multiple of 16",
                    address);
        abandon();
    }
    if (tracing) trace_access(row, 16, Access::read, __builtin_return_address(0));
    struct Operands {
        unsigned* registers;
        const void* row;
        int transposed;
    } operands{registers, row, transposed};
    meet(~0u, kind_load_matrix, &operands, [](void** slots, unsigned) {
        for (unsigned matrix = 0; matrix < 4; matrix++) {
            uint16_t element[8][8];
            for (unsigned row = 0; row < 8; row++)
                memcpy(element[row], static_cast<Operands*>(slots[8 * matrix + row])->row, 16);
            for (unsigned lane = 0; lane < warp_lanes; lane++) {
                const Operands& own = *static_cast<Operands*>(slots[lane]);
                unsigned row = lane / 4, column = 2 * (lane % 4);
                uint16_t low = own.transposed ? element[column][row] : element[row][column];
                uint16_t high = own.transposed ? element[column + 1][row] : element[row][column + 1];
                own.registers[matrix] = static_cast<unsigned>(high) << 16 | low;
            }
        }
    });
}

EMULATOR_API void emulator_mma_m16n8(float* d, const unsigned* a, const unsigned* b, int k, Element element) {
    whole_warp("mma");
    Mma mma{d, a, b, k, element};
    meet(~0u, kind_mma, &mma, [](void** slots, unsigned) { multiply(slots); });
}

// ---- asynchronous copies, as late as the kernel allows -------------------------------------------

EMULATOR_API void emulator_copy_async(void* shared, const void* global, unsigned bytes, int valid) {
    Fiber* fiber = current;
    unsigned to = emulator_shared_address(shared);
    uintptr_t from = reinterpret_cast<uintptr_t>(global);
    if (to % bytes != 0 || from % bytes != 0) {
        fail_launch(misaligned_address,
                    "an asynchronous copy of %u bytes between misaligned addresses (shared %u, global ...%03x)", bytes,
                    to, static_cast<unsigned>(from & 0xfff));
        abandon();
    }
    const void* pc = __builtin_return_address(0);
    if (tracing && valid) trace_access(global, bytes, Access::read, pc);
    if (tracing) trace_copy_begin(shared, bytes, pc);
    fiber->copies.push_back({shared, global, bytes, valid != 0, pc});
}

EMULATOR_API void emulator_copy_async_commit() { current->groups.push_back(current->copies.size()); }

EMULATOR_API void emulator_copy_async_wait(int pending) {
    Fiber* fiber = current;
    if (fiber->groups.size() <= static_cast<size_t>(pending)) return;
    size_t closed = fiber->groups.size() - static_cast<size_t>(pending), count = fiber->groups[closed - 1];
    land_first(fiber, count);
    fiber->groups.erase(fiber->groups.begin(), fiber->groups.begin() + static_cast<std::ptrdiff_t>(closed));
    for (size_t& group : fiber->groups) group -= count;
}

EMULATOR_API void emulator_atomic(void* address, unsigned bytes, int is_float) {
    block.launch->atomics++;
    block.launch->float_atomics += is_float != 0;
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
        fail_launch(misaligned_address, "an atomic on %u bytes at a misaligned address", bytes);
        abandon();
    }
    if (!tracing) return;
    trace_access(address, bytes, Access::atomic, __builtin_return_address(0));
    if (!is_device_address(reinterpret_cast<uint64_t>(address))) return;
    if (current->fenced) trace_release();
    trace_acquire();
}
