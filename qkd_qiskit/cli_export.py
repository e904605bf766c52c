"""`export`: a trained student in files that other programs can read."""

from __future__ import annotations

import json
from pathlib import Path

import click

from qkd_qiskit.cli_shared import shared_options


@click.command()
@click.argument("run", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="An empty or new folder.  [<run>/export]")
@shared_options
def export(run: str | None, out: Path | None, quiet: bool, as_json: bool) -> None:
    """Export a trained student (RUN, or the latest): circuits as OpenQASM 3 and QPY, weights as safetensors and JSON.

    The isa circuit is for what the student was trained on: a device with `aer_noisy` or `fake_*`, none with `aer`.

    `qkd_qiskit.load_export(FOLDER)` loads it back to the same logits, without the training images.
    """
    from qkd_qiskit.console import open_listener
    from qkd_qiskit.pipeline.exporting import export_run
    from qkd_qiskit.runs import find_run

    listener = open_listener(quiet=quiet or as_json)
    click.get_current_context().call_on_close(listener.close)
    result = export_run(find_run(run), out, listener=listener)
    if as_json:
        click.echo(json.dumps(result))
        return
    from qkd_qiskit.console import show_facts

    circuit = result["circuit"]
    show_facts(
        f"exported {result['folder']}",
        {
            "circuits": "logical and isa, each .qasm and .qpy, and *_trained with the weights bound",
            "isa": f"{circuit['device'] or 'ideal'}, depth {circuit['depth']}, {circuit['two_qubit_gates']} two-qubit "
            f"gates, qubits {circuit['measured_qubits']}",
            **({} if circuit["device"] else {"device": "none, as it was trained on aer; train on aer_noisy for one"}),
            "weights": f"weights.safetensors, {sum(result['weights'].values()):,} in all",
            "meaning": "export.json: blueprint, classes, observables, versions, SHA-256 of each file",
        },
    )
