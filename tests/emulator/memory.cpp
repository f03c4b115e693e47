// Device and pinned memory as the driver hands it out, and copies. What the program holds is accounted at
// its calls; the bytes move when a stream runs.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "driver.h"

namespace emulator {

Usage usage;

namespace {

// Bytes that each live allocation holds of the device's memory.
std::map<uint64_t, size_t> held;
std::map<uintptr_t, size_t> pinned;
uint64_t release_threshold = 0;
// What the properties of a pool would be; there is one.
char memory_pool;

}  // namespace

void free_everything() {
    for (auto& [address, bytes] : held) release(address);
    held.clear();
    for (auto& [address, bytes] : pinned) free(reinterpret_cast<void*>(address));
    pinned.clear();
    usage.bytes = usage.allocations = usage.pinned = 0;
}

namespace {

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

// For the copies that wait: runs the default stream.
Result finish(int queued) { return queued ? static_cast<Result>(queued) : run_stream(&default_stream); }

}  // namespace

}  // namespace emulator

using namespace emulator;

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
    auto staged =
        std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
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
    ENTER(context);
    return finish(cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr));
}

DRIVER_API int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
    ENTER(context);
    return finish(cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr));
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
    if (copy->from_type < 1 || copy->from_type > 2 || copy->to_type < 1 || copy->to_type > 2)
        return CUDA_ERROR_NOT_SUPPORTED;
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
