// Tensor maps, barriers in shared memory that count bytes, and the copies of boxes that such barriers wait for. A copy
// lands as late as it can: when no thread can go on without it, and then in an order that the schedule decides.
#include <algorithm>
#include <cstring>
#include <map>

#include "driver.h"
#include "tensor_map.h"

namespace emulator {

namespace {

// PTX ISA, "Contents of the mbarrier object".
struct PhaseBarrier {
    unsigned arrivals, pending;
    // Bytes that the phase still waits for.
    int64_t bytes;
    unsigned phase;
    // The thread that made it, and whether that has shown it to copies since.
    unsigned made_by;
    bool shown;
};
// By place in shared memory.
std::map<unsigned, PhaseBarrier> barriers;

struct BoxCopy {
    size_t to;
    TensorMapBits map;
    int at[most_axes];
    unsigned barrier;
    const void* pc;

    size_t bytes() const { return map.rows() * map.row_bytes(); }
};
// Not yet landed, oldest first.
std::vector<BoxCopy> copies;

PhaseBarrier& barrier_at(const void* barrier, unsigned* place, const void* pc) {
    *place = emulator_shared_address(barrier);
    if (*place % 8 != 0) {
        fail_launch(misaligned_address, "a barrier at shared address %u, which is not a multiple of 8", *place);
        abandon();
    }
    auto found = barriers.find(*place);
    if (found == barriers.end()) {
        fail_launch(launch_failed, "a barrier is used that no barrier_init has made%s", source_line(pc).c_str());
        abandon();
    }
    if (tracing) trace_access(barrier, 8, Access::atomic, pc);
    return found->second;
}

// Begins the next phase where this one is over.
void advance(unsigned place, PhaseBarrier& barrier) {
    if (barrier.pending == 0 && barrier.bytes < 0) {
        fail_launch(launch_failed, "%lld bytes more than it expects have come to the barrier at shared address %u",
                    static_cast<long long>(-barrier.bytes), place);
        abandon();
    }
    if (barrier.pending != 0 || barrier.bytes != 0) return;
    barrier.phase++;
    barrier.pending = barrier.arrivals;
    wake_at(place);
}

// Calls `row(coordinates, bytes of shared memory before it)` for each row of the box, the innermost axis left out.
template <class Row>
void each_row(const TensorMapBits& map, const int* at, Row row) {
    int64_t place[most_axes];
    for (size_t index = 0; index < map.rows(); index++) {
        size_t rest = index;
        for (unsigned axis = 1; axis < map.rank; axis++) {
            place[axis] = at[axis] + static_cast<int64_t>(rest % map.count(axis)) * map.steps[axis];
            rest /= map.count(axis);
        }
        row(place, index * map.row_bytes());
    }
}

// The part of a row that lies in the tensor: its address, and its bytes from `first` to `end` within the row; none
// where they are equal.
struct Inside {
    const char* address;
    size_t first, end;
};
Inside inside(const TensorMapBits& map, const int* at, const int64_t* place) {
    uint64_t address = map.address;
    for (unsigned axis = 1; axis < map.rank; axis++) {
        if (place[axis] < 0 || place[axis] >= static_cast<int64_t>(map.sizes[axis])) return {nullptr, 0, 0};
        address += static_cast<uint64_t>(place[axis]) * map.strides[axis];
    }
    int64_t first = std::max<int64_t>(at[0], 0);
    int64_t end = std::min<int64_t>(int64_t{at[0]} + map.box[0], static_cast<int64_t>(map.sizes[0]));
    if (first >= end) return {nullptr, 0, 0};
    const char* from = reinterpret_cast<const char*>(address) + first * map.element_bytes;
    return {from, static_cast<size_t>(first - at[0]) * map.element_bytes,
            static_cast<size_t>(end - at[0]) * map.element_bytes};
}

void land(const BoxCopy& copy) {
    const TensorMapBits& map = copy.map;
    std::vector<char> row(map.row_bytes());
    each_row(map, copy.at, [&](const int64_t* place, size_t before) {
        Inside part = inside(map, copy.at, place);
        std::fill(row.begin(), row.end(), 0);
        if (part.end > part.first) memcpy(&row[part.first], part.address, part.end - part.first);
        for (size_t chunk = 0; chunk < row.size(); chunk += 16)
            memcpy(block.shared + swizzled(copy.to + before + chunk, map.swizzle), &row[chunk], 16);
    });
    if (tracing) trace_box_end(copy.to, copy.bytes());
    PhaseBarrier& barrier = barriers[copy.barrier];
    barrier.bytes -= static_cast<int64_t>(copy.bytes());
    advance(copy.barrier, barrier);
}

}  // namespace

void begin_copies() {
    barriers.clear();
    copies.clear();
}

bool land_copy() {
    if (copies.empty()) return false;
    size_t index = 0;
    if (options.order == EMULATOR_ORDER_DESCENDING) index = copies.size() - 1;
    if (options.order >= EMULATOR_ORDER_WARP_PRIORITY) index = random_below(static_cast<uint32_t>(copies.size()));
    BoxCopy copy = copies[index];
    copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(index));
    land(copy);
    return true;
}

size_t copies_under_way() { return copies.size(); }

bool is_copied_to(size_t offset, size_t bytes) {
    for (const BoxCopy& copy : copies)
        if (offset < copy.to + copy.bytes() && copy.to < offset + bytes) return true;
    return false;
}

std::string describe_barrier(unsigned place) {
    const PhaseBarrier& barrier = barriers[place];
    char text[128];
    snprintf(text, sizeof text, "phase %u of the barrier at shared address %u lacks %u arrivals and %lld bytes",
             barrier.phase, place, barrier.pending, static_cast<long long>(barrier.bytes));
    return text;
}

}  // namespace emulator

using namespace emulator;

EMULATOR_API void emulator_barrier_init(void* barrier, unsigned arrivals) {
    const void* pc = __builtin_return_address(0);
    unsigned place = emulator_shared_address(barrier);
    if (tracing) trace_access(barrier, 8, Access::write, pc);
    if (arrivals == 0 || arrivals >= 1u << 20) {
        fail_launch(launch_failed, "a barrier for %u arrivals%s", arrivals, source_line(pc).c_str());
        abandon();
    }
    barriers[place] = {arrivals, arrivals, 0, 0, current->linear, false};
}

EMULATOR_API void emulator_barrier_init_fence() {
    for (auto& [place, barrier] : barriers) barrier.shown |= barrier.made_by == current->linear;
}

EMULATOR_API void emulator_barrier_arrive(void* at, unsigned bytes) {
    const void* pc = __builtin_return_address(0);
    unsigned place;
    PhaseBarrier& barrier = barrier_at(at, &place, pc);
    if (barrier.pending == 0) {
        fail_launch(launch_failed, "more arrivals at a barrier than the %u it was made for%s", barrier.arrivals,
                    source_line(pc).c_str());
        abandon();
    }
    barrier.pending--;
    barrier.bytes += bytes;
    advance(place, barrier);
}

EMULATOR_API void emulator_barrier_wait(void* at, unsigned parity) {
    unsigned place;
    PhaseBarrier& barrier = barrier_at(at, &place, __builtin_return_address(0));
    // The phase before the current one has the other parity, and is over.
    if ((barrier.phase & 1u) != (parity & 1u)) return;
    current->state = State::phase;
    current->place = place;
    wait();
}

EMULATOR_API void emulator_proxy_fence() { current->proxy_fence = block.epoch; }

EMULATOR_API void emulator_tma_load(void* shared, const void* map, const int* at, int rank, void* barrier) {
    const void* pc = __builtin_return_address(0);
    auto refuse_copy = [&](const char* why) {
        fail_launch(launch_failed, "a copy of a box %s%s", why, source_line(pc).c_str());
        abandon();
    };
    BoxCopy copy{};
    memcpy(&copy.map, map, sizeof copy.map);
    if (copy.map.magic != tensor_map_magic) refuse_copy("by a tensor map that the driver did not encode");
    if (copy.map.rank != rank) refuse_copy("with coordinates of another rank than its tensor map");
    if (reinterpret_cast<uintptr_t>(map) % 64 != 0) refuse_copy("by a tensor map that is not aligned to 64 bytes");
    copy.to = emulator_shared_address(shared);
    if (copy.to % 128 != 0) refuse_copy("to shared memory that is not aligned to 128 bytes");
    std::copy(at, at + rank, copy.at);
    copy.pc = pc;
    if (!barrier_at(barrier, &copy.barrier, pc).shown) {
        refuse_copy("for a barrier that barrier_init_fence has not shown to copies");
    }
    if (is_copied_to(copy.to, copy.bytes())) refuse_copy("to where another one is under way");
    if (is_multiplied(copy.to, copy.bytes())) {
        refuse_copy("to what a product of a warpgroup reads that is not waited for: the stage was released too early");
    }
    if (tracing) {
        trace_copy_begin(shared, copy.bytes(), pc);
        each_row(copy.map, at, [&](const int64_t* place, size_t) {
            Inside part = inside(copy.map, at, place);
            if (part.end > part.first) trace_box_read(part.address, part.end - part.first, pc);
        });
    }
    copies.push_back(copy);
}

// ---- the driver's part: requirements as its documentation has them --------------------------------

DRIVER_API int cuTensorMapEncodeTiled(void* map, int type, uint32_t rank, void* address, const uint64_t* sizes,
                                      const uint64_t* strides, const uint32_t* box, const uint32_t* steps,
                                      int interleave, int swizzle, int, int fill) {
    ENTER(driver);
    auto invalid = [](const char* why) { return refuse(CUDA_ERROR_INVALID_VALUE, "a tensor map: %s", why); };
    // By CUtensorMapDataType: u8, u16, u32, i32, u64, i64, f16, f32, f64, bf16.
    const uint8_t element_bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
    const uint8_t spans[] = {0, 32, 64, 128};
    if (device.sm < 90) return CUDA_ERROR_NOT_SUPPORTED;
    if (reinterpret_cast<uintptr_t>(map) % 64 != 0) return invalid("it must be aligned to 64 bytes");
    if (type < 0 || type >= static_cast<int>(sizeof element_bytes)) return invalid("an element type");
    if (rank == 0 || rank > most_axes) return invalid("its rank must be 1 to 5");
    if (interleave != 0 || fill != 0 || swizzle < 0 || swizzle > 3) return CUDA_ERROR_NOT_SUPPORTED;
    if (reinterpret_cast<uintptr_t>(address) % 16 != 0) return invalid("the address must be a multiple of 16");
    TensorMapBits bits{};
    bits.magic = tensor_map_magic;
    bits.rank = static_cast<uint8_t>(rank);
    bits.element_bytes = element_bytes[type];
    bits.swizzle = spans[swizzle];
    bits.address = reinterpret_cast<uint64_t>(address);
    for (uint32_t axis = 0; axis < rank; axis++) {
        if (sizes[axis] == 0 || sizes[axis] > uint64_t{1} << 32) return invalid("a size must be 1 to 2^32");
        if (box[axis] == 0 || box[axis] > 256) return invalid("the box must be 1 to 256 along each axis");
        if (steps[axis] == 0 || steps[axis] > 8) return invalid("a step must be 1 to 8");
        uint64_t stride = axis == 0 ? bits.element_bytes : strides[axis - 1];
        if (axis != 0 && (stride % 16 != 0 || stride >= uint64_t{1} << 40))
            return invalid("a stride must be a multiple of 16 and below 2^40");
        bits.sizes[axis] = sizes[axis];
        bits.box[axis] = static_cast<uint16_t>(box[axis]);
        // Along the innermost axis it is ignored.
        bits.steps[axis] = axis == 0 ? 1 : static_cast<uint8_t>(steps[axis]);
        bits.strides[axis] = stride;
    }
    if (bits.row_bytes() % 16 != 0) return invalid("a row of the box must be a multiple of 16 bytes");
    if (bits.swizzle != 0 && bits.row_bytes() > bits.swizzle) return invalid("a row of the box exceeds the swizzle");
    // Where rows are shorter the documents leave open how they lie.
    if (bits.swizzle != 0 && bits.row_bytes() != bits.swizzle) return CUDA_ERROR_NOT_SUPPORTED;
    memset(map, 0, tensor_map_bytes);
    memcpy(map, &bits, sizeof bits);
    return CUDA_SUCCESS;
}
