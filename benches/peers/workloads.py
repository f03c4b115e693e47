"""What the peers' programs share: workloads by the names and options of `gradpath bench`, its table, JSON and CSV.

Nothing here imports a framework, so that one framework's memory is not counted as another's.
"""

import argparse
import csv
import dataclasses
import json
import os
import statistics
import subprocess
import sys

BLOCKS = ["conv1", "conv3", "bottleneck", "resx", "csp", "csp-fusion-first", "csp-fusion-last", "prn", "elan",
          "dense", "sparse", "osa"]
NETWORKS = {"elan-nano": 160, "csp-nano": 160, "prn-nano": 160, "yolov7-tiny": 416}
HAS_SPLIT = {"csp", "csp-fusion-first", "csp-fusion-last", "prn"}
DTYPES = ["f32", "bf16", "f16"]

# The columns of `gradpath bench --csv`. A peer leaves empty what it does not know.
COLUMNS = ["device", "what", "variant", "mode", "n", "h", "w", "c", "layers", "depth", "split", "runs", "seconds",
           "least_seconds", "lower_quartile_seconds", "upper_quartile_seconds", "time_ratio", "parameters", "flops",
           "bytes", "planned_bytes", "held_bytes", "kernels", "flops_per_second", "bytes_per_second",
           "share_of_compute", "share_of_memory", "roofline_seconds", "bound", "compute_ceiling", "memory_ceiling"]
# What names a workload, in these.
KEY = ["what", "mode", "n", "h", "w", "c", "layers", "depth", "split"]


@dataclasses.dataclass(frozen=True)
class Workload:
    """A block or network, what enters it `[n, h, w, c]`, and whether it is a training step."""

    what: str
    training: bool
    n: int
    h: int
    w: int
    c: int
    layers: int = 2
    depth: int = 1
    split: float = 0.5
    classes: int = 80

    @property
    def is_block(self):
        return self.what in BLOCKS

    @property
    def mode(self):
        return "training" if self.training else "inference"

    def described(self):
        """As `gradpath bench` describes it: `None` where a number is no part of it."""
        return {
            "what": self.what, "mode": self.mode, "n": self.n, "h": self.h, "w": self.w, "c": self.c,
            "layers": self.layers if self.is_block else None,
            "depth": self.depth if self.what == "elan" else None,
            "split": self.split if self.what in HAS_SPLIT else None,
        }

    def heading(self):
        """As `gradpath bench` has it."""
        text, facts = self.what, self.described()
        if facts["split"] is not None:
            text += f", γ {self.split:g}"
        if facts["depth"] is not None:
            text += f", {self.layers} groups of {self.depth}"
        elif facts["layers"] is not None:
            text += f", {self.layers} layer" + ("s" if self.layers > 1 else "")
        return f"{text}, input [{self.n}, {self.h}, {self.w}, {self.c}], {self.mode}"


def parser(description, variants):
    """The options of `gradpath bench`, as far as a peer has them."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("what", nargs="*", metavar="WHAT", help=f"{', '.join([*BLOCKS, *NETWORKS])} [csp prn elan]")
    options.add_argument("--channels", default="64", metavar="C", help="that enter a block; several by comma")
    options.add_argument("--size", metavar="SIZE", help="80, or width and height as 80x40; several by comma")
    options.add_argument("--batch", default="1", metavar="N", help="images a batch; several by comma")
    options.add_argument("--layers", type=int, default=2, help="of a block; groups of ELAN")
    options.add_argument("--depth", type=int, default=1, help="units in each of ELAN's groups")
    options.add_argument("--split", type=float, default=0.5, help="the share of CSP's block, of PRN's mask")
    options.add_argument("--classes", type=int, default=80, help="of a network's heads")
    options.add_argument("--training", action="store_true", help="forward, loss, backward, SGD")
    options.add_argument("--without", action="store_true", help="also the same stage without CSP, PRN, ELAN, OSA")
    options.add_argument("--seconds", type=float, default=2.0, help="for each workload and variant")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options.add_argument("--dtype", choices=DTYPES, default="f32")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="on the cpu")
    options.add_argument("--variants", help=f"of {', '.join(variants)}; several by comma")
    options.add_argument("--json", action="store_true", help="print JSON")
    options.add_argument("--csv", metavar="FILE", help="also write a table, one row a measurement")
    options.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    return options


def workloads(options):
    """All combinations of what was asked for."""
    found = []
    for what in options.what or ["csp", "prn", "elan"]:
        if what not in BLOCKS and what not in NETWORKS:
            sys.exit(f"there is no block and no network {what!r}; use some of {', '.join([*BLOCKS, *NETWORKS])}")
        sizes = (options.size or str(NETWORKS.get(what, 80))).split(",")
        for channels in options.channels.split(",") if what in BLOCKS else ["3"]:
            for size in sizes:
                w, h = (size.split("x") * 2)[:2]
                for batch in options.batch.split(","):
                    found.append(Workload(what, options.training, int(batch), int(h), int(w), int(channels),
                                          options.layers, options.depth, options.split, options.classes))
    return found


def chosen(options, variants, default):
    """The variants asked for."""
    wanted = options.variants.split(",") if options.variants else default
    for variant in wanted:
        if variant not in variants:
            sys.exit(f"there is no variant {variant!r}; use some of {', '.join(variants)}")
    return wanted


def timing(seconds):
    """What times come to, as `gradpath bench --json` has it."""
    seconds = sorted(seconds)
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    return {"runs": len(seconds), "median": quartiles[1], "least": seconds[0], "lower_quartile": quartiles[0],
            "upper_quartile": quartiles[2]}


def alone(program, payload):
    """Runs one measurement of `program` in a process of its own, so that the peak of its memory is its own."""
    command = [sys.executable, program, "--one", json.dumps(payload)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    lines = result.stdout.strip().splitlines()
    if result.returncode == 0 and lines:
        return json.loads(lines[-1])
    reasons = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    return {"error": reasons[-1][:300]}


def finished(measurement, first):
    """A measurement with what follows from its time; `first` is the one that ratios are to."""
    if "error" in measurement:
        return measurement
    median = measurement["time"]["median"]
    measurement["time_ratio"] = median / first["time"]["median"] if first else 1.0
    measurement["flops_per_second"] = measurement["flops"] / median
    return measurement


def in_words(count):
    """Bytes with a binary prefix."""
    if count is None:
        return "–"
    for prefix in ["B", "KiB", "MiB"]:
        if count < 1023.5:
            return f"{count:.0f} {prefix}" if prefix == "B" or count >= 9.95 else f"{count:.1f} {prefix}"
        count /= 1024
    return f"{count:.1f} GiB"


def duration(seconds):
    """A time in three digits."""
    for factor, unit in [(1, "s"), (1e3, "ms"), (1e6, "µs")]:
        if seconds * factor >= 0.9995 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}"
    return ""


def table(columns, rows):
    """Rows of text under `columns`; the first is of names, the others are of numbers."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = []
    for row in [columns, *rows]:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def text(measured):
    """The table of a workload, in the form of `gradpath bench`."""
    rows = []
    for m in measured:
        if "error" in m:
            rows.append([m["name"], m["error"], "", "", "", ""])
            continue
        spread = 50 * (m["time"]["upper_quartile"] - m["time"]["lower_quartile"]) / m["time"]["median"]
        rows.append([m["name"], f"{duration(m['time']['median'])} ±{spread:.0f}%", f"{m['time_ratio']:.2f}",
                     f"{m['flops'] / 1e9:.4g}", f"{m['flops_per_second'] / 1e9:.4g}", in_words(m["held_bytes"])])
    return table(["", "time", "ratio", "GFLOP", "GFLOP/s", "held"], rows)


def row(device, workload, m):
    """A measurement as a row of the CSV."""
    cells = dict.fromkeys(COLUMNS, "")
    cells.update({key: "" if value is None else value for key, value in workload.described().items()})
    cells.update(device=device, variant=m["name"])
    if "error" not in m:
        time = m["time"]
        cells.update(runs=time["runs"], seconds=time["median"], least_seconds=time["least"],
                     lower_quartile_seconds=time["lower_quartile"], upper_quartile_seconds=time["upper_quartile"])
        for key in ["time_ratio", "parameters", "flops", "held_bytes", "flops_per_second"]:
            cells[key] = "" if m[key] is None else m[key]
    return cells


def save(path, rows, columns=COLUMNS):
    """Writes `rows`, dictionaries by column."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run(options, program, variants, default, device, measure, isolated):
    """Measures everything that was asked for, and prints it.

    `measure(payload)` makes one measurement; `isolated` asks for a process of its own for each.
    """
    if options.one:
        print(json.dumps(measure(json.loads(options.one))))
        return 0
    variants, all_workloads = chosen(options, variants, default), workloads(options)
    measured, failed = [], False
    for workload in all_workloads:
        measurements, first = [], None
        for without in [False, True] if options.without and workload.is_block else [False]:
            for variant in variants:
                payload = {"workload": dataclasses.asdict(workload), "variant": variant, "without": without,
                           "device": options.device, "dtype": options.dtype, "threads": options.threads,
                           "seconds": options.seconds}
                m = alone(program, payload) if isolated else measure(payload)
                if m is None:
                    continue
                m.setdefault("name", variant + (" (without)" if without else ""))
                failed |= "error" in m
                measurements.append(finished(m, first))
                first = first or (m if "error" not in m else None)
        measured.append((workload, measurements))
        if not options.json:
            heading = f"{device}; load {os.getloadavg()[0]:.1f}\n" if len(measured) == 1 else ""
            print(f"{heading}\n{workload.heading()}\n{text(measurements)}", flush=True)
    if options.csv:
        save(options.csv, [row(device, workload, m) for workload, measurements in measured for m in measurements])
    if options.json:
        described = [{**w.described(), "input": [w.n, w.h, w.w, w.c], "measurements": ms} for w, ms in measured]
        print(json.dumps({"device": device, "load_average": os.getloadavg()[0], "workloads": described}))
    return 1 if failed else 0
