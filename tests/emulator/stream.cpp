// Streams, events and graphs. Work runs as late as CUDA allows: when something waits for it. A program
// that forgets to wait sees old data, as it may on a GPU. Any thread that waits runs the work itself.
#include <chrono>

#include "driver.h"

namespace emulator {

Stream default_stream;
std::set<Stream*> streams{&default_stream};

namespace {

struct Event {
    bool timed = false;
    // Where it was recorded last; null if never.
    Stream* stream = nullptr;
    uint64_t number = 0;
    bool reached = false;
    std::chrono::steady_clock::time_point time;
    // Recorded in a capture: its graph, and how many operations its stream had added.
    std::weak_ptr<Graph> graph;
    bool captured = false;
    size_t captured_count = 0;
};
// An event lives on while a stream still has its record to run.
std::map<void*, std::shared_ptr<Event>> events;
std::map<void*, std::shared_ptr<Graph>> graphs;

std::shared_ptr<Event> find_event(void* handle) {
    auto found = events.find(handle);
    return found == events.end() ? nullptr : found->second;
}

std::shared_ptr<Graph> find_graph(void* handle) {
    auto found = graphs.find(handle);
    return found == graphs.end() ? nullptr : found->second;
}

void* keep_graph(std::shared_ptr<Graph> graph) {
    void* handle = graph.get();
    graphs[handle] = std::move(graph);
    return handle;
}

void queue(Stream* stream, Operation operation) {
    stream->waiting.push_back(std::move(operation));
    stream->given++;
}

void forget_if_idle(Stream* stream) {
    if (!stream->destroyed || !stream->waiting.empty()) return;
    for (auto& [handle, event] : events) {
        if (event->stream != stream) continue;
        event->stream = nullptr;
        event->reached = true;
    }
    streams.erase(stream);
    delete stream;
}

Result run_event(Event& event) { return event.stream ? run_stream(event.stream, event.number) : sticky_error; }

}  // namespace

Stream* find_stream(void* handle) {
    if (reinterpret_cast<uintptr_t>(handle) <= 2) return &default_stream;
    Stream* stream = static_cast<Stream*>(handle);
    return streams.count(stream) && !stream->destroyed ? stream : nullptr;
}

Result enqueue(Stream* stream, Operation operation) {
    if (stream->capture) {
        if (stream->capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        stream->capture->operations.push_back(std::move(operation));
        stream->capture->streams[stream].first++;
        return CUDA_SUCCESS;
    }
    // The default stream and the blocking streams wait for each other.
    if (stream == &default_stream) {
        for (Stream* other : streams) {
            if (other == stream || !other->blocking) continue;
            if (other->capture) {
                other->capture->invalidated = true;
                return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                              "the default stream would wait for a stream that captures");
            }
            if (other->waiting.empty()) continue;
            uint64_t number = other->given;
            queue(stream, [other, number] { return streams.count(other) ? run_stream(other, number) : CUDA_SUCCESS; });
        }
    } else if (stream->blocking && !default_stream.waiting.empty()) {
        uint64_t number = default_stream.given;
        queue(stream, [number] { return run_stream(&default_stream, number); });
    }
    queue(stream, std::move(operation));
    return CUDA_SUCCESS;
}

Result run_stream(Stream* stream, uint64_t number) {
    while (stream->done < number && !stream->waiting.empty()) {
        Operation operation = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        Result result = operation();
        stream->done++;
        if (result != CUDA_SUCCESS) {
            sticky_error = result;
            drop_all();
        }
        if (sticky_error) return sticky_error;
    }
    return sticky_error;
}

Result run_stream(Stream* stream) { return run_stream(stream, stream->given); }

Result run_all() {
    std::vector<Stream*> all(streams.begin(), streams.end());
    for (Stream* stream : all) {
        if (!streams.count(stream)) continue;
        run_stream(stream);
        forget_if_idle(stream);
    }
    return sticky_error;
}

void drop_all() {
    for (Stream* stream : streams) {
        stream->done += stream->waiting.size();
        stream->waiting.clear();
    }
}

size_t pending() {
    size_t count = 0;
    for (Stream* stream : streams) count += stream->waiting.size();
    return count;
}

Result forbid_in_capture(const char* function) {
    for (Stream* stream : streams) {
        if (!stream->capture || stream->capture_mode == 2) continue;
        if (stream->capture_mode == 1 && stream->capture_thread != std::this_thread::get_id()) continue;
        stream->capture->invalidated = true;
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "%s while a stream captures", function);
    }
    return CUDA_SUCCESS;
}

}  // namespace emulator

using namespace emulator;

// ---- streams -------------------------------------------------------------------------------------

DRIVER_API int cuStreamCreate(void** stream, unsigned flags) {
    ENTER(context);
    Stream* created = new Stream;
    created->blocking = !(flags & 1u);
    streams.insert(created);
    *stream = created;
    return CUDA_SUCCESS;
}

DRIVER_API int cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

DRIVER_API int cuStreamDestroy_v2(void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream || stream == &default_stream) return CUDA_ERROR_INVALID_HANDLE;
    // What it holds still runs, some time.
    stream->destroyed = true;
    forget_if_idle(stream);
    return CUDA_SUCCESS;
}

DRIVER_API int cuStreamSynchronize(void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
        stream->capture->invalidated = true;
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "cuStreamSynchronize of a stream that captures");
    }
    if (stream == &default_stream)
        for (Stream* other : std::vector<Stream*>(streams.begin(), streams.end()))
            if (other->blocking) run_stream(other);
    return run_stream(stream);
}

DRIVER_API int cuStreamQuery(void* handle) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->waiting.empty()) return CUDA_SUCCESS;
    // One step, so that who polls gets there.
    Result result = run_stream(stream, stream->done + 1);
    return result ? result : CUDA_ERROR_NOT_READY;
}

DRIVER_API int cuStreamWaitEvent(void* stream_handle, void* event_handle, unsigned) {
    ENTER(context);
    Stream* stream = find_stream(stream_handle);
    std::shared_ptr<Event> event = find_event(event_handle);
    if (!stream || !event) return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured) {
        std::shared_ptr<Graph> graph = event->graph.lock();
        if (!graph || graph->ended || !event->stream) return CUDA_ERROR_CAPTURED_EVENT;
        if (stream->capture && stream->capture != graph) return CUDA_ERROR_STREAM_CAPTURE_MERGE;
        if (!stream->capture) {
            if (stream == &default_stream) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            stream->capture = graph;
            stream->capture_mode = event->stream->capture_mode;
            stream->capture_thread = event->stream->capture_thread;
            graph->streams[stream];
        }
        size_t& waited = graph->streams[event->stream].second;
        waited = std::max(waited, event->captured_count);
        // The wait is work of its own: a stream that joined must be joined back.
        if (stream != event->stream) graph->streams[stream].first++;
        return CUDA_SUCCESS;
    }
    if (stream->capture) {
        if (!event->stream) return CUDA_SUCCESS;
        stream->capture->invalidated = true;
        return refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                      "a stream that captures waits for an event from outside the capture");
    }
    if (!event->stream || event->stream == stream) return CUDA_SUCCESS;
    Stream* other = event->stream;
    uint64_t number = event->number;
    return enqueue(stream, [other, number] { return streams.count(other) ? run_stream(other, number) : CUDA_SUCCESS; });
}

DRIVER_API int cuStreamGetPriority(void*, int* priority) {
    ENTER(context);
    *priority = 0;
    return CUDA_SUCCESS;
}

DRIVER_API int cuStreamAttachMemAsync(void*, uint64_t, size_t, unsigned) { return CUDA_ERROR_NOT_SUPPORTED; }

DRIVER_API int cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    return enqueue(stream, [function, data] {
        function(data);
        return CUDA_SUCCESS;
    });
}

// ---- events --------------------------------------------------------------------------------------

DRIVER_API int cuEventCreate(void** handle, unsigned flags) {
    ENTER(context);
    auto event = std::make_shared<Event>();
    event->timed = !(flags & 2u);
    *handle = event.get();
    events[event.get()] = event;
    return CUDA_SUCCESS;
}

DRIVER_API int cuEventDestroy_v2(void* handle) {
    ENTER(context);
    return events.erase(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

DRIVER_API int cuEventRecord(void* handle, void* stream_handle) {
    ENTER(context);
    std::shared_ptr<Event> event = find_event(handle);
    Stream* stream = find_stream(stream_handle);
    if (!event || !stream) return CUDA_ERROR_INVALID_HANDLE;
    event->stream = stream;
    event->captured = stream->capture != nullptr;
    if (event->captured) {
        event->graph = stream->capture;
        event->captured_count = stream->capture->streams[stream].first;
        return CUDA_SUCCESS;
    }
    event->reached = false;
    Result result = enqueue(stream, [event, stream] {
        // Recorded again since: this one is of no interest.
        if (event->stream == stream && event->number == stream->done + 1) {
            event->time = std::chrono::steady_clock::now();
            event->reached = true;
        }
        return CUDA_SUCCESS;
    });
    event->number = stream->given;
    return result;
}

DRIVER_API int cuEventRecordWithFlags(void* handle, void* stream, unsigned) { return cuEventRecord(handle, stream); }

DRIVER_API int cuEventSynchronize(void* handle) {
    ENTER(context);
    std::shared_ptr<Event> event = find_event(handle);
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured) return CUDA_ERROR_CAPTURED_EVENT;
    return run_event(*event);
}

DRIVER_API int cuEventQuery(void* handle) {
    ENTER(context);
    std::shared_ptr<Event> event = find_event(handle);
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured) return CUDA_ERROR_CAPTURED_EVENT;
    if (!event->stream || event->stream->done >= event->number) return CUDA_SUCCESS;
    Result result = run_stream(event->stream, event->stream->done + 1);
    return result ? result : CUDA_ERROR_NOT_READY;
}

DRIVER_API int cuEventElapsedTime_v2(float* milliseconds, void* start_handle, void* end_handle) {
    ENTER(context);
    std::shared_ptr<Event> start = find_event(start_handle), end = find_event(end_handle);
    if (!start || !end || !start->timed || !end->timed) return CUDA_ERROR_INVALID_HANDLE;
    for (const Event* event : {start.get(), end.get()})
        if (!event->stream && !event->reached) return CUDA_ERROR_INVALID_HANDLE;
    if (!start->reached || !end->reached) return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return CUDA_SUCCESS;
}

DRIVER_API int cuEventElapsedTime(float* milliseconds, void* start, void* end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

// ---- capture and graphs --------------------------------------------------------------------------

DRIVER_API int cuStreamBeginCapture_v2(void* handle, int mode) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream == &default_stream)
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot capture");
    if (stream->capture) return CUDA_ERROR_INVALID_VALUE;
    stream->capture = std::make_shared<Graph>();
    stream->capture->origin = stream;
    stream->capture->streams[stream];
    stream->capture_mode = mode;
    stream->capture_thread = std::this_thread::get_id();
    return CUDA_SUCCESS;
}

DRIVER_API int cuStreamEndCapture(void* handle, void** graph) {
    ENTER(context);
    *graph = nullptr;
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    std::shared_ptr<Graph> captured = stream->capture;
    if (!captured) return CUDA_ERROR_INVALID_VALUE;
    if (captured->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (stream->capture_mode != 2 && stream->capture_thread != std::this_thread::get_id())
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    captured->ended = true;
    bool unjoined = false;
    for (auto& [other, counts] : captured->streams) {
        other->capture = nullptr;
        if (other != stream && counts.second < counts.first) unjoined = true;
    }
    if (captured->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (unjoined)
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "a stream of the capture was not joined to its origin");
    *graph = keep_graph(captured);
    return CUDA_SUCCESS;
}

DRIVER_API int cuStreamIsCapturing(void* handle, int* status) {
    ENTER(context);
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    *status = !stream->capture ? 0 : stream->capture->invalidated ? 2 : 1;
    return CUDA_SUCCESS;
}

DRIVER_API int cuGraphInstantiateWithFlags(void** executable, void* handle, unsigned long long) {
    ENTER(context);
    std::shared_ptr<Graph> graph = find_graph(handle);
    if (!graph) return CUDA_ERROR_INVALID_HANDLE;
    auto copy = std::make_shared<Graph>();
    copy->operations = graph->operations;
    *executable = keep_graph(copy);
    return CUDA_SUCCESS;
}

DRIVER_API int cuGraphLaunch(void* handle, void* stream_handle) {
    ENTER(context);
    std::shared_ptr<Graph> graph = find_graph(handle);
    Stream* stream = find_stream(stream_handle);
    if (!graph || !stream) return CUDA_ERROR_INVALID_HANDLE;
    for (const Operation& operation : graph->operations)
        if (Result result = enqueue(stream, operation)) return result;
    return CUDA_SUCCESS;
}

DRIVER_API int cuGraphUpload(void* handle, void* stream) {
    ENTER(context);
    return find_graph(handle) && find_stream(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// Nodes are counted, not shown.
DRIVER_API int cuGraphGetNodes(void* handle, void** nodes, size_t* count) {
    ENTER(context);
    std::shared_ptr<Graph> graph = find_graph(handle);
    if (!graph) return CUDA_ERROR_INVALID_HANDLE;
    if (nodes) return CUDA_ERROR_NOT_SUPPORTED;
    *count = graph->operations.size();
    return CUDA_SUCCESS;
}

DRIVER_API int cuGraphExecDestroy(void* handle) {
    ENTER(context);
    return graphs.erase(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

DRIVER_API int cuGraphDestroy(void* handle) {
    ENTER(context);
    return graphs.erase(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
