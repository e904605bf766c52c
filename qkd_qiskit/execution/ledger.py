"""The ledger of paid jobs: what was meant to be submitted, what was, and what came of it.

SQLite, write-ahead, every commit flushed to disk; one process at a time. A row is one submission of one unit; it goes
INTENT -> SUBMITTED -> DONE, FAILED or CANCELLED, and its budget is reserved in the transaction that makes it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_data_path

from qkd_qiskit.exceptions import BudgetError, LedgerError

SCHEMA_VERSION = 2
INTENT, SUBMITTED, DONE, FAILED, CANCELLED = "INTENT", "SUBMITTED", "DONE", "FAILED", "CANCELLED"
OPEN_STATES = (INTENT, SUBMITTED)
SCHEMA = """
CREATE TABLE IF NOT EXISTS evaluations (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, backend TEXT NOT NULL, request TEXT NOT NULL, budget REAL NOT NULL,
    created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY AUTOINCREMENT, evaluation TEXT NOT NULL REFERENCES evaluations(id),
    unit TEXT NOT NULL, replica INTEGER NOT NULL, state TEXT NOT NULL, tag TEXT NOT NULL UNIQUE,
    job_id TEXT UNIQUE, mode TEXT, session_id TEXT, estimated REAL NOT NULL, reserved REAL NOT NULL, charged REAL,
    reason TEXT, digest TEXT, created REAL NOT NULL, changed REAL NOT NULL, UNIQUE (unit, replica));
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, backend TEXT NOT NULL, closed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, record INTEGER, moment REAL NOT NULL, what TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS extra_jobs (
    job_id TEXT PRIMARY KEY, record INTEGER NOT NULL REFERENCES records(number), charged REAL);
"""
"""What a version adds is a table, so the same statements make a new ledger and bring an old one up to date."""
BY_USER = "cancelled by you"
"""The reason of a record that the user cancelled: what it belongs to is not submitted again unasked."""
IN_DOUBT = "in doubt"
"""How the note begins that a job may exist which nobody has seen."""


@dataclass(frozen=True)
class Record:
    """One submission of one unit.

    Attributes:
        number: its place in the ledger; order goes by it, never by a clock.
        evaluation: the evaluation it belongs to.
        unit: hash of what changes the answer.
        replica: 0 for the first submission, one more for each retry that was asked for.
        state: INTENT, SUBMITTED, DONE, FAILED or CANCELLED.
        tag: by which the service finds the job, `qkd:<run>:<unit>:<nonce>`.
        job_id: the service's; `None` while it is not known whether there is a job.
        mode: session, batch or job.
        session_id: of the session or batch.
        estimated: QPU seconds expected.
        reserved: QPU seconds that it may cost at most, its `max_execution_time`.
        charged: QPU seconds that it did cost; `None` while unknown.
        reason: why it failed.
        digest: SHA-256 of the stored result.
        created: wall time, for people.
        changed: wall time, for people.
    """

    number: int
    evaluation: str
    unit: str
    replica: int
    state: str
    tag: str
    job_id: str | None
    mode: str | None
    session_id: str | None
    estimated: float
    reserved: float
    charged: float | None
    reason: str | None
    digest: str | None
    created: float
    changed: float

    @property
    def committed(self) -> float:
        """QPU seconds to count against a budget: what was charged, else what was reserved."""
        return self.reserved if self.charged is None else self.charged


def default_ledger() -> Path:
    """Return the user's ledger: `$QKD_LEDGER`, or in the user's data folder."""
    return Path(os.environ.get("QKD_LEDGER") or user_data_path("qkd_qiskit") / "ledger.sqlite")


class Ledger:
    """An open ledger; use it as a context manager.

    Args:
        path: the file; made if missing.
        exclusive: whether to keep other processes out; without, only reading is allowed.
    """

    def __init__(self, path: Path, *, exclusive: bool = True) -> None:
        self.path, self._exclusive = path, exclusive
        self._lock = FileLock(f"{path}.lock", timeout=0)
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Ledger:
        """Lock and open.

        Raises:
            LedgerError: another process has it, it is damaged or of a newer version, or can't be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._exclusive:
                self._lock.acquire()
            self._database = self._open()
        except Timeout as error:
            raise LedgerError(
                f"another qkd-qiskit is working with the ledger {self.path}; wait for it, or stop it with Ctrl-C "
                "(its jobs go on)"
            ) from error
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise LedgerError(f"can't open the ledger {self.path}: {error}; give another with --ledger") from error
        except LedgerError:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        self._lock.release()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        database.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            database.execute(f"PRAGMA {pragma}")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            database.close()
            raise LedgerError(f"the ledger {self.path} has version {version}, newer than this program; upgrade it")
        if version < SCHEMA_VERSION:
            database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        return database

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._database is not None, "open the ledger with `with`"
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerError(f"can't write the ledger {self.path}: {error}; make room, then resume") from error

    def _read(self, query: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        assert self._database is not None, "open the ledger with `with`"
        try:
            return self._database.execute(query, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"can't read the ledger {self.path}: {error}") from error

    def _select(self, condition: str = "1", values: Iterable[Any] = ()) -> list[Record]:
        rows = self._read(f"SELECT * FROM records WHERE {condition} ORDER BY number", values)
        return [Record(**dict(row)) for row in rows]

    def records(self, evaluation: str | None = None) -> list[Record]:
        """List all records, or one evaluation's, oldest first."""
        return self._select() if evaluation is None else self._select("evaluation = ?", [evaluation])

    def latest(self, unit: str) -> Record | None:
        """Return a unit's newest record."""
        found = self._select("unit = ?", [unit])
        return found[-1] if found else None

    def record(self, number: int) -> Record:
        """Return a record by its number."""
        return self._select("number = ?", [number])[0]

    def evaluation(self, name: str) -> dict[str, Any] | None:
        """Return an evaluation's row, its request decoded; `None` if it is not in the ledger."""
        rows = self._read("SELECT * FROM evaluations WHERE id = ?", [name])
        return {**dict(rows[0]), "request": json.loads(rows[0]["request"])} if rows else None

    def add_evaluation(self, name: str, run: str, backend: str, request: dict[str, Any], budget: float) -> None:
        """Write down what an evaluation was asked for, or what it may cost from now on."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "budget = excluded.budget, request = excluded.request",
                [name, run, backend, json.dumps(request), budget, time.time()],
            )

    def intend(self, evaluation: str, unit: str, estimated: float, most: float) -> Record:
        """Make a unit's intent, tag and reservation in one transaction.

        Args:
            evaluation: in whose budget it falls.
            unit: its identity; if it has been submitted before, this is another replica.
            estimated: QPU seconds expected.
            most: QPU seconds that it may cost.

        Raises:
            BudgetError: what is left of the budget is less: the service would stop a job that has been paid.
            LedgerError: the ledger can't be written.
        """
        with self._transaction() as database:
            budget = database.execute("SELECT budget FROM evaluations WHERE id = ?", [evaluation]).fetchone()[0]
            spent = self.spent(evaluation)
            if spent + most > budget:
                raise BudgetError(
                    f"{spent:.0f} of {budget:.0f} QPU seconds are spent or reserved and the next job may take "
                    f"{most:.0f}; give evaluate --max-qpu-seconds {math.ceil(spent + most)} to go on"
                )
            replica = database.execute("SELECT COUNT(*) FROM records WHERE unit = ?", [unit]).fetchone()[0]
            tag = f"qkd:{evaluation[:12]}:{unit[:12]}:{secrets.token_hex(6)}"
            now = time.time()
            cursor = database.execute(
                "INSERT INTO records (evaluation, unit, replica, state, tag, estimated, reserved, created, changed) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [evaluation, unit, replica, INTENT, tag, estimated, most, now, now],
            )
            number = int(cursor.lastrowid or 0)
        return self.record(number)

    def spent(self, evaluation: str) -> float:
        """Return the QPU seconds that an evaluation was charged, and those reserved for what is not charged yet."""
        return sum(record.committed for record in self.records(evaluation)) + self.charged_extra(evaluation)

    def change(self, record: Record, what: str, **columns: Any) -> Record:
        """Change columns of a record and note what happened, in one transaction."""
        names = [*columns, "changed"]
        with self._transaction() as database:
            database.execute(
                f"UPDATE records SET {', '.join(f'{name} = ?' for name in names)} WHERE number = ?",
                [*columns.values(), time.time(), record.number],
            )
            self._note(database, record.number, what)
        return self.record(record.number)

    def note(self, record: Record, what: str) -> None:
        """Note that something happened to a record."""
        with self._transaction() as database:
            self._note(database, record.number, what)

    def _note(self, database: sqlite3.Connection, number: int, what: str) -> None:
        database.execute("INSERT INTO events (record, moment, what) VALUES (?, ?, ?)", [number, time.time(), what])

    def events(self, record: Record) -> list[tuple[float, str]]:
        """List what happened to a record, oldest first."""
        rows = self._read("SELECT moment, what FROM events WHERE record = ? ORDER BY number", [record.number])
        return [(row["moment"], row["what"]) for row in rows]

    def is_in_doubt(self, record: Record) -> bool:
        """Whether there may be a job of this record that nobody has seen yet."""
        return any(what.startswith(IN_DOUBT) for _, what in self.events(record))

    def add_extra_job(self, record: Record, job_id: str, charged: float | None, what: str) -> None:
        """Note a job that nobody asked for, and what it cost."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO extra_jobs VALUES (?, ?, ?)", [job_id, record.number, charged])
            self._note(database, record.number, what)

    def extra_jobs(self, record: Record) -> set[str]:
        """Name the extra jobs of a record that have been dealt with."""
        rows = self._read("SELECT job_id FROM extra_jobs WHERE record = ?", [record.number])
        return {row["job_id"] for row in rows}

    def charged_extra(self, evaluation: str) -> float:
        """Return the QPU seconds that an evaluation's extra jobs cost, as far as the service has said."""
        condition = "record IN (SELECT number FROM records WHERE evaluation = ?)"
        query = f"SELECT TOTAL(charged) FROM extra_jobs WHERE {condition}"
        return float(self._read(query, [evaluation])[0][0])

    def open_session(self, session_id: str, backend: str) -> None:
        """Note a session that has to be closed."""
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO sessions (id, backend) VALUES (?, ?)", [session_id, backend])

    def close_session(self, session_id: str) -> None:
        """Note that a session is closed."""
        with self._transaction() as database:
            database.execute("UPDATE sessions SET closed = 1 WHERE id = ?", [session_id])

    def open_sessions(self) -> list[str]:
        """List the sessions that an earlier process has left open."""
        return [row["id"] for row in self._read("SELECT id FROM sessions WHERE closed = 0 ORDER BY rowid")]

    @property
    def results(self) -> Path:
        """The folder of stored results, beside the ledger."""
        return self.path.with_name(f"{self.path.stem}-results")
