// The stand-in for libcuda: the device as a program sees it, and its context. Its memory is in
// memory.cpp, streams are in stream.cpp, kernels in module.cpp. Functions follow the CUDA driver API's
// documentation; what none of the project's code needs is left out, and a program that asks for it does not find the
// symbol.
#include "driver.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace emulator {

std::recursive_mutex lock;
EmulatorDevice device{"Emulator", 80, 4, uint64_t{4} << 30, 13000, 1};
Result sticky_error = CUDA_SUCCESS;
std::string last_error;
std::map<std::string, PlannedFailure> planned_failures;

namespace {

bool initialised = false;
thread_local void* current_context = nullptr;
std::map<void*, unsigned> retained;

void* context_of(int ordinal) { return reinterpret_cast<void*>(uintptr_t{4096} * static_cast<uintptr_t>(ordinal + 1)); }

uint64_t number_from(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

void read_environment() {
    static bool read = false;
    if (read) return;
    read = true;
    device.sm = static_cast<uint32_t>(number_from("EMULATOR_SM", device.sm));
    device.memory_bytes = number_from("EMULATOR_MEMORY", device.memory_bytes);
    device.driver_version = static_cast<uint32_t>(number_from("EMULATOR_DRIVER_VERSION", device.driver_version));
    device.count = static_cast<uint32_t>(number_from("EMULATOR_DEVICES", device.count));
    options.order = static_cast<uint32_t>(number_from("EMULATOR_ORDER", options.order));
    options.seed = number_from("EMULATOR_SEED", options.seed);
    options.trace = static_cast<uint32_t>(number_from("EMULATOR_TRACE", options.trace));
}

Result refuse(Result result, const char* format, ...) {
    char text[768];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    last_error = text;
    if (!options.quiet) fprintf(stderr, "emulator: %s\n", text);
    return result;
}

Call::Call(const char* function, Needs needs) : guard(lock), refused(CUDA_SUCCESS) {
    read_environment();
    auto planned = planned_failures.find(function);
    if (planned != planned_failures.end() && --planned->second.calls_left == 0) {
        refused = planned->second.result;
        planned_failures.erase(planned);
    } else if (needs != nothing && !initialised) {
        refused = CUDA_ERROR_NOT_INITIALIZED;
    } else if (needs == context && !current_context) {
        refused = refuse(CUDA_ERROR_INVALID_CONTEXT, "%s without a current context on this thread", function);
    } else if (needs == context) {
        refused = sticky_error;
    }
}

Limits device_limits() {
    if (device.sm < 80) return {64 * 1024, 64 * 1024, 1024, 16};
    if (device.sm == 80 || device.sm == 87) return {163 * 1024, 164 * 1024, 2048, 32};
    if (device.sm < 90) return {99 * 1024, 100 * 1024, 1536, device.sm == 89 ? 24u : 16u};
    if (device.sm < 120) return {227 * 1024, 228 * 1024, 2048, 32};
    return {99 * 1024, 100 * 1024, 1536, 24};
}

}  // namespace emulator

using namespace emulator;

// ---- the library and its devices -----------------------------------------------------------------

DRIVER_API int cuInit(unsigned flags) {
    ENTER(nothing);
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (device.count == 0) return CUDA_ERROR_NO_DEVICE;
    initialised = true;
    return CUDA_SUCCESS;
}

DRIVER_API int cuDriverGetVersion(int* version) {
    ENTER(nothing);
    *version = static_cast<int>(device.driver_version);
    return CUDA_SUCCESS;
}

DRIVER_API int cuDeviceGetCount(int* count) {
    ENTER(driver);
    *count = static_cast<int>(device.count);
    return CUDA_SUCCESS;
}

DRIVER_API int cuDeviceGet(int* handle, int ordinal) {
    ENTER(driver);
    if (ordinal < 0 || ordinal >= static_cast<int>(device.count)) return CUDA_ERROR_INVALID_DEVICE;
    *handle = ordinal;
    return CUDA_SUCCESS;
}

DRIVER_API int cuDeviceGetName(char* name, int length, int) {
    ENTER(driver);
    snprintf(name, static_cast<size_t>(length), "%s", device.name);
    return CUDA_SUCCESS;
}

DRIVER_API int cuDeviceGetUuid_v2(char* uuid, int ordinal) {
    ENTER(driver);
    memcpy(uuid, "fiber emulator..", 16);
    uuid[15] = static_cast<char>(ordinal);
    return CUDA_SUCCESS;
}
DRIVER_API int cuDeviceGetUuid(char* uuid, int ordinal) { return cuDeviceGetUuid_v2(uuid, ordinal); }

DRIVER_API int cuDeviceTotalMem_v2(size_t* bytes, int) {
    ENTER(driver);
    *bytes = device.memory_bytes;
    return CUDA_SUCCESS;
}

DRIVER_API int cuDeviceGetAttribute(int* value, int attribute, int) {
    ENTER(driver);
    Limits limits = device_limits();
    switch (attribute) {
        case 1: *value = 1024; break;  // MAX_THREADS_PER_BLOCK
        case 2:
        case 3: *value = 1024; break;        // MAX_BLOCK_DIM_X, _Y
        case 4: *value = 64; break;          // MAX_BLOCK_DIM_Z
        case 5: *value = 2147483647; break;  // MAX_GRID_DIM_X
        case 6:
        case 7: *value = 65535; break;      // MAX_GRID_DIM_Y, _Z
        case 8: *value = 48 * 1024; break;  // MAX_SHARED_MEMORY_PER_BLOCK
        case 9: *value = 64 * 1024; break;  // TOTAL_CONSTANT_MEMORY
        case 10: *value = 32; break;        // WARP_SIZE
        case 12: *value = 65536; break;     // MAX_REGISTERS_PER_BLOCK
        case 13: *value = 1000000; break;   // CLOCK_RATE, kHz
        case 14: *value = 512; break;       // TEXTURE_ALIGNMENT
        case 16: *value = static_cast<int>(device.multiprocessors); break;
        case 36: *value = 1000000; break;  // MEMORY_CLOCK_RATE, kHz
        case 37: *value = 256; break;      // GLOBAL_MEMORY_BUS_WIDTH
        case 38: *value = 4 << 20; break;  // L2_CACHE_SIZE
        case 39: *value = static_cast<int>(limits.threads_per_multiprocessor); break;
        case 40: *value = 2; break;  // ASYNC_ENGINE_COUNT
        case 31:
        case 41:
        case 78: *value = 1; break;  // CONCURRENT_KERNELS, UNIFIED_ADDRESSING, STREAM_PRIORITIES
        case 75: *value = static_cast<int>(device.sm / 10); break;
        case 76: *value = static_cast<int>(device.sm % 10); break;
        case 81: *value = static_cast<int>(limits.shared_per_multiprocessor); break;
        case 82: *value = 65536; break;  // MAX_REGISTERS_PER_MULTIPROCESSOR
        case 97: *value = static_cast<int>(limits.shared_opt_in); break;
        case 106: *value = static_cast<int>(limits.blocks_per_multiprocessor); break;
        case 111: *value = device.sm < 80 ? 0 : 1024; break;  // RESERVED_SHARED_MEMORY_PER_BLOCK
        case 115: *value = 1; break;                          // MEMORY_POOLS_SUPPORTED
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

// ---- contexts ------------------------------------------------------------------------------------

DRIVER_API int cuDevicePrimaryCtxRetain(void** context, int ordinal) {
    ENTER(driver);
    if (ordinal < 0 || ordinal >= static_cast<int>(device.count)) return CUDA_ERROR_INVALID_DEVICE;
    *context = context_of(ordinal);
    retained[*context]++;
    return CUDA_SUCCESS;
}

DRIVER_API int cuDevicePrimaryCtxRelease_v2(int ordinal) {
    ENTER(driver);
    auto found = retained.find(context_of(ordinal));
    if (found == retained.end()) return CUDA_ERROR_INVALID_CONTEXT;
    if (--found->second != 0) return CUDA_SUCCESS;
    retained.erase(found);
    // The context ends, with all that is in it.
    if (retained.empty()) {
        run_all();
        free_everything();
        sticky_error = CUDA_SUCCESS;
    }
    return CUDA_SUCCESS;
}

DRIVER_API int cuDevicePrimaryCtxReset_v2(int) {
    ENTER(driver);
    drop_all();
    free_everything();
    sticky_error = CUDA_SUCCESS;
    return CUDA_SUCCESS;
}

DRIVER_API int cuCtxSetCurrent(void* context) {
    ENTER(driver);
    if (context && !retained.count(context)) return CUDA_ERROR_INVALID_CONTEXT;
    current_context = context;
    return CUDA_SUCCESS;
}

DRIVER_API int cuCtxGetCurrent(void** context) {
    ENTER(driver);
    *context = current_context;
    return CUDA_SUCCESS;
}

DRIVER_API int cuCtxGetDevice(int* ordinal) {
    ENTER(context);
    *ordinal = static_cast<int>(reinterpret_cast<uintptr_t>(current_context) / 4096) - 1;
    return CUDA_SUCCESS;
}

DRIVER_API int cuCtxSynchronize() {
    ENTER(context);
    if (Result result = forbid_in_capture("cuCtxSynchronize")) return result;
    return run_all();
}

DRIVER_API int cuCtxSetFlags(unsigned) {
    ENTER(context);
    return CUDA_SUCCESS;
}

DRIVER_API int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    ENTER(context);
    *least = 0;
    *greatest = -5;
    return CUDA_SUCCESS;
}

DRIVER_API int cuCtxGetLimit(size_t* value, int) {
    ENTER(context);
    *value = 1024;
    return CUDA_SUCCESS;
}
DRIVER_API int cuCtxSetLimit(int, size_t) {
    ENTER(context);
    return CUDA_SUCCESS;
}
DRIVER_API int cuCtxSetCacheConfig(int) {
    ENTER(context);
    return CUDA_SUCCESS;
}
DRIVER_API int cuProfilerStart() {
    ENTER(context);
    return CUDA_SUCCESS;
}
DRIVER_API int cuProfilerStop() {
    ENTER(context);
    return CUDA_SUCCESS;
}
