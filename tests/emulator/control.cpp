// What a test asks of the emulator: see control.h. And the names of the driver's results.
#include "control.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "driver.h"

using namespace emulator;

using Guard = std::lock_guard<std::recursive_mutex>;

EMULATOR_API void emulator_set_options(const EmulatorOptions* wanted) {
    Guard guard(lock);
    read_environment();
    options = *wanted;
}

EMULATOR_API void emulator_get_options(EmulatorOptions* result) {
    Guard guard(lock);
    read_environment();
    *result = options;
}

EMULATOR_API void emulator_set_device(const EmulatorDevice* wanted) {
    Guard guard(lock);
    read_environment();
    device = *wanted;
    device.name[sizeof device.name - 1] = 0;
}

EMULATOR_API void emulator_get_device(EmulatorDevice* result) {
    Guard guard(lock);
    read_environment();
    *result = device;
}

EMULATOR_API void emulator_clear() {
    Guard guard(lock);
    drop_all();
    launches.clear();
    last_error.clear();
    planned_failures.clear();
    sticky_error = CUDA_SUCCESS;
    usage.peak = usage.bytes;
    usage.calls = 0;
}

EMULATOR_API size_t emulator_launch_count() {
    Guard guard(lock);
    return launches.size();
}

EMULATOR_API int emulator_launch(size_t index, EmulatorLaunch* launch) {
    Guard guard(lock);
    if (index >= launches.size()) return 0;
    *launch = launches[index].launch;
    return 1;
}

EMULATOR_API size_t emulator_launch_traffic(size_t launch, EmulatorTraffic* traffic, size_t capacity) {
    Guard guard(lock);
    if (launch >= launches.size()) return 0;
    const std::vector<EmulatorTraffic>& all = launches[launch].traffic;
    std::copy_n(all.begin(), std::min(capacity, all.size()), traffic);
    return all.size();
}

EMULATOR_API size_t emulator_launch_sites(size_t launch, EmulatorSite* sites, size_t capacity) {
    Guard guard(lock);
    if (launch >= launches.size()) return 0;
    const std::vector<Site>& all = launches[launch].sites;
    std::vector<const void*> pcs;
    for (const Site& site : all) pcs.push_back(site.pc);
    if (capacity < all.size()) return all.size();
    std::vector<std::string> lines = source_lines(pcs);
    for (size_t i = 0; i < all.size(); i++) {
        const Site& site = all[i];
        sites[i] = {{}, site.shared, site.written, site.requests, site.passes, site.ideal_passes};
        snprintf(sites[i].line, sizeof sites[i].line, "%s", lines[i].c_str());
    }
    return all.size();
}

EMULATOR_API void emulator_memory(EmulatorMemory* memory) {
    Guard guard(lock);
    *memory = {usage.allocations, usage.bytes, usage.peak, usage.calls, usage.pinned};
}

EMULATOR_API size_t emulator_last_error(char* text, size_t capacity) {
    Guard guard(lock);
    if (capacity != 0) {
        size_t count = std::min(capacity - 1, last_error.size());
        memcpy(text, last_error.data(), count);
        text[count] = 0;
    }
    return last_error.size();
}

EMULATOR_API void emulator_fail(const char* function, uint32_t nth, uint32_t code) {
    Guard guard(lock);
    planned_failures[function] = {nth, static_cast<Result>(code)};
}

EMULATOR_API int emulator_poison(uint64_t address, size_t bytes) {
    Guard guard(lock);
    run_all();
    const Allocation* allocation = find_allocation(address);
    if (!allocation || address + bytes > allocation->address + allocation->bytes) return 0;
    poison(address, bytes);
    return 1;
}

EMULATOR_API size_t emulator_pending() {
    Guard guard(lock);
    return pending();
}

// ---- names of results ----------------------------------------------------------------------------

namespace {

struct Name {
    int result;
    const char* name;
    const char* text;
};
const Name names[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {303, "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED", "shared object initialization failed"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {902, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const Name* find_name(int result) {
    for (const Name& name : names)
        if (name.result == result) return &name;
    return nullptr;
}

}  // namespace

DRIVER_API int cuGetErrorName(int result, const char** name) {
    const Name* found = find_name(result);
    *name = found ? found->name : nullptr;
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

DRIVER_API int cuGetErrorString(int result, const char** text) {
    const Name* found = find_name(result);
    *text = found ? found->text : nullptr;
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
