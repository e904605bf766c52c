"""Time training steps of the exact engine and its peers side by side: `python benchmarks/speed.py`.

Each contestant runs in a process of its own and steps in turn with the others, so that a busy machine slows all of
them alike; medians of the interleaved repeats are compared. A peer that can't be imported is skipped by name.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PEERS = ("TensorCircuit (jax)", "PennyLane (jax)")
QISKIT = ("EstimatorQNN + Aer", "parameter shift on Aer")
# case, batch, opponent, the opponent's batch, wanted ratio of the times a sample
ROWS = [
    ("a4", 64, "EstimatorQNN + Aer", 2, 50_000),
    ("a4", 64, "TensorCircuit (jax)", 64, 2),
    ("a4", 1024, "TensorCircuit (jax)", 1024, 4),
    ("m4", 64, "TensorCircuit (jax)", 64, 2),
    ("m4", 1024, "TensorCircuit (jax)", 1024, 4),
    ("a8", 64, "TensorCircuit (jax)", 64, 2),
    ("a8", 1024, "TensorCircuit (jax)", 1024, 4),
    ("m8", 64, "TensorCircuit (jax)", 64, 2),
    ("m8", 1024, "TensorCircuit (jax)", 1024, 4),
    ("n4", 64, "TensorCircuit (jax)", 64, 5),
    ("n4", 1024, "TensorCircuit (jax)", 1024, 15),
    ("n8", 16, "PennyLane (jax)", 16, 5),
    ("n8", 64, "PennyLane (jax)", 64, 25),
    ("i4", 64, "parameter shift on Aer", 2, 500),
]


class Worker:
    """A contestant in its own process."""

    def __init__(self, python: str, name: str, case: str, batch: int):
        command = [python, str(HERE / "contestant.py"), name, case, str(batch)]
        self._process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-3, text=True, cwd=HERE.parent)
        self.batch = batch
        answer = self._read()
        self.first, self.check = answer["first"], answer["check"]

    def _read(self) -> dict:
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise ImportError

    def step(self) -> float:
        """Return the seconds of one training step."""
        print("step", file=self._process.stdin, flush=True)
        return self._read()["seconds"]

    def stop(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def compare(row: tuple, python: str, repeats: int) -> tuple[str, bool | None]:
    """Return the table's line for one case, and whether it meets its aim (None if the peer can't be imported)."""
    case, batch, name, other_batch, wanted = row
    mine = Worker(sys.executable, "exact", case, batch)
    try:
        other = Worker(python if name in PEERS else sys.executable, name, case, other_batch)
    except ImportError:
        mine.stop()
        return f"| {case} | {batch} | {name} | skipped: not importable | | | {wanted:,} | | |", None
    seconds: dict[Worker, list[float]] = {mine: [], other: []}
    slow = other.step() > 2.0
    for _ in range(2 if slow else repeats):
        for worker in (other, mine, mine, mine) if slow else (other, mine):
            seconds[worker].append(worker.step())
    for worker in (mine, other):
        worker.stop()
    ms = [statistics.median(seconds[worker]) / worker.batch * 1e3 for worker in (mine, other)]
    best = [min(seconds[worker]) / worker.batch * 1e3 for worker in (mine, other)]
    agree = max(abs(a - b) / (1 + abs(a)) for a, b in zip(mine.check, other.check)) if batch == other_batch else None
    line = (
        f"| {case} | {batch} | {name} | {ms[1]:.4g} ({best[1]:.4g}) | {ms[0]:.4g} ({best[0]:.4g}) | "
        f"{ms[1] / ms[0]:,.1f} | {wanted:,} | {other.first / mine.first:,.0f} ({mine.first:.2f} s) | "
        f"{'' if agree is None else f'{agree:.0e}'} |"
    )
    return line, ms[1] / ms[0] >= wanted


def versions(python: str) -> str:
    """Return the versions of what is compared, as far as each Python can import it."""
    code = (
        "from importlib.metadata import PackageNotFoundError as E, version as v\n"
        "for n in {names!r}:\n    try: print(n, v(n), end=', ')\n    except E: pass"
    )
    ours, theirs = ["numpy", "torch", "qiskit", "qiskit-aer"], ["tensorcircuit-ng", "pennylane", "jax"]
    commands = [(sys.executable, ours), (python, theirs)]
    parts = [subprocess.run([who, "-c", code.format(names=n)], capture_output=True, text=True) for who, n in commands]
    return "".join(part.stdout for part in parts).rstrip(", ")


def summary(verdicts: dict[str, bool | None], python: str, repeats: int, load: float) -> str:
    """Return one line: machine, load, versions, repeats, and whether every aim was met."""
    from qkd_qiskit.exact.compiled import has_kernel

    missed = [name for name, met in verdicts.items() if met is False]
    skipped = [name for name, met in verdicts.items() if met is None]
    verdict = f"aims not met: {', '.join(missed)}" if missed else f"every aim met ({len(verdicts) - len(skipped)} rows)"
    if skipped:
        verdict += f"; skipped: {', '.join(skipped)}"
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after; "
        f"Python {platform.python_version()}, {versions(python)}; kernel {'built' if has_kernel() else 'absent'}; "
        f"{repeats} repeats; {verdict}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", default=sys.executable, help="Python that has the peers installed")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="*", help="cases, such as a4 n8")
    parser.add_argument("--out", type=Path, help="write what is printed to this file too, a row at a time")
    options = parser.parse_args()
    out = options.out.open("w") if options.out else None

    def say(line: str) -> None:
        print(line, flush=True)
        if out:
            print(line, file=out, flush=True)

    load = os.getloadavg()[0]
    say("Milliseconds a sample, forward and backward: median (minimum) of interleaved repeats.\n")
    say("| case | batch | against | theirs | ours | times faster | aim | first step: times faster | differ by |")
    say("|---|---|---|---|---|---|---|---|---|")
    verdicts: dict[str, bool | None] = {}
    for row in ROWS:
        if not options.only or row[0] in options.only:
            line, verdicts[f"{row[0]} {row[1]} against {row[2]}"] = compare(row, options.peer_python, options.repeats)
            say(line)
    say("\n" + summary(verdicts, options.peer_python, options.repeats, load))


if __name__ == "__main__":
    main()
