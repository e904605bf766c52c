"""Evaluation on hardware: the price first, then every job through the ledger, then the results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qkd_qiskit.config import BackendSettings
from qkd_qiskit.exceptions import AccountError, BackendError, BudgetError, InterruptedRunError
from qkd_qiskit.execution.circuit_files import load_circuits, save_circuits
from qkd_qiskit.execution.compilation import CompiledCircuit, check_equivalence
from qkd_qiskit.execution.cost import Price, circuit_duration, count_bases, repetition_delay
from qkd_qiskit.execution.devices import Place
from qkd_qiskit.execution.ledger import BY_USER, CANCELLED, FAILED, INTENT, SUBMITTED, Ledger, Record, default_ledger
from qkd_qiskit.execution.mitigation import check_mitigation, learning_executions, multiplier
from qkd_qiskit.execution.submission import Unit
from qkd_qiskit.execution.units import name_units, split
from qkd_qiskit.files import digest_of, read_json, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.allowing import Bill
from qkd_qiskit.pipeline.placing import PlacedStudent
from qkd_qiskit.pipeline.sentinels import Drift, append_sentinels, count_sentinels, expect_sentinels
from qkd_qiskit.pipeline.spending import Collected, Pending, Spending

CALLED_OFF = "you cancelled jobs of this evaluation; give evaluate --yes to submit the rest"


@dataclass
class HardwareEvaluation:
    """One evaluation on one device.

    Attributes:
        name: hash of what changes the answer; the evaluation's name in the ledger.
        settings: the backend.
        placed: the student.
        values: parameter values `(N, A + P)`.
        folder: where the circuit and the calibration are kept; nowhere if `None`.
        request: what a later process needs to finish it.
        spending: what may be paid.
        listener: follows along.
        begin: called once when the price is accepted, before anything is written or sent.
    """

    name: str
    settings: BackendSettings
    placed: PlacedStudent
    values: np.ndarray
    folder: Path | None
    request: dict[str, Any]
    spending: Spending
    listener: Listener
    begin: Callable[[], None] = lambda: None

    def run(self) -> Collected | Pending:
        """Say the price, submit what has not been submitted, wait, fetch.

        Raises:
            BudgetError: it costs more than is allowed or left, or was not confirmed.
            BackendError: device or service can't be reached, or refused.
            UndecidedError: nobody knows whether a job exists.
            AccountError: the account is refused.
            LedgerError: the ledger is in use or can't be written.
            InterruptedRunError: Ctrl-C; the jobs go on.
        """
        with _open_ledger(self.spending) as ledger:
            try:
                return self._run(ledger)
            except KeyboardInterrupt:
                records = ledger.records(self.name)
                if not records:
                    raise InterruptedRunError("interrupted; nothing was submitted") from None
                unsure = sum(record.state == INTENT for record in records)
                perhaps = f", {unsure} more may have been submitted and will be looked for" if unsure else ""
                raise InterruptedRunError(
                    f"interrupted; {sum(bool(record.job_id) for record in records)} submitted job(s) go on{perhaps}\n"
                    f"come back with `qkd-qiskit jobs resume {records[0].number}` or the same command"
                ) from None

    def _run(self, ledger: Ledger) -> Collected | Pending:
        from qkd_qiskit.execution.account import connect
        from qkd_qiskit.execution.collection import Collector
        from qkd_qiskit.execution.connection import Connection
        from qkd_qiskit.execution.runtime import ask_remaining, close_session, open_device

        check_mitigation(self.settings)
        service = connect(self.settings.device, self.spending.account)
        connection = Connection.over(service)
        clock, say = self.spending.clock, self.listener.say
        remaining = ask_remaining(connection, clock, say)  # asked first: a wrong key is refused here, at once
        place = open_device(self.settings, service)
        if connection.wire is not None:
            connection.wire.strict()
        compiled = self._compile(place)
        self._cut_as_before(ledger)
        price, units = self._plan(place, compiled, remaining)
        for line in price.lines():
            self.listener.say(line)
        bill = Bill.draw_up(ledger, self.name, price, units, retry_failed=self.spending.retry_failed)
        if self.spending.dry_run:
            return Pending("planned", price, refusal="" if bill.was_confirmed else bill.refusal())
        self._allow(ledger, bill)
        self._keep_plan(place, compiled)
        for session_id in ledger.open_sessions():  # of a process that was killed
            close_session(connection, ledger, session_id)
        records, trouble = self._submit(ledger, connection, place, compiled, units)
        if not self.spending.wait:
            self._check_sent(records, trouble)
            return Pending("submitted", price, tuple(record.job_id for record in records if record and record.job_id))
        collector = Collector(ledger, connection, self.settings, self.listener.say, self.spending.clock)
        found = [self._collect(collector, compiled, unit, record) for unit, record in zip(units, records)]
        calibration = self._compare_calibration(place, compiled)
        tables = tuple(tables for _, tables in found)
        return Collected(
            place,
            compiled,
            price,
            tuple(units),
            tuple(record for record, _ in found),
            tables,
            calibration,
            trouble,
            self._watch_drift(place, compiled, tables),
            ledger.charged_extra(self.name),
        )

    def _compile(self, place: Place) -> CompiledCircuit:
        """Take the circuit that was planned the first time, so that a resumed evaluation has the same units."""
        path = self.folder / "isa.qpy" if self.folder else None
        if path and path.with_suffix(".json").exists():
            kept = load_circuits(path, self.placed.logical)[1]
            check_equivalence(self.placed.logical, kept)
            return kept
        compiled, anew = place.adopt(self.placed.compiled, self.placed.logical)
        if anew:
            trained_for = self.placed.compiled.device or "an ideal simulator"
            self.listener.say(
                f"the student was trained for {trained_for}: its logical circuit was compiled anew for {place.device}"
            )
        check_equivalence(self.placed.logical, compiled)
        return compiled

    def _keep_plan(self, place: Place, compiled: CompiledCircuit) -> None:
        """Write down what is measured and under which calibration, once: the price is accepted, nothing is sent yet."""
        self.begin()
        if self.folder is None or (path := self.folder / "isa.qpy").with_suffix(".json").exists():
            return
        write_json(self.folder / "calibration_before.json", place.calibration(compiled.physical_qubits))
        save_circuits(path, self.placed.logical, compiled)

    def _cut_as_before(self, ledger: Ledger) -> None:
        """Cut an evaluation that has jobs as it was cut then: other cuts would be other jobs, all paid once more."""
        known = ledger.evaluation(self.name) or {"request": {}}
        kept = known["request"].get("backend", {}).get("executions_per_job", self.settings.executions_per_job)
        begun = any(record.job_id or record.state == INTENT for record in ledger.records(self.name))
        if begun and kept != self.settings.executions_per_job:
            self.listener.say(f"it has jobs already, cut with executions_per_job = {kept}; that is kept")
            self.settings = self.settings.model_copy(update={"executions_per_job": kept})
            self.request["backend"] = {**self.request["backend"], "executions_per_job": kept}

    def _plan(self, place: Place, compiled: CompiledCircuit, remaining: float | None) -> tuple[Price, list[Unit]]:
        assert place.target is not None
        price = Price(
            samples=len(self.values),
            bases=count_bases(compiled.isa.observables),
            shots=self.settings.shots,
            observables=len(compiled.isa.observables),
            multiplier=multiplier(self.settings),
            learning=learning_executions(self.settings),
            repetition_delay=repetition_delay(place.backend),
            circuit_seconds=circuit_duration(compiled.isa.circuit, compiled.measured_qubits, place.target),
            jobs=1,
            budget=self.settings.max_qpu_seconds,
            remaining=remaining,
            sentinels=count_sentinels(len(self.values), self.settings.sentinels),
            bounded=self.settings.mitigation.pec,
        )
        cuts = split(price, self.settings)
        price = Price(**{**asdict(price), "jobs": len(cuts)})
        return price, name_units(compiled, self._rows, self.settings, price, cuts)

    @property
    def _rows(self) -> np.ndarray:
        """Parameter values of all that is run: the samples, and the sentinels among them once more."""
        return append_sentinels(self.values, count_sentinels(len(self.values), self.settings.sentinels))

    def _allow(self, ledger: Ledger, bill: Bill) -> None:
        """Check what is due against the cap and the account, and have it confirmed, once for each plan."""
        if bill.due and bill.unusable:
            self.listener.say(f"{bill.unusable} job(s) of an earlier plan can't be used: this is paid as well")
        if bill.was_confirmed:
            self.listener.say("confirmed before; what was submitted is not submitted again")
        else:
            if bill.again:
                self.listener.say(f"{bill.again} job(s) that failed or were cancelled are to be paid once more")
            bill.confirm(self.spending)
        if bill.budget is None or bill.due:
            run, budget = self.request.get("run", ""), bill.price.budget
            ledger.add_evaluation(self.name, run, self.settings.name, self.request, budget)

    def _submit(
        self, ledger: Ledger, connection: Any, place: Place, compiled: CompiledCircuit, units: list[Unit]
    ) -> tuple[list[Record | None], str]:
        """Submit what has no job yet; if one can't be, keep what there is and say why."""
        from qkd_qiskit.execution.runtime import Desk
        from qkd_qiskit.execution.submission import Submitter

        clock, say, settings = self.spending.clock, self.listener.say, self.settings
        submitter = Submitter(ledger, connection, say, clock, settings.settle_seconds, settings.outage_seconds)
        records: list[Record | None] = []
        called_off, trouble = self._is_called_off(ledger), ""
        with Desk(place, connection, ledger, say, clock) as desk:
            for unit in units:
                rows = self._rows[unit.start : unit.stop]
                if called_off and ledger.latest(unit.name) is None:
                    records.append(None)
                    trouble = CALLED_OFF
                    continue

                def send(record: Record, rows: np.ndarray = rows) -> Any:
                    return desk.hand_in(compiled, rows, record)

                try:
                    records.append(submitter.submit(self.name, unit, send, retry_failed=self.spending.retry_failed))
                except AccountError:
                    raise
                except (BudgetError, BackendError) as error:
                    known = [self._with_job(ledger, unit) for unit in units[len(records) :]]
                    if not any([*records, *known]):
                        raise
                    say(str(error))
                    return records + known, str(error)
            for record in records:  # before the session is closed, for what turned up while the others were submitted
                if record is not None and record.state == SUBMITTED and ledger.is_in_doubt(record):
                    submitter.extras.cancel(record)
        return records, trouble

    def _with_job(self, ledger: Ledger, unit: Unit) -> Record | None:
        """Return a unit's newest record if it has a job: that another can't be submitted is no reason to forget it."""
        record = ledger.latest(unit.name)
        return record if record is not None and record.job_id else None

    def _check_sent(self, records: list[Record | None], trouble: str) -> None:
        """Refuse to call submitted what is not.

        Raises:
            BackendError: jobs were cancelled or failed before, or could not be submitted.
        """
        ended = [record for record in records if record is not None and record.state in (FAILED, CANCELLED)]
        lines = [f"job {record.job_id or record.tag}: {record.reason or record.state.lower()}" for record in ended]
        unsent = sum(record is None for record in records)
        lines += [f"{unsent} job(s) not submitted: {trouble}"] if unsent else []
        if lines:
            others = len(records) - len(ended) - unsent
            more = (
                f"\n{others} other job(s) are submitted; `qkd-qiskit jobs resume --all` fetches them" if others else ""
            )
            again = "\ngive --retry-failed to pay for what was cancelled or failed once more" if ended else ""
            raise BackendError("\n".join(lines) + again + more)

    def _is_called_off(self, ledger: Ledger) -> bool:
        """Whether jobs of it were cancelled by the user, who has not asked anew since."""
        asked = self.spending.confirmed or self.spending.retry_failed
        return not asked and any(record.reason == BY_USER for record in ledger.records(self.name))

    def _collect(self, collector: Any, compiled: CompiledCircuit, unit: Unit, record: Record | None) -> Any:
        from qkd_qiskit.execution.results import Shape

        if record is None:
            return None, None
        shape = Shape(unit.stop - unit.start, len(compiled.isa.observables), self.settings.shots)
        return collector.collect(record, shape)

    def _watch_drift(self, place: Place, compiled: CompiledCircuit, tables: tuple[Any, ...]) -> Drift | None:
        """Compare the sentinels' values at the start with those at the end."""
        count = count_sentinels(len(self.values), self.settings.sentinels)
        if not count or any(table is None for table in tables):
            return None
        values, errors = (np.concatenate(column) for column in zip(*tables))
        expected = expect_sentinels(place, compiled, self.values[:count])
        drift = Drift(values[:count], values[-count:], errors[:count], errors[-count:], self.settings.shots, expected)
        self.listener.say(drift.line())
        return drift

    def _compare_calibration(self, place: Place, compiled: CompiledCircuit) -> dict[str, Any]:
        """Return the calibration before and after; `drifted` if the device was calibrated in between."""
        from qkd_qiskit.execution.runtime import refresh

        path = self.folder / "calibration_before.json" if self.folder else None
        before = read_json(path) if path and path.exists() else place.calibration(compiled.physical_qubits)
        after = refresh(place).calibration(compiled.physical_qubits)
        drifted = before["sha256"] != after["sha256"]
        if drifted:
            self.listener.say(f"{place.device} was calibrated while the evaluation ran; both snapshots are kept")
        return {"before": before, "after": after, "drifted": drifted}


@contextlib.contextmanager
def _open_ledger(spending: Spending) -> Iterator[Ledger]:
    if spending.ledger is not None:
        yield spending.ledger
        return
    with Ledger(default_ledger()) as ledger:
        yield ledger


def name_evaluation(identity: dict[str, Any]) -> str:
    """Name an evaluation by what changes its answer."""
    return digest_of(identity)
