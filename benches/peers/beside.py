"""`gradpath bench` and its peers in turn, the same workloads, in one table: ratios are ours / theirs; below 1, we win.

    cargo build --release
    python beside.py csp prn elan --size 80 --rounds 3
    python beside.py csp-nano --training --peers torch --variants channels-last
    python beside.py --check                                # counts only: all blocks and networks, in seconds

Each round runs ours, then each peer, each in a process of its own, and so on in turn (A B C A B C): what else the
machine does falls on all alike. The table has each one's best median of the rounds. It also checks that both sides do
the same: parameters must be equal, and operations too (in training within 2 %: the peers leave out the adds of
gradients that meet). Where they are not, or where anything fails, it exits with 1.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile

import workloads

HERE = os.path.dirname(os.path.abspath(__file__))
GRADPATH = os.path.join(HERE, "..", "..", "target", "release", "gradpath")
PROGRAMS = {"torch": "blocks_torch.py", "onnx": "blocks_onnx.py"}
# In training the peers' count is not exact.
TRAINING_TOLERANCE = 0.02


def read(path):
    """The rows of a CSV."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def rows_of(command):
    """The rows of a program that takes `--csv`; what it says on stderr goes to ours where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.csv")
        result = subprocess.run([*command, "--csv", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                check=False)
        if not os.path.exists(path):
            print(f"{os.path.basename(command[0])} failed: {result.stderr.strip()[-2000:]}", file=sys.stderr)
            return []
        return read(path)


def key(row):
    """What names a workload, as numbers where it is one."""
    return tuple(float(row[k]) if row[k].replace(".", "", 1).isdigit() else row[k] for k in workloads.KEY)


def number(row, column):
    """A cell as a number, or None where it is empty."""
    return float(row[column]) if row.get(column) not in (None, "") else None


def commands(options, rest):
    """Each side's command, by name. `rest` are options that all understand."""
    common = [*options.what, "--device", options.device, "--seconds", str(options.seconds), *rest]
    ours = [options.gradpath, "bench", *common, "--threads", str(options.threads), "--dtype", options.dtype]
    found = {"gradpath": ours}
    training = "--training" in rest
    for peer in options.peers.split(","):
        if peer == "onnx" and training:
            continue
        theirs = [sys.executable, os.path.join(HERE, PROGRAMS[peer]), *common, "--threads", str(options.threads),
                  "--dtype", options.dtype]
        if options.variants:
            theirs += ["--variants", options.variants] if peer == "torch" else []
        if options.without:
            theirs.append("--without")
        found[peer] = theirs
    return found


def best_of(rows, best):
    """Keeps of each workload and variant the row with the least median."""
    for row in rows:
        name = (key(row), row["variant"])
        before, now = best.get(name), number(row, "seconds")
        if before is None or (now is not None and now < (number(before, "seconds") or float("inf"))):
            best[name] = row


def mismatch(ours, theirs):
    """What differs that must not, as a sentence, or None."""
    if number(theirs, "parameters") is None:
        return None
    if number(ours, "parameters") != number(theirs, "parameters"):
        return f"{ours['parameters']} parameters against {theirs['parameters']}"
    a, b = number(ours, "flops"), number(theirs, "flops")
    tolerance = TRAINING_TOLERANCE if ours["mode"] == "training" else 0.0
    return f"{a:.0f} operations against {b:.0f}" if abs(a - b) > tolerance * a else None


def show(sides):
    """Prints a table for each workload, and returns whether both sides did the same everywhere."""
    same, ours = True, sides["gradpath"]
    for at in dict.fromkeys(k for k, _ in ours):
        mine = {variant: row for (k, variant), row in ours.items() if k == at}
        fused, lines = mine["fused"], []
        workload = fused
        for side, rows in sides.items():
            for (k, variant), row in rows.items():
                if k != at:
                    continue
                # Stages without the block are put beside ours without it.
                stage = variant.split(", ")[1] if ", " in variant else None
                reference = mine.get(stage, fused) if side != "gradpath" else fused
                wrong = mismatch(reference, row) if side != "gradpath" else None
                same &= wrong is None
                time, held = number(row, "seconds"), number(row, "held_bytes")
                line = [variant if side == "gradpath" else f"{side}: {variant}"]
                if time is None:
                    lines.append([*line, "–", "", "", "", "", ""])
                    same = False
                    continue
                ratio, share = number(reference, "seconds") / time, ""
                if held:
                    share = f"{number(reference, 'held_bytes') / held:.2f}"
                line += [workloads.duration(time), workloads.duration(number(row, "least_seconds")), f"{ratio:.2f}",
                         workloads.in_words(held), share, wrong or ""]
                lines.append(line)
        names = {k: fused[k] for k in workloads.KEY}
        heading = f"{names['what']} {names['mode']}, input [{names['n']}, {names['h']}, {names['w']}, {names['c']}]"
        print(f"\n{heading}, {float(workload['flops']) / 1e9:.4g} GFLOP, {workload['parameters']} parameters")
        columns = ["", "median", "least", "ours/this", "held", "ours/this", ""]
        print(workloads.table(columns, lines), flush=True)
    return same


def check(options):
    """Compares parameters and operations of everything, small; whether all agree."""
    from blocks import flops, model, parameters

    blocks, networks = ["--channels", "24", "--size", "16", "--layers", "3", "--depth", "2"], ["--size", "64"]
    rows, same = [], True
    for mode in [[], ["--training"]]:
        for what, sizes in [(workloads.BLOCKS, blocks), (list(workloads.NETWORKS), networks)]:
            command = [options.gradpath, "bench", *what, *sizes, "--batch", "2", "--seconds", "0", "--device", "cpu"]
            for row in rows_of([*command, *mode]):
                if row["variant"] in ("unfused", "by layer"):
                    continue
                shape = [int(row[k]) for k in ("n", "c", "h", "w")]
                facts = [int(row[k] or 1) for k in ("layers", "depth")]
                workload = workloads.Workload(row["what"], bool(mode), shape[0], *shape[2:], shape[1], *facts,
                                              float(row["split"] or 0.5))
                net = model(workload, row["variant"] != "fused")
                counted = flops(net, shape, workload.training, workload.is_block)
                theirs = {"parameters": parameters(net), "flops": counted}
                wrong = mismatch(row, theirs)
                same &= wrong is None
                name = row["what"] + ("" if row["variant"] == "fused" else f" without: {row['variant']}")
                ratio = counted / float(row["flops"])
                rows.append([f"{name}, {row['mode']}", row["parameters"], f"{ratio:.6f}", wrong or "equal"])
    print(workloads.table(["", "parameters", "operations, theirs/ours", ""], rows))
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["csp", "prn", "elan"])
    parser.add_argument("--gradpath", default=GRADPATH, help="the program")
    parser.add_argument("--peers", default="torch,onnx", help="of torch, onnx; by comma")
    parser.add_argument("--variants", help="of the torch peer")
    parser.add_argument("--without", action="store_true", help="also the stages without their blocks")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each workload")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=workloads.DTYPES, default="f32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--csv", metavar="FILE", help="also write every row")
    parser.add_argument("--check", action="store_true", help="only compare parameters and operations of everything")
    options, rest = parser.parse_known_args()
    if not os.path.exists(options.gradpath):
        sys.exit(f"{options.gradpath} is missing: run `cargo build --release`, or name the program with --gradpath")
    if options.check:
        return 0 if check(options) else 1
    sides, names, loads = {}, {}, []
    for _ in range(options.rounds):
        for side, command in commands(options, rest).items():
            rows = rows_of(command)
            loads.append(os.getloadavg()[0])
            best_of(rows, sides.setdefault(side, {}))
            names.update({side: row["device"] for row in rows[:1]})
    if not sides.get("gradpath"):
        return 1
    for side, name in names.items():
        print(f"{side}: {name}")
    print(f"{options.rounds} rounds, load {min(loads):.1f} to {max(loads):.1f}")
    same = show(sides)
    if options.csv:
        rows = [{"side": side, **row} for side, found in sides.items() for row in found.values()]
        workloads.save(options.csv, rows, ["side", *workloads.COLUMNS])
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
