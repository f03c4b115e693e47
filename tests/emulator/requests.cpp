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

// The executions of one instruction by one warp in this block.
struct Sequence {
    std::vector<Request> requests;
    // How many each lane has had.
    uint32_t executed[warp_lanes] = {};
};

struct Instruction {
    Site site;
    std::vector<Sequence> warps;
};

// Of the launch, in the order in which they first ran.
std::vector<Instruction> instructions;
std::unordered_map<const void*, size_t> index_of;
// The last lookups, by a hash of the instruction.
struct Cached {
    const void* pc;
    size_t index;
} cache[64];

struct Range {
    uint64_t first, end;
};

void count_global(const Request& request, Site& site) {
    Range ranges[warp_lanes];
    unsigned count = 0;
    for (unsigned lane = 0; lane < warp_lanes; lane++)
        if (request.lanes >> lane & 1u)
            ranges[count++] = {request.address[lane], request.address[lane] + request.bytes[lane]};
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
            site.passes += end_sector - first_sector;
            next_sector = end_sector;
        }
    }
    site.requests++;
    site.ideal_passes += (bytes + sector_bytes - 1) / sector_bytes;
}

// Eight bytes a lane are served a half warp at a time, sixteen a quarter.
void count_shared(const Request& request, Site& site) {
    unsigned widest = 4;
    for (unsigned lane = 0; lane < warp_lanes; lane++)
        if (request.lanes >> lane & 1u) widest = std::max(widest, request.bytes[lane]);
    unsigned group = widest > 8 ? 8 : widest > 4 ? 16 : 32;
    for (unsigned first = 0; first < warp_lanes; first += group) {
        std::vector<uint64_t> words;
        for (unsigned lane = first; lane < first + group; lane++) {
            if (!(request.lanes >> lane & 1u)) continue;
            for (uint64_t word = request.address[lane] / 4;
                 word <= (request.address[lane] + request.bytes[lane] - 1) / 4; word++)
                words.push_back(word);
        }
        if (words.empty()) continue;
        std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        unsigned load[banks] = {}, most = 0;
        for (uint64_t word : words) most = std::max(most, ++load[word % banks]);
        site.requests++;
        site.passes += most;
        site.ideal_passes++;
    }
}

}  // namespace

void requests_begin() {
    instructions.clear();
    index_of.clear();
    for (Cached& entry : cache) entry.pc = nullptr;
}

void count_request(uint64_t address, size_t bytes, bool shared, bool written, const void* pc) {
    Cached& cached = cache[(reinterpret_cast<uintptr_t>(pc) * 0x9E3779B97F4A7C15u) >> 58];
    if (cached.pc != pc) {
        auto [found, is_new] = index_of.emplace(pc, instructions.size());
        if (is_new) {
            instructions.push_back({{pc, shared, written, 0, 0, 0}, {}});
            instructions.back().warps.resize(block.warps.size());
        }
        cached = {pc, found->second};
    }
    const Fiber* fiber = current;
    Sequence& sequence = instructions[cached.index].warps[fiber->warp->index];
    size_t number = sequence.executed[fiber->lane]++;
    if (number == sequence.requests.size()) sequence.requests.emplace_back();
    Request& request = sequence.requests[number];
    request.lanes |= 1u << fiber->lane;
    request.address[fiber->lane] = address;
    request.bytes[fiber->lane] = static_cast<uint32_t>(bytes);
}

void requests_block_end() {
    for (Instruction& instruction : instructions)
        for (Sequence& sequence : instruction.warps) {
            for (const Request& request : sequence.requests)
                if (instruction.site.shared)
                    count_shared(request, instruction.site);
                else
                    count_global(request, instruction.site);
            sequence.requests.clear();
            std::fill(std::begin(sequence.executed), std::end(sequence.executed), 0);
        }
}

void requests_end(Record& record) {
    EmulatorLaunch& launch = record.launch;
    for (const Instruction& instruction : instructions) {
        const Site& site = instruction.site;
        record.sites.push_back(site);
        if (site.shared) {
            launch.shared_requests += site.requests;
            launch.shared_wavefronts += site.passes;
        } else {
            launch.requests += site.requests;
            launch.sectors += site.passes;
            launch.ideal_sectors += site.ideal_passes;
        }
    }
}

}  // namespace emulator
