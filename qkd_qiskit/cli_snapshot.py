"""`snapshot`: a device's calibration of today in a file, to train and evaluate under its noise later."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from qkd_qiskit.cli_shared import shared_options


@click.command()
@click.argument("device")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("snapshots"), show_default=True, help="Folder of the file."
)
@click.option("--account", metavar="NAME", help="A saved IBM account.  [environment, or the default one]")
@shared_options
def snapshot(device: str, out: Path, account: str | None, quiet: bool, as_json: bool) -> None:
    """Keep the calibration of DEVICE (ibm_* of your account, or fake_*) in a file; reads only, so it is free.

    The file stands wherever the name of a fake device may stand, and works without an account. The same calibration
    gets the same file name.
    """
    from qkd_qiskit.execution.snapshots import take_snapshot

    result = take_snapshot(device, out, account=account)
    if as_json:
        click.echo(json.dumps(result))
        return
    from qkd_qiskit.console import show_facts

    path = shlex.quote(result["snapshot"])
    show_facts(
        f"{result['device']} as calibrated {result['calibrated']}",
        {
            "snapshot": result["snapshot"] + ("" if result["new"] else ", which was there already"),
            "train": f"qkd-qiskit train --backend aer_noisy --set backend.noise={path}",
            "evaluate": f"qkd-qiskit evaluate --backend aer_noisy --set noise={path}",
            "with shots": f"qkd-qiskit evaluate --backend {path}",
            "in a TOML": f'kind = "fake", device = {json.dumps(result["snapshot"])}',
        },
    )
