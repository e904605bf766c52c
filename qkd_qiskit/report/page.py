"""The page: sections of figures with captions and tables, into one HTML file that needs nothing else."""

from __future__ import annotations

from typing import Any

from qkd_qiskit.report import tables, wording
from qkd_qiskit.report.comparison_page import condition_section
from qkd_qiskit.report.figures.accuracies import draw_accuracies
from qkd_qiskit.report.figures.circuit import draw_circuit
from qkd_qiskit.report.figures.confusion import draw_confusion
from qkd_qiskit.report.figures.curves import draw_curves
from qkd_qiskit.report.figures.device import draw_device
from qkd_qiskit.report.figures.expectations import draw_expectations
from qkd_qiskit.report.figures.reliability import draw_reliability
from qkd_qiskit.report.parts import Drawing, Section, Table, fill_page

NO_CHART = "There is no map of the device: the run is of a version that did not keep the errors of unused qubits."


def render_page(numbers: dict[str, Any]) -> str:
    """Draw every figure and fill the page.

    Args:
        numbers: from `collect_report`.
    """
    return fill_page(
        run_sections(numbers),
        title=wording.title(numbers),
        run=numbers["run"],
        lead=wording.lead(numbers),
        notes=wording.notes(numbers),
        schema=numbers["schema"],
        version=(numbers["environment"].get("versions") or {}).get("qkd_qiskit"),
    )


def run_sections(numbers: dict[str, Any], prefix: str = "") -> list[Section]:
    """Draw every figure of a run.

    Args:
        numbers: from `collect_report`.
        prefix: makes the names of its drawings unique on a page of several runs.
    """
    evaluations = [
        _evaluation_section(numbers, item, f"{prefix}e{place + 1}") for place, item in enumerate(numbers["evaluations"])
    ]
    if not evaluations:
        reason = "There is no finished evaluation: `qkd-qiskit evaluate RUN --backend fake_brisbane` makes one."
        evaluations = [Section(f"{prefix}evaluations", "On backends", missing=reason)]
    return [
        _accuracy_section(numbers, prefix),
        *evaluations,
        condition_section(numbers["conditions"], f"{prefix}conditions"),
        _training_section(numbers, prefix),
        _circuit_section(numbers, prefix),
        _settings_section(numbers, prefix),
    ]


def _accuracy_section(numbers: dict[str, Any], prefix: str) -> Section:
    if not numbers["accuracies"]:
        return Section(f"{prefix}accuracy", "Accuracy", missing="No test image has been classified yet.")
    samples = sorted({row["samples"] for row in numbers["accuracies"]}, reverse=True)
    backends = list(dict.fromkeys(row["backend"] for row in numbers["accuracies"] if row["backend"]))
    shots = sorted({row["shots"] for row in numbers["accuracies"] if row["shots"] is not None})
    caption = (
        "Diamond: teacher. Square: the student in its training conditions. Filled circle: on a backend; open "
        "circle: the same samples without noise. Bars are 95 % Wilson intervals."
    )
    line = wording.provenance(
        numbers,
        f"n = {', '.join(f'{count:,}' for count in samples)} test images",
        ", ".join(f"{count:,} shots" if count else "exact" for count in shots) or "no shots",
        backend=", ".join(backends),
        dates=[numbers["facts"]["calibration_date"], *(row["calibration_date"] for row in numbers["accuracies"])],
    )
    drawing = Drawing(
        [draw_accuracies(numbers["accuracies"], len(numbers["facts"]["classes"]), f"{prefix}accuracies")],
        caption,
        line,
        large=True,
    )
    note = (
        "Noiseless: the same weights on the same samples. Points: paired difference, 95 % interval of Agresti and Min."
    )
    return Section(f"{prefix}accuracy", "Accuracy", "", [drawing], [Table(note, *wording.accuracy_table(numbers))])


def _evaluation_section(numbers: dict[str, Any], item: dict[str, Any], name: str) -> Section:
    line = wording.provenance(
        numbers,
        f"n = {item['samples']:,} test images",
        wording.count_shots(item["shots"]),
        backend=item["title"],
        dates=[item["calibration_date"]],
    )
    drawings = [
        Drawing(
            draw_expectations(item, name), _describe_expectations(item), line, table=tables.list_expectations(item)
        ),
        Drawing(
            [*draw_confusion(item, name), draw_reliability(item, name)],
            "Confusion matrices: counts, shaded by the share of the true class, 0 to 1 in both. Reliability: accuracy "
            "of the answers in each bin of confidence with its 95 % Wilson interval, and how confidences are spread; "
            "ECE is the expected calibration error over ten bins, before any calibration.",
            line,
            table=tables.list_reliability(item),
        ),
    ]
    heading = f"On {item['title']}: {item['samples']:,} images, {wording.count_shots(item['shots'])}"
    return Section(name, heading, _describe_evaluation(item), drawings)


def _describe_evaluation(item: dict[str, Any]) -> str:
    counts, against = item["counts"], item["against_noiseless"]
    said = [f"{counts['correct']:,} of {counts['samples']:,} right, {counts['noiseless_correct']:,} without noise"]
    said.append(f"{against['lost']} lost and {against['gained']} gained by the backend")
    if item["circuit_executions"]:
        said.append(f"{item['circuit_executions']:,} circuit executions")
    if item["qpu_seconds_charged"] is not None:
        said.append(f"{item['qpu_seconds_charged']:.0f} QPU seconds charged")
    elif item["qpu_seconds_estimated"] is not None:
        said.append(f"about {item['qpu_seconds_estimated']:.0f} QPU seconds on hardware")
    if item["job_ids"]:
        said.append(f"job {', '.join(item['job_ids'])}")
    return "; ".join(said) + "."


def _describe_expectations(item: dict[str, Any]) -> str:
    numbers = item["expectations"]
    shown = sum(len(group["ideal"]) for group in numbers["points"])
    part = "all" if shown == numbers["pairs"] else f"{shown:,} (drawn at random) of"
    said = (
        f"Each point is one observable of one sample: {part} {numbers['pairs']:,} pairs of {numbers['observables']} "
        "observables, coloured by the number of qubits they act on; the lines are fitted to all pairs. Dashed: no "
        "noise at all. A slope below 1 is contraction, which a head can undo; what is left beside the line it can't."
    )
    if numbers["residuals"]:
        said += (
            " Residuals: outlined, as measured; filled, with each observable's own line taken off; dashed, what shot "
            "noise alone would give."
        )
    return said


def _training_section(numbers: dict[str, Any], prefix: str) -> Section:
    training = numbers["training"]
    if training is None:
        return Section(f"{prefix}training", "Training", missing="No epoch has ended yet.")
    caption = f"{training['formula']}; parts are drawn before weighting."
    if any(training["distillation_loss"]) and training["temperature"] is not None:
        caption += f" Temperature {training['temperature']:g}."
    caption += " The best epoch is the one with the highest validation accuracy; its weights are evaluated."
    line = wording.provenance(
        numbers,
        f"n = {training['train_samples']:,} training, {training['validation_samples']:,} validation images",
        "exact, no shots",
        dates=[numbers["facts"]["calibration_date"]],
    )
    drawing = Drawing(draw_curves(training, prefix), caption, line, large=True, table=tables.list_epochs(training))
    return Section(f"{prefix}training", "Training", "", [drawing])


def _circuit_section(numbers: dict[str, Any], prefix: str) -> Section:
    circuit, drawings, missing = numbers["circuit"], [], ""
    if circuit is None:
        missing = "The circuit has not been compiled yet."
    elif circuit["gates"] is None:
        missing = f"The drawing is left out: {circuit['num_gates']:,} gates would be too many to read."
    else:
        boxed = f" The encoding's {circuit['boxed_gates']} gates are one box." if circuit["boxed_gates"] else ""
        caption = (
            f"Logical circuit: depth {circuit['depth']}, {circuit['two_qubit_gates']} two-qubit gates. Tinted gates "
            f"turn by the sample's {circuit['inputs']} encoding angles x, plain ones by the {circuit['weights']} "
            f"trained angles w.{boxed}"
        )
        line = wording.provenance(
            numbers, "the same circuit for every sample", dates=[numbers["facts"]["calibration_date"]]
        )
        drawings = [Drawing([draw_circuit(circuit, prefix)], caption, line, large=True)]
    drawings += [_draw_map(numbers, item, f"{prefix}map{place}") for place, item in enumerate(numbers["devices"])]
    if not numbers["devices"] and any(row["device"] for row in numbers["isa"]):
        missing = (missing + " " + NO_CHART).strip()
    note = "Compiled circuits. Layout: the physical qubit of each logical one, in order."
    tables = [Table(note, *wording.isa_table(numbers))] if numbers["isa"] else []
    return Section(f"{prefix}circuit", "Circuit", "", drawings, tables, missing)


def _draw_map(numbers: dict[str, Any], device: dict[str, Any], name: str) -> Drawing:
    used = ", ".join(dict.fromkeys(device["used_by"]))
    caption = (
        f"{device['device']}: every qubit coloured by its readout error, every coupling by its two-qubit error, in "
        "quarters of equal number from the lowest errors to the highest. Ringed and thick: the qubits the circuit is "
        f"laid on and the couplings between them ({used}). Dotted: a coupling that is broken or has no known error."
    )
    line = wording.provenance(numbers, "the layout of every sample", "no shots", backend=used, dates=[device["date"]])
    return Drawing([draw_device(device, name)], caption, line, large=True, table=tables.list_device(device))


def _settings_section(numbers: dict[str, Any], prefix: str) -> Section:
    environment = {
        key: value
        for key, value in numbers["environment"].items()
        if key not in ("versions", "circuit", "calibration", "images_sha256")
    }
    versions = numbers["environment"].get("versions") or {}
    images = numbers["environment"].get("images_sha256") or {}
    rows = wording.flatten({**versions, **environment, "images_sha256": images})
    tables = [Table("Settings", ["setting", "value"], wording.flatten(numbers["settings"]), small=True)]
    if rows:
        tables.append(Table("Environment of the training", ["", "value"], rows, small=True))
    return Section(f"{prefix}settings", "Settings and environment", tables=tables)
