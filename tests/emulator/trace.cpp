// The trace, for now: the hooks that the kernels call, doing nothing.
#include "runtime.h"

namespace emulator {

bool tracing = false;
void trace_launch_begin() {}
void trace_block_end() {}
void trace_launch_end(EmulatorLaunch&, std::vector<EmulatorTraffic>&) {}
void trace_access(const void*, size_t, Access, const void*) {}
void trace_release() {}

}  // namespace emulator

#define HOOK(name, bytes, kind) \
    EMULATOR_API void name(void* address) { \
        if (emulator::tracing) emulator::trace_access(address, bytes, emulator::Access::kind, __builtin_return_address(0)); \
    }
#define HOOKS(bytes) \
    HOOK(__tsan_read##bytes, bytes, read) HOOK(__tsan_write##bytes, bytes, write) \
    HOOK(__tsan_unaligned_read##bytes, bytes, read) HOOK(__tsan_unaligned_write##bytes, bytes, write) \
    HOOK(__tsan_volatile_read##bytes, bytes, read) HOOK(__tsan_volatile_write##bytes, bytes, write)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

EMULATOR_API void __tsan_read_range(void* address, size_t bytes) {
    if (emulator::tracing) emulator::trace_access(address, bytes, emulator::Access::read, __builtin_return_address(0));
}
EMULATOR_API void __tsan_write_range(void* address, size_t bytes) {
    if (emulator::tracing) emulator::trace_access(address, bytes, emulator::Access::write, __builtin_return_address(0));
}
EMULATOR_API void __tsan_init() {}
EMULATOR_API void __tsan_func_entry(void*) {}
EMULATOR_API void __tsan_func_exit() {}
