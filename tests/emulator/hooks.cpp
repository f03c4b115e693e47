// What `g++ -fsanitize=thread` calls at each load and store of a kernel. The compiled kernels are not
// linked with libtsan: they bind to these. A range is a struct copied whole whose size is no power of two,
// or whose type has a smaller alignment than its size.
#include "runtime.h"

namespace {

inline void seen(void* address, size_t bytes, emulator::Access access, const void* pc, bool aligned = true) {
    if (!emulator::tracing || !emulator::current) return;
    if (aligned && reinterpret_cast<uintptr_t>(address) % bytes != 0)
        emulator::trace_misaligned(address, bytes, access, pc);
    emulator::trace_access(address, bytes, access, pc);
}

}  // namespace

#define HOOK(name, bytes, access, aligned)                                                    \
    EMULATOR_API void name(void* address) {                                                   \
        seen(address, bytes, emulator::Access::access, __builtin_return_address(0), aligned); \
    }
#define HOOKS(bytes)                                         \
    HOOK(__tsan_read##bytes, bytes, read, true)              \
    HOOK(__tsan_write##bytes, bytes, write, true)            \
    HOOK(__tsan_unaligned_read##bytes, bytes, read, false)   \
    HOOK(__tsan_unaligned_write##bytes, bytes, write, false) \
    HOOK(__tsan_volatile_read##bytes, bytes, read, true)     \
    HOOK(__tsan_volatile_write##bytes, bytes, write, true)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

EMULATOR_API void __tsan_read_range(void* address, size_t bytes) {
    seen(address, bytes, emulator::Access::read, __builtin_return_address(0), false);
}
EMULATOR_API void __tsan_write_range(void* address, size_t bytes) {
    seen(address, bytes, emulator::Access::write, __builtin_return_address(0), false);
}
EMULATOR_API void __tsan_init() {}
EMULATOR_API void __tsan_func_entry(void*) {}
EMULATOR_API void __tsan_func_exit() {}
