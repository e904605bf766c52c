"""The command line: convert, call the library, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from qkd_qiskit._version import __version__
from qkd_qiskit.cli_evaluate import estimate, evaluate
from qkd_qiskit.cli_export import export
from qkd_qiskit.cli_jobs import doctor, jobs
from qkd_qiskit.cli_run import run_command
from qkd_qiskit.cli_shared import open_followers, shared_options, show_training, track_option
from qkd_qiskit.cli_snapshot import snapshot
from qkd_qiskit.exceptions import InterruptedRunError, QkdError
from qkd_qiskit.redaction import hide_secrets, redact
from qkd_qiskit.stopping import Stop, stop_on_signals

EXIT_CODES = """
\b
Exit codes:
  0    fine
  1    something else went wrong
  2    wrong usage, setting or job file
  3    images, a teacher's file or a snapshot are missing or damaged
  4    a backend, account or job is unknown, unreachable or failed
  5    a run directory or checkpoint is missing, damaged, in use or can't be written
  6    undecided: nobody knows whether a paid job exists, so nothing was submitted; ask again later
  7    the service refuses the account: its token is wrong, expired or revoked
  8    the price is above what is allowed or left, or was not confirmed; nothing was submitted
  9    the ledger of paid jobs is in use by another process, damaged, or can't be written
  130  interrupted with Ctrl-C; what was finished is kept
  143  the same by SIGTERM (129 by SIGHUP)
"""


class _Commands(click.Group):
    """A group whose commands turn the package's errors into one message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        with hide_secrets(), stop_on_signals() as stop:
            return self._invoke(ctx, stop)

    def _invoke(self, ctx: click.Context, stop: Stop) -> Any:
        try:
            return super().invoke(ctx)
        except InterruptedRunError as error:
            _fail(ctx, str(error), stop.exit_code(error.exit_code))
        except QkdError as error:
            _fail(ctx, f"error: {error}", error.exit_code)
        except (KeyboardInterrupt, click.exceptions.Abort):
            message = "interrupted; what was finished is kept, the same command goes on from there"
            _fail(ctx, message, stop.exit_code(InterruptedRunError.exit_code))
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output has gone; there is nobody to tell
            sys.exit(1)


def _fail(ctx: click.Context, message: str, code: int) -> None:
    """Say why the command ends, as one JSON object as well if that was asked for, and end it."""
    message = redact(message)
    if ctx.obj == "json":
        click.echo(json.dumps({"error": message.removeprefix("error: "), "exit_code": code}))
    click.echo(message, err=True)
    sys.exit(code)


@click.group(
    cls=_Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="qkd-qiskit")
def main() -> None:
    """Distil a classical CNN into a quantum student, train it under a device's noise, evaluate it on IBM hardware.

    \b
      qkd-qiskit train --backend aer_noisy
      qkd-qiskit evaluate --backend fake_brisbane
      qkd-qiskit evaluate --backend ibm_brisbane
      qkd-qiskit run smoke
    """  # noqa: D301  # click wants the real character, which keeps the lines apart


TRAIN_OPTIONS: dict[str, tuple[str, Any, str]] = {
    "--dataset": ("data.dataset", str, "digits, mnist, fashion_mnist or cifar10.  [digits]"),
    "--classes": ("data.classes", str, "Such as 0-7 or 0,3,6.  [all]"),
    "--train-per-class": ("data.train_per_class", int, "The student's training images of each class.  [all]"),
    "--test-per-class": ("data.test_per_class", int, "Test images of each class.  [all]"),
    "--data-dir": ("data.data_dir", str, "Folder with the images, in torchvision's layout.  [$QKD_DATA_DIR]"),
    "--teacher": ("teacher.name", str, "lenet, alexnet, ensemble, self, none, or a .safetensors or .pt file.  [lenet]"),
    "--student": ("student.kind", str, "qnn, or hybrid (the paper's v1 student).  [qnn]"),
    "--qubits": ("student.qubits", int, "Qubits.  [4]"),
    "--ansatz": (
        "student.ansatz",
        str,
        "hardware_efficient, real_amplitudes, efficient_su2, strongly_entangling, paper_v2 or none.  "
        "[hardware_efficient]",
    ),
    "--layers": ("student.layers", int, "Layers of the ansatz.  [2]"),
    "--layer": (
        "student.layer",
        str,
        "quantum, or a control: frozen (circuit not trained), classical (as many weights, no circuit, nearly affine) "
        "or mlp (the same, nonlinear).  [quantum]",
    ),
    "--reduction": (
        "student.reduction",
        str,
        "From image to features: linear, standardised_linear, convolutional, average_pool, max_pool, centre_crop or "
        "pca.  [linear]",
    ),
    "--encoding": (
        "student.encoding",
        str,
        "From features to state: amplitude, complex_amplitude, angle, hadamard_angle, qubit, zz or reuploading.  "
        "[amplitude]",
    ),
    "--observables": (
        "student.observables",
        str,
        "parities (all Z-strings), z (one a qubit) or projectors (all bit strings).  [parities]",
    ),
    "--head": ("student.head", str, "affine, normalised or paper.  [affine]"),
    "--loss": (
        "distillation.loss",
        str,
        "kd, ce, paper, dkd, dist, logit_std, rkd or label_smoothing.  [kd with a teacher, else ce]",
    ),
    "--temperature": (
        "distillation.temperature",
        float,
        "Softens teacher and student: 4 for kd, 1.5 if hybrid.  [the loss's own]",
    ),
    "--alpha": (
        "distillation.alpha",
        float,
        "Weight of the teacher's term, (1-alpha) CE + alpha T^2 KL for kd: 0.9.  [the loss's own]",
    ),
    "--epochs": ("training.epochs", int, "Passes over the training images.  [60]"),
    "--batch-size": ("training.batch_size", int, "Images a step.  [32, hybrid 16]"),
    "--lr": ("training.learning_rate", float, "Adam's largest learning rate.  [0.02, hybrid 0.003]"),
    "--schedule": ("training.schedule", str, "cosine, one_cycle or constant.  [cosine]"),
    "--engine": ("training.engine", str, "exact, or aer (parameter shift on Aer).  [exact]"),
    "--device": ("training.device", str, "Where student and exact engine compute: cpu or cuda.  [cpu]"),
    "--seed": ("seed", int, "Decides split, weights, order and simulated counts.  [0]"),
}
"""Each option of `train` with the setting it stands for; defaults are those of `qkd_qiskit.config`."""


def _train_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, (_, kind, text) in reversed(TRAIN_OPTIONS.items()):
        command = click.option(name, type=kind, default=None, help=text)(command)
    return command


@main.command()
@click.option("--backend", default="aer", show_default=True, help="Where the circuit runs: see `qkd-qiskit backends`.")
@_train_options
@click.option("--preset", help="Named settings: paper, paper_v1, corrected or robust (against noise).")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. training.clip=0.5.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory.  [runs/<made up from settings and time>]")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Go on with an interrupted run: the one named, the one in --out, or the latest.",
)
@track_option
@shared_options
def train(
    backend: str,
    preset: str | None,
    assignments: tuple[str, ...],
    out: Path | None,
    resume: str | None,
    tracker: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a quantum student, distilling a teacher into it."""
    listener = open_followers(quiet or as_json, tracker)
    if resume is not None:
        _refuse_changes({**options, "preset": preset, "set": assignments or None}, out if resume else None)
        result = _resume(resume, out, listener)
    else:
        from qkd_qiskit.pipeline.checking import refuse_idle_teacher
        from qkd_qiskit.pipeline.jobs import read_settings
        from qkd_qiskit.pipeline.training import train_run

        content = _nest(options)
        settings = read_settings(
            {**content, "backend": backend}, preset=preset, assignments=assignments, source="command line"
        )
        refuse_idle_teacher(settings)
        result = train_run(settings, out, listener=listener)
    show_training(result, as_json)


def _nest(options: dict[str, Any]) -> dict[str, Any]:
    """Turn given options into nested settings."""
    content: dict[str, Any] = {}
    for name, (key, _, _) in TRAIN_OPTIONS.items():
        value = options[name.removeprefix("--").replace("-", "_")]
        if value is not None:
            section, _, field = key.rpartition(".")
            (content.setdefault(section, {}) if section else content)[field] = value
    return content


def _refuse_changes(options: dict[str, Any], out: Path | None) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in {**options, "out": out}.items() if value is not None]
    source = click.get_current_context().get_parameter_source("backend")
    given += [] if source is click.core.ParameterSource.DEFAULT else ["--backend"]
    if given:
        raise click.UsageError(f"--resume takes all settings from the run; leave out {', '.join(given)}")


def _resume(name: str, out: Path | None, listener: Any) -> dict[str, Any]:
    from qkd_qiskit.pipeline.training import train_run
    from qkd_qiskit.runs import find_run

    run = find_run(name or (str(out) if out else None), finished=False)
    return train_run(run.settings(), run.path, resume=True, listener=listener)


@main.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder.  [the run or study; of several: beside the first]"
)
@shared_options
def report(runs: tuple[str, ...], out: Path | None, quiet: bool, as_json: bool) -> None:
    """Write report.html, report.json and report.md of a run (RUN, or the latest), or of several runs and studies."""
    from qkd_qiskit.pipeline.reporting import find_sources, write_reports

    path = write_reports(find_sources(runs), out)
    click.echo(json.dumps({"report": str(path)}) if as_json else f"report: {path}")


@main.command()
@click.option("--all", "everything", is_flag=True, help="Also list the fake devices of the Runtime package.")
@shared_options
def backends(everything: bool, quiet: bool, as_json: bool) -> None:
    """List where a circuit can run."""
    from qkd_qiskit.execution.profiles import list_profiles
    from qkd_qiskit.shipped import list_files

    profiles, files = list_profiles(), list_files("backends")
    fakes: list[str] = []
    if everything:
        from qkd_qiskit.execution.fakes import fake_devices

        fakes = list(fake_devices())
    if as_json:
        listed = [{**profile.model_dump(), "file": str(files[name])} for name, profile in profiles.items()]
        click.echo(json.dumps({"backends": listed, "fake_devices": fakes}))
        return
    from qkd_qiskit.console import show_table

    rows = [[name, profile.kind, profile.description, str(files[name])] for name, profile in profiles.items()]
    show_table(["backend", "kind", "what", "file"], rows)
    click.echo(
        "\nlooked up in this order: a path to a .toml file or a snapshot; ./backends/NAME.toml; the shipped ones"
    )
    click.echo(
        "above; then fake_* (any fake device of the Runtime package, list them with --all) and ibm_* (your account's "
        "devices)"
    )
    if fakes:
        click.echo("\n" + "  ".join(fakes))


for _command in (run_command, evaluate, estimate, export, snapshot, jobs, doctor):
    main.add_command(_command)
