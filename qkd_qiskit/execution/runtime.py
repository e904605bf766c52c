"""The plain path to IBM hardware: open the account's device, submit one PUB, wait, fetch.

The account is whatever `QiskitRuntimeService()` finds (environment or saved account); no token passes through here.
The client-side Estimator is used: the server-side one that `qiskit_ibm_runtime` exports under that name is deprecated.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError
from qiskit_ibm_runtime.exceptions import IBMError
from qiskit_ibm_runtime.executor_estimator import Estimator

from qkd_qiskit.config import BackendSettings
from qkd_qiskit.exceptions import BackendError
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.devices import Place, fake_devices

FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 1.0, 30.0
Say = Callable[[str], None]


def connect(settings: BackendSettings) -> Any:
    """Open the account's Runtime service.

    Raises:
        BackendError: there is no account, or it is refused.
    """
    try:
        return QiskitRuntimeService()
    except AccountNotFoundError as error:
        raise BackendError(
            f"{settings.device} needs an IBM Quantum account: set QISKIT_IBM_TOKEN and QISKIT_IBM_INSTANCE, or save "
            "one once with QiskitRuntimeService.save_account()\n" + _without_account(settings.device)
        ) from error
    except (IBMError, ValueError) as error:
        raise BackendError(
            f"the IBM Quantum account was refused: {error}\n{_without_account(settings.device)}"
        ) from error


def _without_account(device: str) -> str:
    snapshot = device.replace("ibm_", "fake_")
    name = snapshot if snapshot in fake_devices() else "fake_brisbane"
    return f"without one, --backend {name} runs the same circuit on the device's stored snapshot"


def open_device(settings: BackendSettings, service: Any | None = None) -> Place:
    """Open one of the account's devices.

    Args:
        settings: of kind `ibm`.
        service: an open service; the account's if `None`.

    Raises:
        BackendError: no account, no such device (those there are get named), or no connection.
    """
    service = service or connect(settings)
    try:
        backend = service.backend(settings.device)
        return Place(settings, settings.device, backend.target, backend)
    except QiskitBackendNotFoundError as error:
        raise BackendError(
            f"the account has no device {settings.device}; it has: {', '.join(list_devices(service)) or 'none'}\n"
            f"give one of them with --backend; {_without_account(settings.device)}"
        ) from error
    except IBMError as error:
        raise BackendError(f"can't reach {settings.device}: {error}") from error


def list_devices(service: Any) -> list[str]:
    """Name the account's devices.

    Raises:
        BackendError: the service can't be reached.
    """
    try:
        return sorted(backend.name for backend in service.backends())
    except (IBMError, QiskitBackendNotFoundError) as error:
        raise BackendError(f"can't list the account's devices: {error}") from error


@dataclass(frozen=True)
class Submission:
    """A job that the service has accepted.

    Attributes:
        job: the client's handle.
        job_id: its identity at the service.
        mode: `session`, `batch` or `job`.
        session_id: of the session or batch, if there is one.
    """

    job: Any
    job_id: str
    mode: str
    session_id: str | None


@contextlib.contextmanager
def submit(
    place: Place, compiled: CompiledCircuit, parameter_values: np.ndarray, *, shots: int, say: Say
) -> Iterator[Submission]:
    """Submit all samples and observables as one PUB; the session, if any, is closed on leaving.

    Args:
        place: an open device.
        compiled: the circuit on that device.
        parameter_values: `(N, A + P)`, columns in the order of `compiled.isa.parameters`.
        shots: measurements a sample.
        say: told which mode was chosen and why.

    Raises:
        BackendError: the service refused the job.
    """
    with _open_mode(place, say) as (mode, name, session_id):
        circuit = compiled.isa.circuit
        values = parameter_values[:, compiled.isa.columns_of(circuit)]
        observables = [[observable] for observable in compiled.isa.observables]
        estimator = Estimator(mode=mode)
        estimator.options.default_shots = shots
        estimator.options.resilience_level = place.settings.resilience_level
        estimator.options.max_execution_time = place.settings.max_qpu_seconds
        try:
            job = estimator.run([(circuit, observables, values)])
        except (IBMError, ValueError) as error:
            raise BackendError(f"{place.device} refused the job: {error}") from error
        yield Submission(job, job.job_id(), name, session_id)


@contextlib.contextmanager
def _open_mode(place: Place, say: Say) -> Iterator[tuple[Any, str, str | None]]:
    """Open a session, a batch or neither, as the settings say; `auto` takes the first that the plan allows."""
    wanted = place.settings.mode
    for name, kind in (("session", Session), ("batch", Batch)):
        if wanted not in ("auto", name):
            continue
        try:
            opened = kind(backend=place.backend)
        except IBMError as error:
            if wanted == name:
                raise BackendError(f"{place.device} refused a {name}: {error}; try --mode auto") from error
            say(f"no {name} on this plan ({_first_line(error)})")
            continue
        say(f"{name} {opened.session_id} on {place.device}")
        try:
            yield opened, name, opened.session_id
        finally:
            with contextlib.suppress(IBMError):
                opened.close()
        return
    say(f"single job on {place.device}, no session")
    yield place.backend, "job", None


def _first_line(error: Exception) -> str:
    return str(error).strip().strip("'\"").splitlines()[0][:120]


def reattach(place: Place, job_id: str) -> Any:
    """Find a job that was submitted earlier.

    Raises:
        BackendError: the service does not know it, or can't be reached.
    """
    try:
        return place.backend.service.job(job_id)  # type: ignore[union-attr]
    except IBMError as error:
        raise BackendError(f"can't find job {job_id} on {place.device}: {error}") from error


def wait(job: Any, *, hours: float, say: Say, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until a job has ended, saying each change of its state.

    Args:
        job: the client's handle.
        hours: how long at most; the job itself goes on.
        say: told each new state.
        sleep: replaced in tests.

    Raises:
        BackendError: it failed or was cancelled, or the time is up.
    """
    state, pause, deadline = "", FIRST_POLL_SECONDS, time.monotonic() + 3600 * hours
    while True:
        try:
            now = str(job.status())
        except IBMError as error:
            raise BackendError(f"lost sight of job {job.job_id()}: {error}; run the same command again") from error
        if now != state:
            state, pause = now, FIRST_POLL_SECONDS
            say(f"job {job.job_id()}: {state.lower()}")
        if state == "DONE":
            return
        if state in ("ERROR", "CANCELLED"):
            raise BackendError(
                f"job {job.job_id()} ended as {state.lower()}: {job.error_message() or 'no reason given'}"
            )
        if time.monotonic() > deadline:
            raise BackendError(
                f"job {job.job_id()} has not ended within {hours:g} hours; run the same command again later"
            )
        sleep(pause)
        pause = min(LAST_POLL_SECONDS, 1.5 * pause)


def fetch(job: Any, num_samples: int, num_observables: int) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Fetch and check a job's result.

    Returns:
        Expectation values `(N, O)`, standard errors `(N, O)`, and the QPU seconds charged if the service says.

    Raises:
        BackendError: the result can't be fetched, or has another shape, or a value that is not finite.
    """
    try:
        result = job.result()
        values, errors = (np.asarray(table, dtype=np.float64).T for table in (result[0].data.evs, result[0].data.stds))
    except (IBMError, AttributeError, TypeError, IndexError, ValueError) as error:
        raise BackendError(f"the result of job {job.job_id()} can't be read: {error}") from error
    if values.shape != (num_samples, num_observables) or not np.isfinite(values).all():
        raise BackendError(
            f"the result of job {job.job_id()} has shape {values.shape} and {np.isnan(values).sum()} values that "
            f"are not numbers; wanted {(num_samples, num_observables)} finite ones"
        )
    return values, errors, _charged(job)


def _charged(job: Any) -> float | None:
    try:
        return float(job.usage())
    except (IBMError, TypeError, KeyError):
        return None
