"""Cost and peak memory of a training step against batch, qubits and layers: `python benchmarks/curves.py`.

An epoch of the real training loop is timed by `epoch.py`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
QUBITS = (2, 3, 4, 5, 6, 7, 8, 9, 10)
LAYERS = (1, 2, 4, 8, 16)
NOISY_QUBITS = 10


def measure(qubits: int, layers: int, batch: int, noisy: bool) -> dict:
    """Return median milliseconds of a step and the peak memory in MiB that it adds to the process."""
    import resource

    import torch
    from circuits import angle_circuit, depolarizing_model

    from qkd_qiskit.exact import ExactExpectation

    circuit, observables, inputs, weights = angle_circuit(qubits, layers)
    model = depolarizing_model() if noisy else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=model)
    x = torch.rand(batch, qubits, dtype=torch.float64, requires_grad=True)
    w = torch.rand(len(weights), dtype=torch.float64, requires_grad=True)
    seconds = []
    while len(seconds) < 3 or (sum(seconds) < 0.5 and len(seconds) < 50):
        start = time.perf_counter()
        exact(x, w).sum().backward()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"ms": statistics.median(seconds) * 1e3, "mib": peak / 1024}


def curve(title: str, points: list[tuple[int, int, int]], column: int) -> None:
    """Print one curve, each point measured in a process of its own."""
    print(f"\n| {title} | noiseless: ms a step | ms a sample | MiB | noisy: ms a step | ms a sample | MiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for point in points:
        cells = []
        for noisy in (False, True):
            if noisy and point[0] > NOISY_QUBITS:
                cells += ["", "", ""]
                continue
            command = [sys.executable, __file__, "--point", *(str(value) for value in point), str(int(noisy))]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            cells += [f"{found['ms']:.3g}", f"{found['ms'] / point[2]:.2g}", f"{found['mib']:.0f}"]
        print(f"| {point[column]} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", nargs=4, type=int, help="measure one point: qubits layers batch noisy")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    if options.point:
        print(json.dumps(measure(*options.point[:3], bool(options.point[3]))))
    else:
        curve("batch (4 qubits, 3 layers)", [(4, 3, batch) for batch in BATCHES], 2)
        curve("qubits (3 layers, batch 64)", [(qubits, 3, 64) for qubits in QUBITS], 0)
        curve("layers (4 qubits, batch 64)", [(4, layers, 64) for layers in LAYERS], 1)


if __name__ == "__main__":
    main()
