"""Turn a finished study into a page and a table of `docs/results/`: `python benchmarks/publish.py runs/paper_v1`.

Everything on the page comes from the study's folder; what it means is said in `docs/results/README.md`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from qkd_qiskit.console import describe_seconds
from qkd_qiskit.files import read_json
from qkd_qiskit.study.outcomes import Outcome, load_outcomes
from qkd_qiskit.study.sittings import read_sittings

SHOWN = ("qkd_qiskit", "qiskit", "qiskit-aer", "qiskit-machine-learning", "torch")


@click.command(help=__doc__)
@click.argument("study", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--title", help="The page's heading; the job file's description if not given.")
@click.option("--only", multiple=True, metavar="AXIS=LABEL", help="As the study was run, for the command on the page.")
@click.option("--seeds", help="As the study was run, for the command on the page.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True)
def publish(study: Path, title: str | None, only: tuple[str, ...], seeds: str | None, out: Path) -> None:
    """Write `OUT/NAME.md` and `OUT/NAME.csv` of a study."""
    record = read_json(study / "study.json")
    outcomes = [item for item in load_outcomes(study) if item.key in set(record["units"])]
    name = record["name"]
    restricted = [*(f" --only '{item}'" for item in only), *([f" --seeds {seeds}"] if seeds else [])]
    command = f"QKD_DATA_DIR=/path/to/data qkd-qiskit run {name}{''.join(restricted)}"
    parts = [
        f"# {title or record['description']}",
        f"    {command}\n    python benchmarks/publish.py runs/{name}",
        f"The job file is `jobs/{name}.toml`: {record['description']}. {describe_work(study, record, outcomes)}",
        f"{describe_versions(outcomes)} `{name}.csv` has counts by seed, losses, calibration errors and seconds, too.",
        (study / "table.md").read_text(encoding="utf-8").rstrip(),
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (out / f"{name}.csv").write_text((study / "table.csv").read_text(encoding="utf-8"), encoding="utf-8")
    click.echo(f"{out / name}.md, {name}.csv")


def describe_work(study: Path, record: dict[str, Any], outcomes: list[Outcome]) -> str:
    """Say how much was done and how long it took, on what."""
    trainings = {item.training: item.seconds for item in outcomes}
    found = f"{len(outcomes)} of {len(record['units'])} evaluations of {len(trainings)} trainings"
    sittings = read_sittings(study)
    phases = []
    for what in ("teachers", "cells"):
        those = [item for item in sittings if item["what"] == what]
        if those:
            seconds, where = sum(item["seconds"] for item in those), Counter(item["where"] for item in those)
            places = ", ".join(f"{place} ({count} sittings)" if count > 1 else place for place, count in where.items())
            phases.append(f"{what} {describe_seconds(seconds)} with {places} on {those[-1]['cores']} cores")
    median = sorted(trainings.values())[len(trainings) // 2]
    return f"{found}; {'; '.join(phases)}; half of the trainings took less than {median:.0f} s each."


def describe_versions(outcomes: list[Outcome]) -> str:
    """Name the versions that computed the outcomes; more than one set is said."""
    sets = Counter(
        tuple((name, item.versions.get(name)) for name in SHOWN if name in item.versions) for item in outcomes
    )
    texts = [", ".join(f"{name} {version}" for name, version in versions) for versions in sets]
    return f"Versions: {' and '.join(texts)}."


if __name__ == "__main__":
    publish()
