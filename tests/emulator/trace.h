// The parts of the trace: trace.cpp checks single accesses, requests.cpp counts what warps ask of memory,
// hooks.cpp is what the compiled kernels call.
#pragma once
#include <cstdio>

#include "runtime.h"

namespace emulator {

// ---- requests.cpp --------------------------------------------------------------------------------

void requests_begin();
// The current fiber's access, by the instruction after `pc`. Shared memory by offset, global by address.
void count_request(uint64_t address, size_t bytes, bool shared, bool written, const void* pc);
void requests_block_end();
void requests_end(Record& record);

}  // namespace emulator
