// What the files of the driver's stand-in share: results, the lock, streams and the device's state.
// Handles that a program holds are pointers to these structs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "control.h"
#include "runtime.h"

#define DRIVER_API extern "C" __attribute__((visibility("default")))

namespace emulator {

enum Result : int {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_SHARED_OBJECT_INIT_FAILED = 303,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_FAILED = 719,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
    CUDA_ERROR_STREAM_CAPTURE_MERGE = 902,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
    CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905,
    CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906,
    CUDA_ERROR_CAPTURED_EVENT = 907,
    CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
};

// Work for the device. Runs long after the call that asked for it, so it owns what it needs.
using Operation = std::function<Result()>;

struct Stream;

// What a capture records, in the order of the calls, which is one the device might choose.
struct Graph {
    std::vector<Operation> operations;
    Stream* origin = nullptr;
    // How many operations each stream of the capture has added, and how many of these another one of its
    // streams has waited for.
    std::map<Stream*, std::pair<size_t, size_t>> streams;
    bool invalidated = false, ended = false;
};

struct Stream {
    std::deque<Operation> waiting;
    // Operations given and done so far. The n-th operation of a stream has number n.
    uint64_t given = 0, done = 0;
    // Waits for the default stream, and is waited for.
    bool blocking = true;
    bool destroyed = false;
    std::shared_ptr<Graph> capture;
    int capture_mode = 0;
    std::thread::id capture_thread;
};

// The emulator's one lock: every function of the driver takes it.
extern std::recursive_mutex lock;
extern EmulatorDevice device;
// Reads EMULATOR_* from the environment, once.
void read_environment();

// Set by a failed launch and returned by everything afterwards, as by a broken context.
extern Result sticky_error;
extern std::string last_error;
// Keeps the sentence and prints it on standard error.
Result refuse(Result result, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Holds the lock during a call; `refused` is what the call returns at once, if not success.
struct Call {
    enum Needs { nothing, driver, context };
    Call(const char* function, Needs needs);
    std::lock_guard<std::recursive_mutex> guard;
    Result refused;
};
// First line of a driver function.
#define ENTER(needs)                  \
    Call call(__func__, Call::needs); \
    if (call.refused) return call.refused

struct PlannedFailure {
    uint32_t calls_left;
    Result result;
};
extern std::map<std::string, PlannedFailure> planned_failures;

// ---- stream.cpp ----------------------------------------------------------------------------------

// Null and the two special handles are the default stream. Null result: no such stream.
Stream* find_stream(void* handle);
extern Stream default_stream;
extern std::set<Stream*> streams;
// Records in the stream's capture, or queues.
Result enqueue(Stream* stream, Operation operation);
// Runs what the stream holds, up to its operation `number`, and what that waits for.
Result run_stream(Stream* stream, uint64_t number);
Result run_stream(Stream* stream);
Result run_all();
void drop_all();
size_t pending();
// A call that a capture of this thread, or a global one, forbids. Invalidates the capture.
Result forbid_in_capture(const char* function);

// ---- memory.cpp, module.cpp ----------------------------------------------------------------------

struct Usage {
    uint64_t bytes = 0, allocations = 0, peak = 0, calls = 0, pinned = 0;
};
extern Usage usage;
void free_everything();

extern std::vector<Record> launches;

// What the device of compute capability `sm` allows.
struct Limits {
    unsigned shared_opt_in, shared_per_multiprocessor, threads_per_multiprocessor, blocks_per_multiprocessor;
};
Limits device_limits();

}  // namespace emulator
