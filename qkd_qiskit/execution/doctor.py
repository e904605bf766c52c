"""Whether everything is in place: versions, disk, ledger, account. Nothing secret is said."""

from __future__ import annotations

import json
import math
import shutil
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from qkd_qiskit.exceptions import BackendError, QkdError
from qkd_qiskit.execution.ledger import OPEN_STATES, Ledger, default_ledger
from qkd_qiskit.runs import describe_environment

ACCOUNT_SECONDS = 4.0
NO_ACCOUNT = (
    "none, which only ibm_* devices need: set QISKIT_IBM_TOKEN and QISKIT_IBM_INSTANCE, or save one once with "
    "QiskitRuntimeService.save_account()"
)


def examine(
    ledger: Path | None = None, account: str | None = None, seconds: float = ACCOUNT_SECONDS
) -> tuple[dict[str, str], int]:
    """Look at everything.

    Args:
        ledger: the user's own if `None`.
        account: name of a saved account; the default one if `None`.
        seconds: how long the account may take.

    Returns:
        One line for each thing, and an exit code: 0, or that of what is wrong with a configured account.
    """
    facts = describe_environment()
    versions = {name: version for name, version in facts["versions"].items() if version}
    path = ledger or default_ledger()
    began = time.monotonic()
    found = Findings()
    _within(seconds, began, lambda: _account(account, found), found)
    facts = {
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "python": f"{facts['python']} on {facts['platform']}, {facts['cores']} cores",
        "disk": _disk(),
        "ledger": _ledger(path),
        "account file": _account_file(),
        **found.facts,
    }
    return facts, found.code


@dataclass
class Findings:
    """What is known about the account so far; written by a thread that may be left behind.

    Attributes:
        facts: one line for each thing.
        code: exit code.
    """

    facts: dict[str, str] = field(default_factory=dict)
    code: int = 0


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return f"{free:.1f} GB free here" + (" (little)" if free < 1 else "")


def _ledger(path: Path) -> str:
    if not path.exists():
        return f"{path}: none yet"
    try:
        with Ledger(path, exclusive=False) as ledger:
            records = ledger.records()
    except QkdError as error:
        return str(error)
    unfinished = sum(record.state in OPEN_STATES for record in records)
    return f"{path}: {len(records)} jobs, {unfinished} unfinished"


def _account_file() -> str:
    path = Path.home() / ".qiskit" / "qiskit-ibm.json"
    if not path.exists():
        return f"{path}: none"
    if not _has_accounts(path):
        return f"{path}: no account in it"
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"{path}: READABLE BY OTHERS; run `chmod 600 {path}`"
    return f"{path}: only you can read it"


def _has_accounts(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return True  # whatever it is, it is not to be read by others


def _within(seconds: float, began: float, look: Callable[[], None], found: Findings) -> None:
    """Look in a thread that is left behind if the service takes too long; what it has found by then counts.

    Importing the client is the slow part of it on a busy machine, so the service gets half of the time at least.
    """
    import qkd_qiskit.execution.connection  # noqa: F401

    left = max(seconds - (time.monotonic() - began), seconds / 2)
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(left)
    if thread.is_alive() and "account" not in found.facts:
        late = (
            f"no answer from the service within {seconds:g} s; give --timeout {math.ceil(5 * seconds)} to wait longer"
        )
        found.facts["account"], found.code = late, BackendError.exit_code


def _account(account: str | None, found: Findings) -> None:
    """Find out about the account, the quickest first."""
    from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError

    from qkd_qiskit.execution.account import connect, list_devices, probe
    from qkd_qiskit.execution.connection import Connection

    facts = found.facts
    try:
        service = connect("the service", account)
        connection = Connection.over(service)
        probe(service, "the service")
        facts["account"] = "works"
        facts["plan"] = ", ".join(sorted({str(instance.get("plan")) for instance in service.instances()}))
        left = connection.remaining()
        facts["QPU seconds left"] = "no limit told" if left is None else f"{left:.0f}"
        facts["devices"] = ", ".join(list_devices(service)) or "none"
    except QkdError as error:
        if account is None and isinstance(error.__cause__, AccountNotFoundError):
            facts["account"] = NO_ACCOUNT
            return
        facts["account"], found.code = str(error).splitlines()[0], error.exit_code
    except Exception as error:
        facts["account"], found.code = f"can't be used ({type(error).__name__})", BackendError.exit_code
