"""What the peer benchmarks share: timing, memory, one JSON line a result."""

import json
import os
import statistics
import subprocess
import sys
import time


def memory_bytes(field):
    """Linux's own count for this process: VmHWM (peak resident) or VmRSS (resident now).

    getrusage's ru_maxrss would not do: a child inherits its parent's peak across exec.
    """
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def reset_peak():
    """Forgets this process's peak: VmHWM begins again at what it holds now."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def time_ms(step, seconds, warmup, least=3):
    """Runs `step` for about `seconds` after `warmup` runs; (wall, processor) milliseconds of each run.

    Processor time is that of all threads of this process."""
    for _ in range(warmup):
        step()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < least:
        start, processor = time.perf_counter(), time.process_time()
        step()
        times.append(((time.perf_counter() - start) * 1e3, (time.process_time() - processor) * 1e3))
    return times


def summary(times):
    """The fields every result has. The load tells whether others were at work: OpenMP's threads wait for
    each other by spinning, so on a busy machine times grow tenfold and mean nothing."""
    return {
        "load_average": round(os.getloadavg()[0], 1),
        "ms_median": round(statistics.median(wall for wall, _ in times), 3),
        "ms_min": round(min(wall for wall, _ in times), 3),
        "processor_ms_min": round(min(processor for _, processor in times), 3),
        "runs": len(times),
    }


def run_each(variants, arguments):
    """Runs this program once a variant in a fresh process, so that peak memory is that variant's."""
    failed = False
    for variant in variants:
        command = [sys.executable, sys.argv[0], "--variant", variant, *arguments]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode == 0:
            print(result.stdout.strip().splitlines()[-1], flush=True)
        else:
            failed = True
            reason = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
            print(json.dumps({"variant": variant, "error": reason}), flush=True)
    return 1 if failed else 0
