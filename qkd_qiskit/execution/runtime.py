"""IBM hardware: the account's service, its devices, sessions and batches, and the Estimator that runs there.

The account is whatever `QiskitRuntimeService()` finds (environment or saved account); no token passes through here.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import Batch, Session
from qiskit_ibm_runtime.exceptions import IBMError

from qkd_qiskit.config import BackendSettings
from qkd_qiskit.exceptions import AccountError, BackendError
from qkd_qiskit.execution.account import list_devices, probe, unreachable, without_account
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.connection import Connection
from qkd_qiskit.execution.devices import Place
from qkd_qiskit.execution.faults import Refusal, ServiceFault, brief, translate
from qkd_qiskit.execution.ledger import Ledger, Record
from qkd_qiskit.execution.mitigation import build_options, learns_layers
from qkd_qiskit.execution.submission import Handed
from qkd_qiskit.execution.waiting import Clock, persist

try:
    from qiskit_ibm_runtime.executor_estimator import Estimator
except ImportError:  # a client from before 0.50, or one that has moved it
    Estimator = None

OPEN_SECONDS = 60.0
Say = Callable[[str], None]


def open_device(settings: BackendSettings, service: Any) -> Place:
    """Open one of the account's devices.

    Args:
        settings: of kind `ibm`.
        service: an open service.

    Raises:
        BackendError: no such device (those there are get named), or no connection.
        AccountError: the account is refused.
    """
    try:
        backend = service.backend(settings.device)
        return Place(settings, settings.device, backend.target, backend)
    except QiskitBackendNotFoundError as error:
        probe(service, settings.device)
        raise BackendError(
            f"the account has no device {settings.device}; it has: {', '.join(list_devices(service)) or 'none'}\n"
            f"give one of them with --backend; {without_account(settings.device)}"
        ) from error
    except IBMError as error:
        raise unreachable(settings.device, error) from error


@dataclass
class Desk:
    """Where jobs are handed in: a session or batch that is replaced when its time is over, or neither.

    Attributes:
        place: an open device.
        connection: to the service.
        ledger: notes the sessions, so that a later process can close what a killed one has left.
        say: told which mode was chosen and why.
        clock: tells the time and sleeps.
    """

    place: Place
    connection: Connection
    ledger: Ledger
    say: Say
    clock: Clock
    _mode: Any = None
    _name: str = ""

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session; what is in it runs to its end."""
        self._close()

    def hand_in(self, compiled: CompiledCircuit, values: np.ndarray, record: Record) -> Handed:
        """Submit rows of parameter values and all observables as one PUB; a closed session is replaced.

        Args:
            compiled: the circuit on that device.
            values: `(N, A + P)`, columns in the order of `compiled.isa.parameters`.
            record: gives the tag and the longest time.

        Raises:
            what `Connection.submit` raises.
        """
        try:
            return self._hand_in(compiled, values, record)
        except Refusal as refusal:
            if not refusal.session_closed:
                raise
            self.say(f"{self._name} {self._session_id} is over; opening another, what is finished is kept")
            self._close()
            return self._hand_in(compiled, values, record)

    def _hand_in(self, compiled: CompiledCircuit, values: np.ndarray, record: Record) -> Handed:
        if not self._name:
            self._open()
        circuit = compiled.isa.circuit
        pub = (circuit, [[item] for item in compiled.isa.observables], values[:, compiled.isa.columns_of(circuit)])
        estimator = make_estimator(self._mode or self.place.backend, self.place.settings, record)
        job_id = self.connection.submit(lambda: estimator.run([pub]))
        return Handed(job_id, self._name, self._session_id)

    @property
    def _session_id(self) -> str | None:
        return self._mode.session_id if self._mode is not None else None

    def _open(self) -> None:
        """Open a session, a batch or neither, as the settings say; `auto` takes the first that the plan allows."""
        wanted = self.place.settings.mode
        for name, kind in (("session", Session), ("batch", Batch)):
            if wanted not in ("auto", name):
                continue
            try:
                self._mode = persist(partial(kind, backend=self.place.backend), seconds=OPEN_SECONDS, clock=self.clock)
            except (Refusal, ServiceFault) as error:
                if wanted == name:
                    raise BackendError(
                        f"{self.place.device} refused a {name}: {brief(error)}; try --mode auto"
                    ) from error
                self.say(f"no {name} on this plan ({brief(error)[:120]})")
                continue
            self._name = name
            self.ledger.open_session(self._mode.session_id, self.place.device)
            self.say(f"{name} {self._mode.session_id} on {self.place.device}")
            return
        self._name = "job"
        self.say(f"single job on {self.place.device}, no session")

    def _close(self) -> None:
        session_id, self._mode, self._name = self._session_id, None, ""
        if session_id:
            close_session(self.connection, self.ledger, session_id)


def close_session(connection: Connection, ledger: Ledger, session_id: str) -> None:
    """Close a session and note it; if the service can't be asked now, a later process closes it."""
    with contextlib.suppress(ServiceFault, AccountError):
        with contextlib.suppress(Refusal):  # it is closed already, or forgotten
            connection.close_session(session_id)
        ledger.close_session(session_id)


def make_estimator(mode: Any, settings: BackendSettings, record: Record) -> Any:
    """Build the Estimator for one job: the client-side one; for PEC, PEA, or in a client without it, the server-side.

    Args:
        mode: a session, a batch or a backend.
        settings: shots and mitigation.
        record: its tag goes onto the job, and what is reserved for it is the longest that it may run.

    Raises:
        BackendError: PEC or PEA is wanted and this client has no server-side Estimator any more.
    """
    limits = {"max_execution_time": max(1, math.ceil(record.reserved)), "environment": {"job_tags": [record.tag]}}
    options = {**build_options(settings), **limits}
    if Estimator is not None and not learns_layers(settings):
        return Estimator(mode=mode, options=options)
    from qiskit_ibm_runtime import EstimatorV2

    if EstimatorV2 is Estimator:
        raise BackendError(
            "PEC and PEA are run by the server-side EstimatorV2, which this qiskit-ibm-runtime no longer has; give "
            "--zne with mitigation.zne_amplifier = 'gate_folding', or install qiskit-ibm-runtime 0.51"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The EstimatorV2 class is deprecated", DeprecationWarning)
        return EstimatorV2(mode=mode, options=options)


def ask_remaining(connection: Connection, clock: Clock, say: Say | None = None) -> float | None:
    """Ask for the QPU seconds that the account has left; `None` if the service does not say."""
    try:
        return persist(connection.remaining, seconds=OPEN_SECONDS, clock=clock, say=say)
    except (Refusal, ServiceFault):
        return None


def refresh(place: Place) -> Place:
    """Read a device's calibration anew; the old one if the service can't be asked."""
    try:
        place.backend.refresh()  # type: ignore[union-attr]
        return replace(place, target=place.backend.target)  # type: ignore[union-attr]
    except Exception as error:
        if isinstance(translate(error), AccountError):
            raise translate(error) from error
        return place
