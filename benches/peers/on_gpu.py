"""Everything that is to be measured on a GPU, in one command: gradpath and PyTorch, written to one CSV.

    python on_gpu.py --gradpath ./gradpath                  # CSP, PRN, ELAN at 160², 80², 40², 20²; bf16 and f32
    python on_gpu.py --gradpath ./gradpath --variants channels-last,graph    # without compiling, which takes minutes
    python on_gpu.py --gradpath ./gradpath --deadline 540   # stops in time; the same command goes on
    python on_gpu.py --device cpu --size 16 --dtypes f32 --seconds 0.05 --variants eager   # the plumbing, anywhere

Needs the program `gradpath` (copied from where it was built) and PyTorch; no Rust. Where gradpath cannot be had,
PyTorch's side is measured alone. The file is benches/results/<device>-<date>.csv: the columns of `gradpath bench --csv`
behind `side` and `dtype`. It is written after each step, and what is in it already is not measured again; what failed
is. Both sides are measured in turn, workload by workload, so that a GPU that throttles throttles both.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
import time

import workloads
from beside import best_of, read, show
from blocks_torch import DEFAULT

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "..", "results")
FILE_COLUMNS = ["side", "dtype", *workloads.COLUMNS]
# A torch process compiles for minutes, and a stuck one must not take the rest with it.
LONGEST_STEP = 1800


def steps(options):
    """(side, dtype, what, size, training): in turn, the small sizes last."""
    for dtype in options.dtypes.split(","):
        for training in options.modes.split(","):
            for what in options.what or ["csp", "prn", "elan"]:
                for size in options.size.split(","):
                    for side in ["gradpath", "torch"]:
                        yield side, dtype, what, size, training == "training"


def command_of(options, step, variants):
    """The command of a step for `variants` (of PyTorch), without where it writes."""
    side, dtype, what, size, training = step
    common = [what, "--size", size, "--channels", options.channels, "--batch", options.batch,
              "--layers", str(options.layers), "--seconds", str(options.seconds), "--device", options.device,
              "--dtype", dtype, *(["--training"] if training else [])]
    if side == "gradpath":
        return [options.gradpath, "bench", *common]
    return [sys.executable, os.path.join(HERE, "blocks_torch.py"), *common, "--variants", ",".join(variants)]


def is_of(row, step):
    """Whether a row of the file is of that step."""
    side, dtype, what, size, training = step
    mode = "training" if training else "inference"
    w, h = (size.split("x") * 2)[:2]
    return [row[k] for k in ("side", "dtype", "what", "w", "h", "mode")] == [side, dtype, what, w, h, mode]


def missing(options, step, rows):
    """Of PyTorch the variants of that step that were not measured yet; of gradpath `fused` stands for all."""
    wanted = ["fused"]
    if step[0] == "torch":
        wanted = options.variants.split(",") if options.variants else DEFAULT[options.device]
    measured = {row["variant"] for row in rows if is_of(row, step) and row["seconds"] != ""}
    return [variant for variant in wanted if variant not in measured]


def device_name(options):
    """A word for the file's name."""
    if options.device == "cpu":
        return "cpu"
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        text = "gpu"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def environment(options):
    """Driver, clocks and load, for the log: what else decides a GPU's times."""
    lines = [f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"]
    if options.device == "cuda":
        query = "name,driver_version,clocks.sm,clocks.max.sm,power.limit,temperature.gpu,utilization.gpu"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv"]
        try:
            lines += subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError) as error:
            lines.append(f"nvidia-smi: {error}")
    return "\n".join(lines)


def summary(rows):
    """Both sides of every workload in a table, each element type for itself; whether they did the same."""
    same = True
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        sides = {}
        for row in rows:
            if row["dtype"] == dtype:
                best_of([row], sides.setdefault(row["side"], {}))
        print(f"\n=== {dtype}")
        if "gradpath" in sides:
            same &= show({"gradpath": sides.pop("gradpath"), **sides})
        else:
            for (_, variant), row in sides.get("torch", {}).items():
                seconds = row["seconds"] and workloads.duration(float(row["seconds"]))
                print(f"{row['what']:8} {row['mode']:10} {row['w']}x{row['h']} {variant:16} {seconds or 'failed'}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="WHAT", help="blocks and networks [csp prn elan]")
    parser.add_argument("--gradpath", metavar="PROGRAM", help="the program; without it, PyTorch's side alone")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtypes", default="bf16,f32")
    parser.add_argument("--modes", default="inference,training")
    parser.add_argument("--size", default="160,80,40,20")
    parser.add_argument("--channels", default="64")
    parser.add_argument("--batch", default="1", help="several by comma")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--variants", help="of blocks_torch.py [channels-last,graph,compile on a GPU]")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each workload and variant")
    parser.add_argument("--deadline", type=float, metavar="S", help="begin no step after so many seconds")
    parser.add_argument("--output", metavar="FILE", help="instead of results/<device>-<date>.csv")
    options = parser.parse_args()
    path = options.output
    if path is None:
        os.makedirs(RESULTS, exist_ok=True)
        path = os.path.join(RESULTS, f"{device_name(options)}-{datetime.date.today()}.csv")
    rows = read(path) if os.path.exists(path) else []
    print(environment(options), flush=True)
    begun, failed, left = time.monotonic(), False, 0
    for step in steps(options):
        side, dtype, what, size, training = step
        variants = missing(options, step, rows)
        if not variants or (side == "gradpath" and options.gradpath is None):
            continue
        spent = time.monotonic() - begun
        if options.deadline is not None and spent > options.deadline:
            left += 1
            continue
        name = f"{side} {dtype} {what} {size} {'training' if training else 'inference'}"
        limit = LONGEST_STEP if options.deadline is None else max(options.deadline - spent + 30, 60)
        with tempfile.TemporaryDirectory() as folder:
            part = os.path.join(folder, "bench.csv")
            command = [*command_of(options, step, variants), "--csv", part]
            try:
                result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        timeout=limit, check=False)
                said = result.stdout.strip()
            except (OSError, subprocess.TimeoutExpired) as error:
                said = str(error)
            measured = read(part) if os.path.exists(part) else []
        if not measured or all(row["seconds"] == "" for row in measured):
            failed = True
            print(f"{name}: FAILED\n{said[-2000:]}", flush=True)
        else:
            took = time.monotonic() - begun - spent
            times = ", ".join(f"{row['variant']} {workloads.duration(float(row['seconds']))}"
                              for row in measured if row["seconds"])
            print(f"{name}: {times} (took {took:.0f} s)", flush=True)
            if any(row["seconds"] == "" for row in measured):
                failed = True
                print(said[-2000:], flush=True)
        # What failed before, and was tried again.
        rows = [row for row in rows if row["seconds"] != "" or not is_of(row, step)]
        rows += [{"side": side, "dtype": dtype, **row} for row in measured]
        workloads.save(path, rows, FILE_COLUMNS)
    same = summary(rows) if rows else True
    print(f"\n{path}: {len(rows)} rows" + (f"; {left} steps are left: run the same command again" if left else ""))
    return 0 if same and not failed and not left else 1


if __name__ == "__main__":
    sys.exit(main())
