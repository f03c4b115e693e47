// The stand-in for libcuda: the device as a program sees it, its context, and its memory. Streams are in
// stream.cpp, kernels in module.cpp. Functions follow the CUDA driver API's documentation; what none of
// the project's code needs is left out, and a program that asks for it does not find the symbol.
#include "driver.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace emulator {

std::recursive_mutex lock;
EmulatorDevice device{"Emulator", 80, 4, uint64_t{4} << 30, 13000, 1};
Result sticky_error = CUDA_SUCCESS;
std::string last_error;
std::map<std::string, PlannedFailure> planned_failures;
Usage usage;

namespace {

bool initialised = false;
thread_local void* current_context = nullptr;
std::map<void*, unsigned> retained;
// Bytes that each live allocation holds of the device's memory.
std::map<uint64_t, size_t> held;
std::map<uintptr_t, size_t> pinned;
uint64_t release_threshold = 0;
// What the properties of a pool would be; there is one.
char memory_pool;

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

void free_everything() {
    for (auto& [address, bytes] : held) release(address);
    held.clear();
    for (auto& [address, bytes] : pinned) free(reinterpret_cast<void*>(address));
    pinned.clear();
    usage.bytes = usage.allocations = usage.pinned = 0;
}

namespace {

// ---- memory --------------------------------------------------------------------------------------

bool is_pinned(const void* pointer, size_t bytes) {
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    auto next = pinned.upper_bound(address);
    if (next == pinned.begin()) return false;
    --next;
    return address + bytes <= next->first + next->second;
}

bool in_allocation(uint64_t address, size_t bytes) {
    const Allocation* allocation = find_allocation(address);
    return allocation && address + bytes <= allocation->address + allocation->bytes;
}

// Of what a copy touches on the device; a null pointer and no bytes are fine.
Result check_range(const char* function, uint64_t address, size_t bytes) {
    if (bytes == 0 || in_allocation(address, bytes)) return CUDA_SUCCESS;
    return refuse(CUDA_ERROR_INVALID_VALUE, "%s: %zu bytes at 0x%llx are not within one allocation", function, bytes,
                  static_cast<unsigned long long>(address));
}

// The same when the copy runs: it may have been freed since.
Result check_late(uint64_t address, size_t bytes) {
    if (bytes == 0 || in_allocation(address, bytes)) return CUDA_SUCCESS;
    return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy runs after its memory was freed (%zu bytes at 0x%llx)", bytes,
                  static_cast<unsigned long long>(address));
}

Result take_memory(uint64_t* address, size_t bytes) {
    *address = 0;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    usage.calls++;
    if (usage.bytes + bytes > device.memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
    *address = allocate(bytes);
    if (*address == 0) {
        run_all();
        *address = allocate(bytes);
    }
    if (*address == 0) return CUDA_ERROR_OUT_OF_MEMORY;
    held[*address] = bytes;
    usage.bytes += bytes;
    usage.allocations++;
    usage.peak = std::max(usage.peak, usage.bytes);
    return CUDA_SUCCESS;
}

Result give_back(uint64_t address) {
    auto found = held.find(address);
    if (found == held.end())
        return refuse(CUDA_ERROR_INVALID_VALUE, "a free of 0x%llx, where no allocation starts",
                      static_cast<unsigned long long>(address));
    usage.bytes -= found->second;
    usage.allocations--;
    held.erase(found);
    return CUDA_SUCCESS;
}

Result copy_to_device(uint64_t to, const void* from, size_t bytes) {
    if (Result result = check_late(to, bytes)) return result;
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    mark_initialised(to, bytes);
    return CUDA_SUCCESS;
}

Result copy_to_host(void* to, uint64_t from, size_t bytes) {
    if (Result result = check_late(from, bytes)) return result;
    memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return CUDA_SUCCESS;
}

Result copy_on_device(uint64_t to, uint64_t from, size_t bytes) {
    if (Result result = check_late(to, bytes)) return result;
    if (Result result = check_late(from, bytes)) return result;
    memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    copy_initialised(to, from, bytes);
    return CUDA_SUCCESS;
}

template <class T>
Result fill(const char* function, uint64_t to, T value, size_t count, void* handle) {
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (to % sizeof(T) != 0) return CUDA_ERROR_INVALID_VALUE;
    if (Result result = check_range(function, to, count * sizeof(T))) return result;
    return enqueue(stream, [to, value, count]() -> Result {
        if (Result result = check_late(to, count * sizeof(T))) return result;
        std::fill_n(reinterpret_cast<T*>(to), count, value);
        mark_initialised(to, count * sizeof(T));
        return CUDA_SUCCESS;
    });
}

// Runs the default stream, for the copies that wait for it.
Result finish(Result queued) { return queued ? queued : static_cast<Result>(run_stream(&default_stream)); }

}  // namespace
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
        case 1: *value = 1024; break;          // MAX_THREADS_PER_BLOCK
        case 2: case 3: *value = 1024; break;  // MAX_BLOCK_DIM_X, _Y
        case 4: *value = 64; break;            // MAX_BLOCK_DIM_Z
        case 5: *value = 2147483647; break;    // MAX_GRID_DIM_X
        case 6: case 7: *value = 65535; break; // MAX_GRID_DIM_Y, _Z
        case 8: *value = 48 * 1024; break;     // MAX_SHARED_MEMORY_PER_BLOCK
        case 9: *value = 64 * 1024; break;     // TOTAL_CONSTANT_MEMORY
        case 10: *value = 32; break;           // WARP_SIZE
        case 12: *value = 65536; break;        // MAX_REGISTERS_PER_BLOCK
        case 13: *value = 1000000; break;      // CLOCK_RATE, kHz
        case 14: *value = 512; break;          // TEXTURE_ALIGNMENT
        case 16: *value = static_cast<int>(device.multiprocessors); break;
        case 36: *value = 1000000; break;      // MEMORY_CLOCK_RATE, kHz
        case 37: *value = 256; break;          // GLOBAL_MEMORY_BUS_WIDTH
        case 38: *value = 4 << 20; break;      // L2_CACHE_SIZE
        case 39: *value = static_cast<int>(limits.threads_per_multiprocessor); break;
        case 40: *value = 2; break;            // ASYNC_ENGINE_COUNT
        case 31: case 41: case 78: *value = 1; break;  // CONCURRENT_KERNELS, UNIFIED_ADDRESSING, STREAM_PRIORITIES
        case 75: *value = static_cast<int>(device.sm / 10); break;
        case 76: *value = static_cast<int>(device.sm % 10); break;
        case 81: *value = static_cast<int>(limits.shared_per_multiprocessor); break;
        case 82: *value = 65536; break;        // MAX_REGISTERS_PER_MULTIPROCESSOR
        case 97: *value = static_cast<int>(limits.shared_opt_in); break;
        case 106: *value = static_cast<int>(limits.blocks_per_multiprocessor); break;
        case 111: *value = device.sm < 80 ? 0 : 1024; break;  // RESERVED_SHARED_MEMORY_PER_BLOCK
        case 115: *value = 1; break;           // MEMORY_POOLS_SUPPORTED
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

// ---- allocation ----------------------------------------------------------------------------------

DRIVER_API int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    ENTER(context);
    if (Result result = forbid_in_capture(__func__)) return result;
    return take_memory(address, bytes);
}

DRIVER_API int cuMemAllocAsync(uint64_t* address, size_t bytes, void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
        stream->capture->invalidated = true;
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "the emulator captures no allocations");
    }
    return take_memory(address, bytes);
}

DRIVER_API int cuMemAllocFromPoolAsync(uint64_t* address, size_t bytes, void*, void* stream) {
    return cuMemAllocAsync(address, bytes, stream);
}

DRIVER_API int cuMemFree_v2(uint64_t address) {
    ENTER(context);
    if (address == 0) return CUDA_SUCCESS;
    if (Result result = forbid_in_capture(__func__)) return result;
    if (Result result = give_back(address)) return result;
    // Waits for the device.
    Result result = run_all();
    release(address);
    return result;
}

DRIVER_API int cuMemFreeAsync(uint64_t address, void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (Result result = give_back(address)) return result;
    return enqueue(stream, [address] {
        release(address);
        return CUDA_SUCCESS;
    });
}

DRIVER_API int cuMemAllocManaged(uint64_t*, size_t, unsigned) { return CUDA_ERROR_NOT_SUPPORTED; }

DRIVER_API int cuMemGetInfo_v2(size_t* available, size_t* total) {
    ENTER(context);
    *total = device.memory_bytes;
    *available = device.memory_bytes - std::min(usage.bytes, device.memory_bytes);
    return CUDA_SUCCESS;
}

DRIVER_API int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
    ENTER(context);
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    *pointer = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*pointer) return CUDA_ERROR_OUT_OF_MEMORY;
    memset(*pointer, 0xff, bytes);
    pinned[reinterpret_cast<uintptr_t>(*pointer)] = bytes;
    usage.pinned += bytes;
    return CUDA_SUCCESS;
}
DRIVER_API int cuMemAllocHost_v2(void** pointer, size_t bytes) { return cuMemHostAlloc(pointer, bytes, 0); }

DRIVER_API int cuMemFreeHost(void* pointer) {
    ENTER(context);
    auto found = pinned.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == pinned.end()) return CUDA_ERROR_INVALID_VALUE;
    Result result = run_all();
    usage.pinned -= found->second;
    pinned.erase(found);
    free(pointer);
    return result;
}

DRIVER_API int cuMemHostGetDevicePointer_v2(uint64_t* address, void* pointer, unsigned) {
    ENTER(context);
    *address = reinterpret_cast<uint64_t>(pointer);
    return CUDA_SUCCESS;
}

// The device has one pool, which gives memory back at once whatever its threshold.
DRIVER_API int cuDeviceGetDefaultMemPool(void** pool, int) {
    ENTER(driver);
    *pool = &memory_pool;
    return CUDA_SUCCESS;
}
DRIVER_API int cuDeviceGetMemPool(void** pool, int ordinal) { return cuDeviceGetDefaultMemPool(pool, ordinal); }
DRIVER_API int cuDeviceSetMemPool(int, void*) {
    ENTER(driver);
    return CUDA_SUCCESS;
}
DRIVER_API int cuMemPoolSetAttribute(void*, int attribute, void* value) {
    ENTER(context);
    if (attribute == 4) memcpy(&release_threshold, value, 8);
    return CUDA_SUCCESS;
}
DRIVER_API int cuMemPoolGetAttribute(void*, int attribute, void* value) {
    ENTER(context);
    uint64_t result = attribute == 4 ? release_threshold : attribute == 6 || attribute == 8 ? usage.peak : usage.bytes;
    memcpy(value, &result, attribute >= 4 ? 8 : 4);
    return CUDA_SUCCESS;
}
DRIVER_API int cuMemPoolTrimTo(void*, size_t) {
    ENTER(context);
    return CUDA_SUCCESS;
}

// ---- copies --------------------------------------------------------------------------------------

// From pageable memory the bytes are taken now; from pinned memory when the copy runs. A capture keeps
// the address in both cases.
DRIVER_API int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (Result result = check_range(__func__, to, bytes)) return result;
    if (stream->capture || is_pinned(from, bytes))
        return enqueue(stream, [=] { return copy_to_device(to, from, bytes); });
    auto staged = std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    return enqueue(stream, [=] { return copy_to_device(to, staged->data(), bytes); });
}

// To pageable memory this returns when the copy is done.
DRIVER_API int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (Result result = check_range(__func__, from, bytes)) return result;
    if (Result result = enqueue(stream, [=] { return copy_to_host(to, from, bytes); })) return result;
    return stream->capture || is_pinned(to, bytes) ? CUDA_SUCCESS : run_stream(stream);
}

DRIVER_API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (Result result = check_range(__func__, to, bytes)) return result;
    if (Result result = check_range(__func__, from, bytes)) return result;
    return enqueue(stream, [=] { return copy_on_device(to, from, bytes); });
}

DRIVER_API int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t bytes) {
    Result queued = static_cast<Result>(cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr));
    Call call("cuMemcpyHtoD_v2", Call::context);
    return call.refused ? call.refused : finish(queued);
}

DRIVER_API int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
    Result queued = static_cast<Result>(cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr));
    Call call("cuMemcpyDtoH_v2", Call::context);
    return call.refused ? call.refused : finish(queued);
}

DRIVER_API int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}

// Host memory is named by its own address, so an address tells which kind it is.
DRIVER_API int cuMemcpyAsync(uint64_t to, uint64_t from, size_t bytes, void* stream) {
    bool to_device = is_device_address(to), from_device = is_device_address(from);
    if (to_device && from_device) return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
    if (to_device) return cuMemcpyHtoDAsync_v2(to, reinterpret_cast<const void*>(from), bytes, stream);
    if (from_device) return cuMemcpyDtoHAsync_v2(reinterpret_cast<void*>(to), from, bytes, stream);
    return CUDA_ERROR_INVALID_VALUE;
}

DRIVER_API int cuMemcpyPeerAsync(uint64_t to, void*, uint64_t from, void*, size_t bytes, void* stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}

// CUDA_MEMCPY2D.
struct Copy2D {
    size_t from_x, from_y;
    int from_type;
    const void* from_host;
    uint64_t from_device;
    void* from_array;
    size_t from_pitch;
    size_t to_x, to_y;
    int to_type;
    void* to_host;
    uint64_t to_device;
    void* to_array;
    size_t to_pitch;
    size_t width, height;
};

// Row by row. Types: 1 host, 2 device.
DRIVER_API int cuMemcpy2DAsync_v2(const Copy2D* copy, void* handle) {
    ENTER(context);
    if (!find_stream(handle)) return CUDA_ERROR_INVALID_HANDLE;
    if (copy->from_type < 1 || copy->from_type > 2 || copy->to_type < 1 || copy->to_type > 2) return CUDA_ERROR_NOT_SUPPORTED;
    for (size_t pitch : {copy->from_pitch, copy->to_pitch})
        if (pitch != 0 && pitch < copy->width) return CUDA_ERROR_INVALID_VALUE;
    for (size_t row = 0; row < copy->height; row++) {
        size_t from = (copy->from_y + row) * copy->from_pitch + copy->from_x;
        size_t to = (copy->to_y + row) * copy->to_pitch + copy->to_x;
        const char* from_host = static_cast<const char*>(copy->from_host) + from;
        char* to_host = static_cast<char*>(copy->to_host) + to;
        int result = CUDA_ERROR_INVALID_VALUE;
        if (copy->from_type == 2 && copy->to_type == 2)
            result = cuMemcpyDtoDAsync_v2(copy->to_device + to, copy->from_device + from, copy->width, handle);
        else if (copy->to_type == 2)
            result = cuMemcpyHtoDAsync_v2(copy->to_device + to, from_host, copy->width, handle);
        else if (copy->from_type == 2)
            result = cuMemcpyDtoHAsync_v2(to_host, copy->from_device + from, copy->width, handle);
        if (result != CUDA_SUCCESS) return result;
    }
    return CUDA_SUCCESS;
}

DRIVER_API int cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void* stream) {
    ENTER(context);
    return fill<uint8_t>(__func__, to, value, count, stream);
}
DRIVER_API int cuMemsetD16Async(uint64_t to, unsigned short value, size_t count, void* stream) {
    ENTER(context);
    return fill<uint16_t>(__func__, to, value, count, stream);
}
DRIVER_API int cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void* stream) {
    ENTER(context);
    return fill<uint32_t>(__func__, to, value, count, stream);
}
DRIVER_API int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t count) {
    ENTER(context);
    return fill<uint8_t>(__func__, to, value, count, nullptr);
}
DRIVER_API int cuMemsetD32_v2(uint64_t to, unsigned value, size_t count) {
    ENTER(context);
    return fill<uint32_t>(__func__, to, value, count, nullptr);
}
