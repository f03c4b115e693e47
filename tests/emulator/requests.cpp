// Requests: the accesses of a warp's lanes by one instruction, put together again. Lanes run one after
// the other here, so the n-th execution of an instruction by each lane is taken for the n-th of the warp.
// Where lanes do not execute it equally often, that is an approximation.
#include <algorithm>
#include <unordered_map>

#include "trace.h"

namespace emulator {

namespace {

constexpr unsigned sector_bytes = 32, banks = 32;

struct Request {
    unsigned lanes = 0;
    uint64_t address[warp_lanes];
    uint32_t bytes[warp_lanes];
};

// The executions of one instruction by one warp that not all of its lanes have joined.
struct Sequence {
    bool shared = false;
    std::vector<Request> open;
    // How many of the warp's executions came before open[0], and how many each lane has had.
    uint64_t closed = 0, executed[warp_lanes] = {};
};

// By instruction, then by warp.
std::unordered_map<const void*, std::vector<Sequence>> sequences;
// The last lookups, by a hash of the instruction.
struct Cached {
    const void* pc;
    std::vector<Sequence>* warps;
} cache[64];

uint64_t requests, sectors, ideal_sectors, shared_requests, shared_wavefronts;

struct Range {
    uint64_t first, end;
};

void count_global(const Request& request) {
    Range ranges[warp_lanes];
    unsigned count = 0;
    for (unsigned lane = 0; lane < warp_lanes; lane++)
        if (request.lanes >> lane & 1u) ranges[count++] = {request.address[lane], request.address[lane] + request.bytes[lane]};
    std::sort(ranges, ranges + count, [](const Range& a, const Range& b) { return a.first < b.first; });
    uint64_t bytes = 0, covered = 0, next_sector = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t first = std::max(ranges[i].first, covered);
        if (ranges[i].end > first) {
            bytes += ranges[i].end - first;
            covered = ranges[i].end;
        }
        uint64_t first_sector = std::max(ranges[i].first / sector_bytes, next_sector);
        uint64_t end_sector = (ranges[i].end - 1) / sector_bytes + 1;
        if (end_sector > first_sector) {
            sectors += end_sector - first_sector;
            next_sector = end_sector;
        }
    }
    requests++;
    ideal_sectors += (bytes + sector_bytes - 1) / sector_bytes;
}

// Eight bytes a lane are served a half warp at a time, sixteen a quarter.
void count_shared(const Request& request) {
    unsigned widest = 4;
    for (unsigned lane = 0; lane < warp_lanes; lane++)
        if (request.lanes >> lane & 1u) widest = std::max(widest, request.bytes[lane]);
    unsigned group = widest > 8 ? 8 : widest > 4 ? 16 : 32;
    for (unsigned first = 0; first < warp_lanes; first += group) {
        std::vector<uint64_t> words;
        for (unsigned lane = first; lane < first + group; lane++) {
            if (!(request.lanes >> lane & 1u)) continue;
            for (uint64_t word = request.address[lane] / 4; word <= (request.address[lane] + request.bytes[lane] - 1) / 4; word++)
                words.push_back(word);
        }
        if (words.empty()) continue;
        std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        unsigned load[banks] = {}, most = 0;
        for (uint64_t word : words) most = std::max(most, ++load[word % banks]);
        shared_requests++;
        shared_wavefronts += most;
    }
}

void count(const Request& request, bool shared) {
    if (shared)
        count_shared(request);
    else
        count_global(request);
}

}  // namespace

void requests_begin() {
    sequences.clear();
    for (Cached& entry : cache) entry.pc = nullptr;
    requests = sectors = ideal_sectors = shared_requests = shared_wavefronts = 0;
}

void count_request(uint64_t address, size_t bytes, bool shared, const void* pc) {
    Cached& cached = cache[(reinterpret_cast<uintptr_t>(pc) * 0x9E3779B97F4A7C15u) >> 58];
    if (cached.pc != pc) {
        cached = {pc, &sequences[pc]};
        if (cached.warps->size() < block.warps.size()) cached.warps->resize(block.warps.size());
    }
    const Fiber* fiber = current;
    Sequence& sequence = (*cached.warps)[fiber->warp->index];
    sequence.shared = shared;
    size_t index = static_cast<size_t>(sequence.executed[fiber->lane]++ - sequence.closed);
    if (index == sequence.open.size()) sequence.open.emplace_back();
    Request& request = sequence.open[index];
    request.lanes |= 1u << fiber->lane;
    request.address[fiber->lane] = address;
    request.bytes[fiber->lane] = static_cast<uint32_t>(bytes);
}

void requests_block_end() {
    for (auto& [pc, warps] : sequences)
        for (Sequence& sequence : warps) {
            for (const Request& request : sequence.open) count(request, sequence.shared);
            sequence.open.clear();
            sequence.closed = 0;
            std::fill(std::begin(sequence.executed), std::end(sequence.executed), 0);
        }
}

void requests_end(EmulatorLaunch& launch) {
    launch.requests = requests;
    launch.sectors = sectors;
    launch.ideal_sectors = ideal_sectors;
    launch.shared_requests = shared_requests;
    launch.shared_wavefronts = shared_wavefronts;
}

}  // namespace emulator
