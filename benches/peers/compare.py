"""gradpath beside its peers, in one table: time and memory as ratios (ours / theirs; below 1, we win).

    cargo build --release --example speed
    python compare.py [--threads 2] [--rounds 3] [--seconds 4] [--variants onnxruntime,channels-last]

Every round runs ours, then each peer, each in a process of its own, and so on in turn (A B C A B C):
what else the machine does falls on all of them alike. The table has the least time of all rounds,
since whatever disturbs only adds, and the load while it ran. On a busy machine the peers' OpenMP
threads wait for each other by spinning, which makes them look many times slower than they are: the
fair comparison is then the processor time of `--threads 1`.
"""

import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = os.path.join(HERE, "..", "..", "target", "release", "examples", "speed")

# Name, our arguments, the peers' program, its variants, its arguments.
WORKLOADS = [
    ("inference, 416, batch 1", ["--size", "416", "--batch", "1"], "inference.py",
     ["onnxruntime", "torch-channels-last"]),
    ("training step, 416, batch 8", ["--size", "416", "--batch", "8"], "training.py",
     ["channels-last", "compile"]),
]

FIELDS = ["ms_min", "processor_ms_min", "peak_rss_bytes"]


def run(command):
    """The JSON object in a program's last line, or None with a word on stderr."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        print(f"{command[0]} failed: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workload", default="", help="only those whose name has this in it")
    parser.add_argument("--variants", default="", help="only these peers, by comma")
    options = parser.parse_args()
    if not os.path.exists(OURS):
        sys.exit(f"{OURS} is missing: run `cargo build --release --example speed`")
    wanted = options.variants.split(",") if options.variants else None
    for name, arguments, program, variants in WORKLOADS:
        if options.workload not in name:
            continue
        variants = [v for v in variants if wanted is None or v in wanted]
        common = ["--threads", str(options.threads), "--seconds", str(options.seconds), *arguments]
        ours = [OURS, "--network", "yolov7-tiny", *common] + (["--training"] if program == "training.py" else [])
        theirs = [sys.executable, os.path.join(HERE, program), *common, "--variant"]
        commands = {"gradpath": ours, **{v: [*theirs, v] for v in variants}}
        least, loads = {}, []
        for _ in range(options.rounds):
            for label, command in commands.items():
                result = run(command)
                loads.append(os.getloadavg()[0])
                if result is not None:
                    best = least.setdefault(label, {field: float("inf") for field in FIELDS})
                    best.update({field: min(best[field], result[field]) for field in FIELDS})
        if "gradpath" not in least:
            return 1
        load = f"load {min(loads):.1f} to {max(loads):.1f}"
        print(f"yolov7-tiny, {name}, {options.threads} threads, {options.rounds} rounds, {load}")
        print(f"{'':20} {'wall ms':>9} {'processor ms':>13} {'peak MiB':>9}   ours/theirs: wall processor memory")
        for label, best in least.items():
            wall, processor, peak = (best[field] for field in FIELDS)
            line = f"{label:20} {wall:9.1f} {processor:13.1f} {peak / 2**20:9.0f}"
            if label != "gradpath":
                ratio = [least["gradpath"][field] / best[field] for field in FIELDS]
                line += f"   {ratio[0]:17.2f} {ratio[1]:9.2f} {ratio[2]:6.2f}"
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
