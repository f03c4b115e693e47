// The trace: sees every access of the kernels (hooks.cpp calls it) and checks it against what happened to
// the same byte before. A byte has two marks: who wrote it last and who read it last, and when. Time is
// the block's epoch, which rises at every barrier; two accesses of one epoch by different threads are
// unordered, unless a __syncwarp lies between threads of a warp. Blocks of a launch are never ordered,
// except where one has fenced and done an atomic and the other has done one since.
#include "trace.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace emulator {

bool tracing = false;

namespace {

// What the `info` of a mark holds beside the warp's clock.
enum : uint16_t {
    clock_mask = 0x0fff,
    // Write: by an atomic. Read: by several threads of the warp in this epoch.
    atomic_or_lanes = 0x1000,
    // Read by several warps in this epoch.
    several_warps = 0x2000,
    // Read by several blocks in this launch.
    several_blocks = 0x4000,
    // Write: by the copy of a box.
    by_copy = 0x8000,
};

struct Mark {
    uint32_t epoch;
    uint16_t thread;
    uint16_t info;
};
struct Cell {
    Mark write, read;
};

constexpr unsigned page_bytes = 4096, sector_bytes = 32;

// What a launch did to a page of device memory. Marks of earlier launches are older than
// `launch_epoch` and mean nothing, so pages are used again as they are.
struct Page {
    uint64_t address;
    uint64_t unique_reads, unique_writes;
    uint64_t sectors_read[2], sectors_written[2];
    Cell cells[page_bytes];
};

std::vector<std::unique_ptr<Page>> pool;
size_t pages_in_use;
// The page of each page of the arena, and the launch it belongs to; grown to the highest address.
struct Slot {
    Page* page;
    uint32_t launch;
};
std::vector<Slot> slots;
uint64_t first_page;
uint32_t launch_number;
// The last page looked up.
uint64_t cached_number = ~uint64_t{0};
Page* cached_page;

Cell shared_cells[shared_bytes];
// By word of shared memory: 1 + the thread whose asynchronous copy to it is under way.
uint16_t under_way[shared_bytes / 4];

uint32_t launch_epoch;
uint64_t read_total, write_total;
// By block number: its first epoch, and the last one whose writes a fence and an atomic published.
std::vector<uint32_t> first_epochs, published;
bool acquired;

struct Region {
    const char* what;
    // Of a byte, for messages.
    uint64_t offset;
    bool global;
};

Page& page_of(uint64_t address) {
    uint64_t number = address / page_bytes;
    if (number == cached_number) return *cached_page;
    if (slots.empty()) first_page = number;
    if (number < first_page) {
        slots.insert(slots.begin(), first_page - number, Slot{});
        first_page = number;
    }
    if (number - first_page >= slots.size()) slots.resize(number - first_page + 1);
    Slot& slot = slots[number - first_page];
    if (slot.launch != launch_number) {
        if (pages_in_use == pool.size()) pool.push_back(std::make_unique<Page>());
        slot = {pool[pages_in_use++].get(), launch_number};
        Page& page = *slot.page;
        page.address = number * page_bytes;
        page.unique_reads = page.unique_writes = 0;
        memset(page.sectors_read, 0, sizeof page.sectors_read);
        memset(page.sectors_written, 0, sizeof page.sectors_written);
    }
    cached_number = number;
    cached_page = slot.page;
    return *slot.page;
}

const char* word(Access access) {
    return access == Access::read ? "read" : access == Access::write ? "write" : "atomic";
}

// A sentence about memory, for messages.
std::string describe(const void* address) {
    char text[160];
    uint64_t number = reinterpret_cast<uint64_t>(address);
    size_t shared = static_cast<size_t>(static_cast<const unsigned char*>(address) - block.shared);
    if (shared < shared_bytes) {
        for (const SharedArray& array : block.arrays)
            if (shared - array.offset < array.bytes) {
                snprintf(text, sizeof text, "%s[] + %zu bytes", array.name, shared - array.offset);
                return text;
            }
        snprintf(text, sizeof text, "dynamic shared memory + %zu bytes", shared - shared_base);
    } else if (const Allocation* allocation = find_allocation(number)) {
        snprintf(text, sizeof text, "the allocation of %llu bytes, + %llu bytes",
                 static_cast<unsigned long long>(allocation->bytes),
                 static_cast<unsigned long long>(number - allocation->address));
    } else {
        snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(number));
    }
    return text;
}

[[noreturn]] void race(const void* address, Access access, const Mark& other, const char* other_did, const void* pc) {
    std::string where = describe(address), line = source_line(pc);
    if (other.epoch >= block.first_epoch) {
        fail_launch(launch_failed, "race on %s: %s%s, which thread %u of the block %s with no barrier between",
                    where.c_str(), word(access), line.c_str(), other.thread, other_did);
    } else {
        size_t number = static_cast<size_t>(std::upper_bound(first_epochs.begin(), first_epochs.end(), other.epoch) -
                                            first_epochs.begin());
        fail_launch(launch_failed, "race on %s: %s%s, which another block (number %zu to run) %s", where.c_str(),
                    word(access), line.c_str(), number, other_did);
    }
    abandon();
}

bool is_published(const Mark& mark) {
    if (!acquired) return false;
    size_t number = static_cast<size_t>(std::upper_bound(first_epochs.begin(), first_epochs.end(), mark.epoch) -
                                        first_epochs.begin());
    return number != 0 && mark.epoch <= published[number - 1];
}

struct Now {
    // Marks before `oldest` are of something else that was there: of another launch, or in shared memory
    // of another block.
    uint32_t epoch, first_epoch, oldest;
    uint16_t thread, clock;
};

Now now(bool shared) {
    const Fiber* fiber = current;
    return {block.epoch, block.first_epoch, shared ? block.first_epoch : launch_epoch,
            static_cast<uint16_t>(fiber->linear), static_cast<uint16_t>(fiber->warp->clock & clock_mask)};
}

// Of two accesses in one block: a barrier or a __syncwarp lies between, or it is the same thread.
bool ordered(const Mark& mark, const Now& at) {
    if (mark.epoch != at.epoch || mark.thread == at.thread) return true;
    return mark.thread / warp_lanes == at.thread / warp_lanes && (mark.info & clock_mask) != at.clock;
}

void check_write_before(const Cell& cell, const void* address, Access access, const Now& at, const void* pc) {
    const Mark& write = cell.write;
    if (write.epoch < at.oldest) return;
    if (access == Access::atomic && (write.info & atomic_or_lanes)) return;
    if (write.epoch >= at.first_epoch ? ordered(write, at) : is_published(write)) return;
    race(address, access, write, write.info & atomic_or_lanes ? "changed atomically" : "wrote", pc);
}

void check_read_before(const Cell& cell, const void* address, Access access, const Now& at, const void* pc) {
    const Mark& read = cell.read;
    if (read.epoch < at.oldest) return;
    bool fine;
    if (read.epoch < at.first_epoch) {
        fine = is_published(read);
    } else if (read.epoch != at.epoch) {
        fine = true;
    } else {
        bool own_warp = read.thread / warp_lanes == at.thread / warp_lanes;
        bool earlier = own_warp && (read.info & clock_mask) != at.clock;
        fine =
            !(read.info & several_warps) && (earlier || (read.thread == at.thread && !(read.info & atomic_or_lanes)));
    }
    if ((read.info & several_blocks) && !acquired) fine = false;
    if (!fine) race(address, access, read, "read", pc);
}

void mark_read(Mark& read, const Now& at) {
    uint16_t info = at.clock;
    if (read.epoch >= at.oldest) {
        if (read.epoch < at.first_epoch) {
            info |= several_blocks;
        } else {
            info |= read.info & several_blocks;
            if (read.epoch == at.epoch) {
                info |= read.info & several_warps;
                if (read.thread / warp_lanes != at.thread / warp_lanes)
                    info |= several_warps;
                else if ((read.info & clock_mask) == at.clock)
                    info |= (read.info & atomic_or_lanes) | (read.thread != at.thread ? atomic_or_lanes : 0);
            }
        }
    }
    read = {at.epoch, at.thread, info};
}

// ---- shared memory -------------------------------------------------------------------------------

bool in_shared_bounds(size_t offset, size_t bytes) {
    if (offset >= shared_base && offset + bytes <= shared_base + block.dynamic_shared) return true;
    for (const SharedArray& array : block.arrays)
        if (offset >= array.offset && offset + bytes <= array.offset + array.bytes) return true;
    return false;
}

void access_shared(const unsigned char* address, size_t offset, size_t bytes, Access access, const void* pc) {
    if (!in_shared_bounds(offset, bytes)) {
        fail_launch(illegal_address, "%s of %zu bytes out of the bounds of shared memory: %s%s (%zu bytes are dynamic)",
                    word(access), bytes, describe(address).c_str(), source_line(pc).c_str(), block.dynamic_shared);
        abandon();
    }
    Now at = now(true);
    for (size_t i = offset / 4; i <= (offset + bytes - 1) / 4; i++)
        if (under_way[i]) {
            fail_launch(launch_failed, "%s of %s%s, to which an asynchronous copy of thread %u is under way",
                        word(access), describe(address).c_str(), source_line(pc).c_str(), under_way[i] - 1u);
            abandon();
        }
    for (size_t i = 0; i < bytes; i++) {
        Cell& cell = shared_cells[offset + i];
        if (access != Access::write) {
            if (cell.write.epoch < at.first_epoch) {
                fail_launch(launch_failed, "%s of uninitialised shared memory: %s%s", word(access),
                            describe(address + i).c_str(), source_line(pc).c_str());
                abandon();
            }
            check_write_before(cell, address + i, access, at, pc);
        }
        if (access != Access::read) {
            check_write_before(cell, address + i, access, at, pc);
            check_read_before(cell, address + i, access, at, pc);
            cell.write = {at.epoch, at.thread,
                          static_cast<uint16_t>(at.clock | (access == Access::atomic ? atomic_or_lanes : 0))};
        } else {
            mark_read(cell.read, at);
        }
    }
}

// ---- global memory -------------------------------------------------------------------------------

void access_global(uint64_t address, size_t bytes, Access access, const void* pc) {
    const Allocation* allocation = find_allocation(address);
    if (!allocation || address + bytes > allocation->address + allocation->bytes) {
        // A read or write just before an allocation is meant for it.
        const Allocation* next = allocation ? nullptr : find_allocation(address + page_bytes);
        const Allocation* before = allocation ? allocation : find_allocation(address - page_bytes);
        const Allocation* meant = before ? before : next;
        std::string line = source_line(pc);
        if (meant)
            fail_launch(illegal_address,
                        "%s of %zu bytes out of bounds: %lld bytes from the start of an allocation of %llu bytes%s",
                        word(access), bytes, static_cast<long long>(address - meant->address),
                        static_cast<unsigned long long>(meant->bytes), line.c_str());
        else
            fail_launch(illegal_address, "%s of %zu bytes where nothing is allocated%s", word(access), bytes,
                        line.c_str());
        abandon();
    }
    if (access != Access::write) read_total += bytes;
    if (access != Access::read) write_total += bytes;
    if (access != Access::write && !allocation->assumed_initialised && !is_initialised(address, bytes)) {
        uint64_t first = address;
        while (is_initialised(first, 1)) first++;
        fail_launch(launch_failed, "%s of uninitialised memory: %s%s", word(access),
                    describe(reinterpret_cast<void*>(first)).c_str(), source_line(pc).c_str());
        abandon();
    }
    if (access != Access::read) mark_initialised(address, bytes);
    Now at = now(false);
    for (size_t i = 0; i < bytes; i++) {
        Page& page = page_of(address + i);
        unsigned offset = static_cast<unsigned>((address + i) % page_bytes), sector = offset / sector_bytes;
        Cell& cell = page.cells[offset];
        const void* byte = reinterpret_cast<const void*>(address + i);
        check_write_before(cell, byte, access, at, pc);
        // An atomic leaves the mark of a write only: one of a read would accuse the next atomic.
        bool first_read = access == Access::read || (access == Access::atomic && cell.write.epoch < launch_epoch);
        if (first_read && cell.read.epoch < launch_epoch) {
            page.unique_reads++;
            page.sectors_read[sector / 64] |= uint64_t{1} << (sector % 64);
        }
        if (access != Access::read) {
            check_read_before(cell, byte, access, at, pc);
            if (cell.write.epoch < launch_epoch) {
                page.unique_writes++;
                page.sectors_written[sector / 64] |= uint64_t{1} << (sector % 64);
            }
            cell.write = {at.epoch, at.thread,
                          static_cast<uint16_t>(at.clock | (access == Access::atomic ? atomic_or_lanes : 0))};
        }
        if (access == Access::read) mark_read(cell.read, at);
    }
}

uint64_t count_bits(const uint64_t (&bits)[2]) {
    return static_cast<uint64_t>(__builtin_popcountll(bits[0]) + __builtin_popcountll(bits[1]));
}

}  // namespace

void trace_misaligned(const void* address, size_t bytes, Access access, const void* pc) {
    fail_launch(misaligned_address, "%s of %zu bytes at a misaligned address: %s%s", word(access), bytes,
                describe(address).c_str(), source_line(pc).c_str());
    abandon();
}

void trace_access(const void* address, size_t bytes, Access access, const void* pc) {
    if (!current) return;
    uint64_t number = reinterpret_cast<uint64_t>(address);
    size_t offset = static_cast<size_t>(static_cast<const unsigned char*>(address) - block.shared);
    bool shared = offset < shared_bytes;
    // A thread's own stack, and constants.
    if (!shared && !is_device_address(number)) return;
    if (shared)
        access_shared(static_cast<const unsigned char*>(address), offset, bytes, access, pc);
    else
        access_global(number, bytes, access, pc);
    if (access != Access::atomic) count_request(shared ? offset : number, bytes, shared, access == Access::write, pc);
}

void trace_copy_begin(const void* shared, size_t bytes, const void* pc) {
    const unsigned char* address = static_cast<const unsigned char*>(shared);
    size_t offset = static_cast<size_t>(address - block.shared);
    Now at = now(true);
    if (!in_shared_bounds(offset, bytes)) {
        fail_launch(illegal_address, "an asynchronous copy out of the bounds of shared memory: %s%s",
                    describe(shared).c_str(), source_line(pc).c_str());
        abandon();
    }
    for (size_t i = 0; i < bytes; i++) {
        Cell& cell = shared_cells[offset + i];
        check_write_before(cell, address + i, Access::write, at, pc);
        check_read_before(cell, address + i, Access::write, at, pc);
    }
    for (size_t i = offset / 4; i < (offset + bytes) / 4; i++) under_way[i] = static_cast<uint16_t>(at.thread + 1);
}

void trace_copy_end(const void* shared, size_t bytes, const void* pc) {
    size_t offset = static_cast<size_t>(static_cast<const unsigned char*>(shared) - block.shared);
    for (size_t i = offset / 4; i < (offset + bytes) / 4; i++) under_way[i] = 0;
    trace_access(shared, bytes, Access::write, pc);
}

void trace_box_read(const void* global, size_t bytes, const void* pc) {
    // Not counted as a warp's request: a box is none.
    access_global(reinterpret_cast<uint64_t>(global), bytes, Access::read, pc);
}

void trace_box_end(size_t offset, size_t bytes) {
    for (size_t i = offset / 4; i < (offset + bytes) / 4; i++) under_way[i] = 0;
    // As if written when the block began: whoever reads it has waited at a barrier, which has no epoch.
    for (size_t i = 0; i < bytes; i++) shared_cells[offset + i].write = {block.first_epoch, 0, by_copy};
}

void trace_operand(size_t offset, size_t bytes, const void* pc) {
    const unsigned char* address = block.shared + offset;
    Now at = now(true);
    auto refuse_operand = [&](const char* what) {
        fail_launch(launch_failed, "a product of a warpgroup reads %s%s, %s", describe(address).c_str(),
                    source_line(pc).c_str(), what);
        abandon();
    };
    if (!in_shared_bounds(offset, bytes)) refuse_operand("out of the bounds of shared memory");
    for (size_t i = 0; i < bytes; i++) {
        const Mark& write = shared_cells[offset + i].write;
        if (write.epoch < at.first_epoch) refuse_operand("which nobody wrote");
        if (write.info & by_copy) continue;
        if (write.epoch == at.epoch) race(address + i, Access::read, write, "wrote", pc);
        if (block.fibers[write.thread].proxy_fence < write.epoch) {
            refuse_operand("which a thread wrote without a shared_proxy_fence behind it");
        }
    }
}

void trace_release() {
    if (block.number > published.size()) return;
    published[block.number - 1] = block.epoch;
}

void trace_acquire() { acquired = true; }

void trace_launch_begin() {
    launch_epoch = block.epoch + 1;
    launch_number++;
    pages_in_use = 0;
    cached_number = ~uint64_t{0};
    read_total = write_total = 0;
    first_epochs.clear();
    published.clear();
    requests_begin();
}

void trace_block_begin() {
    first_epochs.push_back(block.first_epoch);
    published.push_back(0);
    acquired = false;
    memset(under_way, 0, sizeof under_way);
}

void trace_block_end() { requests_block_end(); }

void trace_launch_end(Record& record) {
    EmulatorLaunch& launch = record.launch;
    std::vector<EmulatorTraffic>& traffic = record.traffic;
    launch.read_bytes = read_total;
    launch.write_bytes = write_total;
    std::vector<const Page*> touched;
    for (size_t i = 0; i < pages_in_use; i++) touched.push_back(pool[i].get());
    std::sort(touched.begin(), touched.end(), [](const Page* a, const Page* b) { return a->address < b->address; });
    for (const Page* page : touched) {
        const Allocation* allocation = find_allocation(page->address);
        if (!allocation) continue;
        if (traffic.empty() || traffic.back().address != allocation->address)
            traffic.push_back({allocation->address, allocation->bytes, 0, 0, 0, 0});
        EmulatorTraffic& sum = traffic.back();
        sum.unique_read_bytes += page->unique_reads;
        sum.unique_write_bytes += page->unique_writes;
        sum.sector_read_bytes += count_bits(page->sectors_read) * sector_bytes;
        sum.sector_write_bytes += count_bits(page->sectors_written) * sector_bytes;
    }
    for (const EmulatorTraffic& sum : traffic) {
        launch.unique_read_bytes += sum.unique_read_bytes;
        launch.unique_write_bytes += sum.unique_write_bytes;
        launch.sector_read_bytes += sum.sector_read_bytes;
        launch.sector_write_bytes += sum.sector_write_bytes;
    }
    requests_end(record);
}

}  // namespace emulator
