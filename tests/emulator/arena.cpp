// Device memory: one arena of address space, so that an address tells in a table lookup which allocation
// it is in. An allocation has whole pages, with a page that faults before and after; what it does not
// need of its last page is checked for stray writes.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "runtime.h"

namespace emulator {

namespace {

constexpr uint64_t page_bytes = 4096;
// Address space only: pages appear when they are written.
constexpr uint64_t arena_bytes = uint64_t{64} << 30;
constexpr unsigned char nobodys = 0xff;

unsigned char* arena = nullptr;
// One bit a byte of the arena: has been written.
unsigned char* initialised = nullptr;
// The allocation of each page of the arena.
Allocation** pages = nullptr;
// Free ranges of pages: first page → count.
std::map<uint64_t, uint64_t> free_pages;
std::vector<Allocation*> live;

void* map_lazily(uint64_t bytes, int protection) {
    void* memory = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("emulator: no address space for device memory");
        abort();
    }
    return memory;
}

void create_arena() {
    arena = static_cast<unsigned char*>(map_lazily(arena_bytes, PROT_NONE));
    initialised = static_cast<unsigned char*>(map_lazily(arena_bytes / 8, PROT_READ | PROT_WRITE));
    pages =
        static_cast<Allocation**>(map_lazily(arena_bytes / page_bytes * sizeof(Allocation*), PROT_READ | PROT_WRITE));
    free_pages[0] = arena_bytes / page_bytes;
}

uint64_t offset_of(uint64_t address) { return address - reinterpret_cast<uint64_t>(arena); }

// The bits of one byte of `initialised` for [first, first + count), as far as that byte goes.
unsigned bits_within(uint64_t first, uint64_t count) {
    unsigned in_byte = static_cast<unsigned>(std::min<uint64_t>(count, 8 - first % 8));
    return ((1u << in_byte) - 1u) << (first % 8);
}

// Sets or clears bits [first, first + count) of `initialised`.
void set_initialised(uint64_t first, uint64_t count, bool value) {
    while (count != 0) {
        if (first % 8 == 0 && count >= 64) {
            memset(initialised + first / 8, value ? 0xff : 0, count / 8);
            first += count / 8 * 8;
            count %= 8;
            continue;
        }
        unsigned bits = bits_within(first, count);
        unsigned char& byte = initialised[first / 8];
        byte = static_cast<unsigned char>(value ? byte | bits : byte & ~bits);
        uint64_t done = static_cast<uint64_t>(__builtin_popcount(bits));
        first += done;
        count -= done;
    }
}

}  // namespace

uint64_t allocate(size_t bytes) {
    if (!arena) create_arena();
    uint64_t body = (std::max<uint64_t>(bytes, 1) + page_bytes - 1) / page_bytes, needed = body + 2;
    auto range = free_pages.begin();
    while (range != free_pages.end() && range->second < needed) ++range;
    if (range == free_pages.end()) return 0;
    uint64_t first = range->first, count = range->second;
    free_pages.erase(range);
    if (count > needed) free_pages[first + needed] = count - needed;
    unsigned char* start = arena + (first + 1) * page_bytes;
    mprotect(start, body * page_bytes, PROT_READ | PROT_WRITE);
    memset(start, nobodys, body * page_bytes);
    Allocation* allocation = new Allocation{reinterpret_cast<uint64_t>(start), bytes, false};
    for (uint64_t page = first + 1; page <= first + body; page++) pages[page] = allocation;
    live.insert(std::lower_bound(live.begin(), live.end(), allocation,
                                 [](const Allocation* a, const Allocation* b) { return a->address < b->address; }),
                allocation);
    return allocation->address;
}

bool release(uint64_t address) {
    Allocation* allocation = find_allocation(address);
    if (!allocation || allocation->address != address) return false;
    uint64_t first = offset_of(address) / page_bytes;
    uint64_t body = (std::max<uint64_t>(allocation->bytes, 1) + page_bytes - 1) / page_bytes;
    madvise(arena + first * page_bytes, body * page_bytes, MADV_DONTNEED);
    mprotect(arena + first * page_bytes, body * page_bytes, PROT_NONE);
    for (uint64_t page = first; page < first + body; page++) pages[page] = nullptr;
    set_initialised(first * page_bytes, body * page_bytes, false);
    // Back to the free ranges, joined with its neighbours.
    uint64_t start = first - 1, count = body + 2;
    auto next = free_pages.lower_bound(start);
    if (next != free_pages.end() && next->first == start + count) {
        count += next->second;
        next = free_pages.erase(next);
    }
    if (next != free_pages.begin()) {
        auto before = std::prev(next);
        if (before->first + before->second == start) {
            start = before->first;
            count += before->second;
            free_pages.erase(before);
        }
    }
    free_pages[start] = count;
    live.erase(std::find(live.begin(), live.end(), allocation));
    delete allocation;
    return true;
}

bool is_device_address(uint64_t address) { return arena && offset_of(address) < arena_bytes; }

Allocation* find_allocation(uint64_t address) {
    return is_device_address(address) ? pages[offset_of(address) / page_bytes] : nullptr;
}

const std::vector<Allocation*>& live_allocations() { return live; }

void mark_initialised(uint64_t address, size_t bytes) {
    if (is_device_address(address)) set_initialised(offset_of(address), bytes, true);
}

void poison(uint64_t address, size_t bytes) {
    Allocation* allocation = find_allocation(address);
    if (allocation && allocation->assumed_initialised) {
        set_initialised(offset_of(allocation->address), allocation->bytes, true);
        allocation->assumed_initialised = false;
    }
    memset(reinterpret_cast<void*>(address), nobodys, bytes);
    set_initialised(offset_of(address), bytes, false);
}

bool is_initialised(uint64_t address, size_t bytes) {
    for (uint64_t first = offset_of(address), count = bytes; count != 0;) {
        unsigned wanted = bits_within(first, count);
        if ((initialised[first / 8] & wanted) != wanted) return false;
        uint64_t done = static_cast<uint64_t>(__builtin_popcount(wanted));
        first += done;
        count -= done;
    }
    return true;
}

void copy_initialised(uint64_t to, uint64_t from, size_t bytes) {
    const Allocation* source = find_allocation(from);
    if (source && source->assumed_initialised) return mark_initialised(to, bytes);
    uint64_t first = offset_of(from), target = offset_of(to);
    for (uint64_t i = 0; i < bytes; i++)
        set_initialised(target + i, 1, initialised[(first + i) / 8] >> ((first + i) % 8) & 1);
}

void assume_all_initialised() {
    for (Allocation* allocation : live) allocation->assumed_initialised = true;
}

std::string check_slack() {
    static const std::vector<unsigned char> untouched(page_bytes, nobodys);
    for (Allocation* allocation : live) {
        unsigned char* end = reinterpret_cast<unsigned char*>(allocation->address + allocation->bytes);
        size_t slack = static_cast<size_t>(-reinterpret_cast<uintptr_t>(end) % page_bytes);
        if (allocation->bytes == 0) slack = page_bytes;
        if (memcmp(end, untouched.data(), slack) == 0) continue;
        for (size_t i = 0; i < slack; i++) {
            if (end[i] == nobodys) continue;
            char text[160];
            snprintf(text, sizeof text, "a write %zu bytes past the end of an allocation of %llu bytes", i,
                     static_cast<unsigned long long>(allocation->bytes));
            end[i] = nobodys;
            return text;
        }
    }
    return {};
}

}  // namespace emulator
