// Modules and launches. An image is the shared object that the stand-in for NVRTC made; opening it binds
// its calls to this library.
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "driver.h"

namespace emulator {

std::vector<Record> launches;

namespace {

constexpr unsigned default_shared = 48 * 1024;
// Registers are not modelled; occupancy follows from threads and shared memory.
constexpr int assumed_registers = 32;

struct Module;
struct Function {
    Module* module;
    const Kernel* kernel;
    unsigned max_dynamic_shared = default_shared;
    // Known once it has run.
    unsigned static_shared = 0;
};
struct Module {
    void* library = nullptr;
    std::string image;
    std::map<std::string, std::unique_ptr<Function>> functions;
    ~Module() {
        if (library) dlclose(library);
    }
};
// A launch keeps its module until it has run.
std::map<void*, std::shared_ptr<Module>> modules;
std::set<void*> functions;

// An image comes without its length: the section headers are its last part, or a section is.
size_t image_bytes(const unsigned char* image) {
    Elf64_Ehdr header;
    memcpy(&header, image, sizeof header);
    size_t end = header.e_shoff + size_t{header.e_shnum} * header.e_shentsize;
    for (unsigned i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        memcpy(&section, image + header.e_shoff + i * sizeof section, sizeof section);
        if (section.sh_type != SHT_NOBITS)
            end = std::max(end, static_cast<size_t>(section.sh_offset + section.sh_size));
    }
    return end;
}

// The kernels' calls must find this library's functions, however the program opened it.
void publish_symbols() {
    static bool done = false;
    if (done) return;
    done = true;
    Dl_info own;
    if (dladdr(reinterpret_cast<void*>(&publish_symbols), &own))
        dlopen(own.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
}

// A file with the image; empty if it cannot be written.
std::string write_image(const std::string& image) {
    const char* folder = getenv("TMPDIR");
    std::string path = std::string(folder && *folder ? folder : "/tmp") + "/emulator-XXXXXX";
    int file = mkstemp(path.data());
    if (file < 0) return {};
    size_t written = 0;
    while (written < image.size()) {
        ssize_t count = write(file, image.data() + written, image.size() - written);
        if (count <= 0) break;
        written += static_cast<size_t>(count);
    }
    close(file);
    return path;
}

void* open_image(const std::string& image) {
    publish_symbols();
    std::string path = write_image(image);
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) refuse(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, "cannot open a kernel image: %s", dlerror());
    unlink(path.c_str());
    return library;
}

Function* find_function(void* handle) { return functions.count(handle) ? static_cast<Function*>(handle) : nullptr; }

// The arguments of a launch, each in its own place, aligned as the largest (a tensor map) is.
struct Arguments {
    struct alignas(64) Unit {
        unsigned char bytes[64];
    };
    std::vector<Unit> units;
    std::vector<size_t> first;

    Arguments(const Kernel& kernel, void** values) {
        for (unsigned i = 0; i < kernel.arguments; i++) {
            first.push_back(units.size());
            units.resize(units.size() + (kernel.sizes[i] + sizeof(Unit) - 1) / sizeof(Unit));
            memcpy(&units[first.back()], values[i], kernel.sizes[i]);
        }
    }
    std::vector<void*> pointers() {
        std::vector<void*> result;
        for (size_t unit : first) result.push_back(&units[unit]);
        return result;
    }
};

Result check_launch(const Function& function, dim3 grid, dim3 block, unsigned dynamic_shared) {
    const char* name = function.kernel->name;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0)
        return refuse(CUDA_ERROR_INVALID_VALUE, "%s: an empty grid or block", name);
    if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
        return refuse(CUDA_ERROR_INVALID_VALUE, "%s: a grid of %u x %u x %u is too large", name, grid.x, grid.y,
                      grid.z);
    uint64_t threads = uint64_t{block.x} * block.y * block.z;
    if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > function.kernel->max_threads)
        return refuse(CUDA_ERROR_INVALID_VALUE, "%s: a block of %u x %u x %u threads; at most %u are allowed", name,
                      block.x, block.y, block.z, function.kernel->max_threads);
    if (dynamic_shared > function.max_dynamic_shared)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "%s: %u bytes of dynamic shared memory, the function's attribute allows %u", name, dynamic_shared,
                      function.max_dynamic_shared);
    return CUDA_SUCCESS;
}

Result execute(Function& function, dim3 grid, dim3 block, unsigned dynamic_shared, Arguments& arguments) {
    Record record;
    memset(&record.launch, 0, sizeof record.launch);
    EmulatorLaunch& launch = record.launch;
    snprintf(launch.kernel, sizeof launch.kernel, "%s", function.kernel->name);
    const unsigned sizes[2][3] = {{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}};
    memcpy(launch.grid, sizes[0], sizeof launch.grid);
    memcpy(launch.block, sizes[1], sizeof launch.block);
    launch.dynamic_shared = dynamic_shared;
    launch.traced = options.trace;
    std::vector<void*> pointers = arguments.pointers();
    size_t limit = function.max_dynamic_shared > default_shared ? device_limits().shared_opt_in : default_shared;
    Outcome outcome = run_launch({function.kernel, grid, block, dynamic_shared, limit, pointers.data()}, record);
    function.static_shared = launch.static_shared;
    launches.push_back(std::move(record));
    if (outcome.result == 0) return CUDA_SUCCESS;
    return refuse(static_cast<Result>(outcome.result), "%s", outcome.error.c_str());
}

}  // namespace

std::vector<std::string> source_lines(const std::vector<const void*>& pcs) {
    std::vector<std::string> lines(pcs.size());
    for (auto& [handle, module] : modules) {
        Dl_info own, where;
        if (!dladdr(dlsym(module->library, "emulator_kernels"), &own)) continue;
        // One run of addr2line for all of a module: with -a each answer starts with its address.
        std::vector<size_t> asked;
        std::string command;
        for (size_t i = 0; i < pcs.size(); i++) {
            if (!dladdr(pcs[i], &where) || where.dli_fbase != own.dli_fbase) continue;
            char offset[32];
            snprintf(offset, sizeof offset, " 0x%zx",
                     reinterpret_cast<size_t>(pcs[i]) - reinterpret_cast<size_t>(own.dli_fbase) - 1);
            command += offset;
            asked.push_back(i);
        }
        if (asked.empty()) continue;
        std::string path = write_image(module->image);
        command = "addr2line -a -i -e '" + path + "'" + command + " 2>/dev/null";
        if (FILE* output = popen(command.c_str(), "r")) {
            char text[512];
            size_t answer = 0;
            while (fgets(text, sizeof text, output)) {
                std::string line = text;
                line = line.substr(0, line.find_first_of("\n "));
                if (line.compare(0, 2, "0x") == 0) {
                    answer++;
                } else if (answer != 0 && answer <= asked.size() && !line.empty() && line[0] != '?') {
                    std::string& result = lines[asked[answer - 1]];
                    result += (result.empty() ? "" : " in ") + line.substr(line.rfind('/') + 1);
                }
            }
            pclose(output);
        }
        unlink(path.c_str());
    }
    return lines;
}

std::string source_line(const void* pc) {
    std::string line = source_lines({pc})[0];
    return line.empty() ? line : " (" + line + ")";
}

}  // namespace emulator

using namespace emulator;

DRIVER_API int cuModuleLoadData(void** handle, const void* image) {
    ENTER(context);
    if (memcmp(image, ELFMAG, SELFMAG) != 0) return refuse(CUDA_ERROR_INVALID_IMAGE, "an image that is no CUBIN");
    auto module = std::make_shared<Module>();
    module->image.assign(static_cast<const char*>(image), image_bytes(static_cast<const unsigned char*>(image)));
    module->library = open_image(module->image);
    if (!module->library) return CUDA_ERROR_INVALID_IMAGE;
    auto* made_for = static_cast<const Image*>(dlsym(module->library, "emulator_image"));
    auto* kernel = static_cast<const Kernel*>(dlsym(module->library, "emulator_kernels"));
    if (!made_for || !kernel)
        return refuse(CUDA_ERROR_INVALID_IMAGE, "an image that the emulator's NVRTC did not make");
    if (made_for->interface != EMULATOR_INTERFACE)
        return refuse(CUDA_ERROR_INVALID_IMAGE, "an image of another version of the emulator");
    bool runs = made_for->is_specific ? made_for->sm == device.sm
                                      : made_for->sm / 10 == device.sm / 10 && made_for->sm <= device.sm;
    if (!runs)
        return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "an image for sm_%u%s on an sm_%u device", made_for->sm,
                      made_for->is_specific ? "a" : "", device.sm);
    for (; kernel->name; kernel++) {
        auto function = std::make_unique<Function>(Function{module.get(), kernel});
        functions.insert(function.get());
        module->functions[kernel->name] = std::move(function);
    }
    *handle = module.get();
    modules[module.get()] = module;
    return CUDA_SUCCESS;
}

DRIVER_API int cuModuleLoadDataEx(void** handle, const void* image, unsigned, void*, void*) {
    return cuModuleLoadData(handle, image);
}

DRIVER_API int cuModuleUnload(void* handle) {
    ENTER(context);
    auto found = modules.find(handle);
    if (found == modules.end()) return CUDA_ERROR_INVALID_HANDLE;
    for (auto& [name, function] : found->second->functions) functions.erase(function.get());
    modules.erase(found);
    return CUDA_SUCCESS;
}

DRIVER_API int cuModuleGetFunction(void** function, void* handle, const char* name) {
    ENTER(context);
    auto module = modules.find(handle);
    if (module == modules.end()) return CUDA_ERROR_INVALID_HANDLE;
    auto found = module->second->functions.find(name);
    if (found == module->second->functions.end()) return CUDA_ERROR_NOT_FOUND;
    *function = found->second.get();
    return CUDA_SUCCESS;
}

// A __constant__ variable. Copies to it are not offered: it is not in the arena.
DRIVER_API int cuModuleGetGlobal_v2(uint64_t* address, size_t* bytes, void* handle, const char* name) {
    ENTER(context);
    auto module = modules.find(handle);
    if (module == modules.end()) return CUDA_ERROR_INVALID_HANDLE;
    void* found = dlsym(module->second->library, name);
    if (!found) return CUDA_ERROR_NOT_FOUND;
    Dl_info where;
    ElfW(Sym)* symbol = nullptr;
    dladdr1(found, &where, reinterpret_cast<void**>(&symbol), RTLD_DL_SYMENT);
    if (address) *address = reinterpret_cast<uint64_t>(found);
    if (bytes) *bytes = symbol ? symbol->st_size : 0;
    return CUDA_SUCCESS;
}

DRIVER_API int cuFuncGetAttribute(int* value, int attribute, void* handle) {
    ENTER(context);
    Function* function = find_function(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    switch (attribute) {
        case 0: *value = static_cast<int>(function->kernel->max_threads); break;  // MAX_THREADS_PER_BLOCK
        case 1: *value = static_cast<int>(function->static_shared); break;        // SHARED_SIZE_BYTES
        case 4: *value = assumed_registers; break;                                // NUM_REGS
        case 5:
        case 6: *value = static_cast<int>(device.sm); break;                     // PTX_VERSION, BINARY_VERSION
        case 8: *value = static_cast<int>(function->max_dynamic_shared); break;  // MAX_DYNAMIC_SHARED_SIZE_BYTES
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

DRIVER_API int cuFuncSetAttribute(void* handle, int attribute, int value) {
    ENTER(context);
    Function* function = find_function(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == 8) {
        if (value < 0 || static_cast<unsigned>(value) + function->static_shared > device_limits().shared_opt_in)
            return refuse(CUDA_ERROR_INVALID_VALUE, "%s: %d bytes of dynamic shared memory, the device has %u a block",
                          function->kernel->name, value, device_limits().shared_opt_in);
        function->max_dynamic_shared = static_cast<unsigned>(value);
    }
    return CUDA_SUCCESS;
}

DRIVER_API int cuFuncSetCacheConfig(void* handle, int) {
    ENTER(context);
    return find_function(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

DRIVER_API int cuFuncGetParamInfo(void* handle, size_t index, size_t* offset, size_t* bytes) {
    ENTER(context);
    Function* function = find_function(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    if (index >= function->kernel->arguments) return CUDA_ERROR_INVALID_VALUE;
    size_t at = 0;
    for (size_t i = 0;; i++) {
        // Of the types that kernels take, the alignment is the largest power of two in the size, up to 8.
        size_t size = function->kernel->sizes[i];
        size_t alignment = std::min<size_t>(size & (~size + 1), 8);
        at = (at + alignment - 1) / alignment * alignment;
        if (i == index) break;
        at += size;
    }
    *offset = at;
    if (bytes) *bytes = function->kernel->sizes[index];
    return CUDA_SUCCESS;
}

DRIVER_API int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, void* handle, int threads,
                                                                    size_t dynamic, unsigned) {
    ENTER(context);
    Function* function = find_function(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    if (threads <= 0) return CUDA_ERROR_INVALID_VALUE;
    Limits limits = device_limits();
    unsigned rounded = (static_cast<unsigned>(threads) + 31) / 32 * 32;
    size_t shared = dynamic + function->static_shared + 1024;
    size_t by_shared = dynamic > function->max_dynamic_shared ? 0 : limits.shared_per_multiprocessor / shared;
    size_t by_threads = threads > 1024 ? 0 : limits.threads_per_multiprocessor / rounded;
    *blocks = static_cast<int>(std::min({by_shared, by_threads, size_t{limits.blocks_per_multiprocessor}}));
    return CUDA_SUCCESS;
}

DRIVER_API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t dynamic) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, dynamic, 0);
}

// The largest block the function may have; `shared_of`, if given, says what a block of a size needs.
DRIVER_API int cuOccupancyMaxPotentialBlockSize(int* grid, int* threads, void* handle, size_t (*shared_of)(int),
                                                size_t dynamic, int limit) {
    ENTER(context);
    Function* function = find_function(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    int most = static_cast<int>(function->kernel->max_threads);
    int blocks = 0;
    for (*threads = limit > 0 ? std::min(limit, most) : most; *threads > 0; *threads -= 32) {
        size_t shared = shared_of ? shared_of(*threads) : dynamic;
        int result = cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, handle, *threads, shared, 0);
        if (result != CUDA_SUCCESS) return result;
        if (blocks != 0) break;
    }
    *grid = blocks * static_cast<int>(device.multiprocessors);
    return CUDA_SUCCESS;
}

DRIVER_API int cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, void* handle, int blocks, int) {
    ENTER(context);
    Function* function = find_function(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    if (blocks <= 0) return CUDA_ERROR_INVALID_VALUE;
    Limits limits = device_limits();
    size_t share = limits.shared_per_multiprocessor / static_cast<size_t>(blocks);
    *bytes = std::min<size_t>(share > 1024 ? share - 1024 : 0, limits.shared_opt_in);
    return CUDA_SUCCESS;
}

DRIVER_API int cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                              unsigned block_y, unsigned block_z, unsigned dynamic_shared, void* stream_handle,
                              void** values, void** extra) {
    ENTER(context);
    Function* function = find_function(handle);
    Stream* stream = find_stream(stream_handle);
    if (!function || !stream) return CUDA_ERROR_INVALID_HANDLE;
    if (extra) return CUDA_ERROR_NOT_SUPPORTED;
    dim3 grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
    if (Result result = check_launch(*function, grid, block, dynamic_shared)) return result;
    if (!values && function->kernel->arguments != 0) return CUDA_ERROR_INVALID_VALUE;
    auto arguments = std::make_shared<Arguments>(*function->kernel, values);
    std::shared_ptr<Module> module = modules[function->module];
    return enqueue(stream, [module, function, grid, block, dynamic_shared, arguments] {
        return execute(*function, grid, block, dynamic_shared, *arguments);
    });
}
