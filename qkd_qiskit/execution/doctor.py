"""Whether everything is in place: versions, disk, ledger, account. Nothing secret is read or said."""

from __future__ import annotations

import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from qkd_qiskit.exceptions import QkdError
from qkd_qiskit.execution.ledger import OPEN_STATES, Ledger, default_ledger
from qkd_qiskit.runs import describe_environment

ACCOUNT_SECONDS = 4.0


def examine(ledger: Path | None = None, account: str | None = None) -> dict[str, str]:
    """Look at everything.

    Args:
        ledger: the user's own if `None`.
        account: name of a saved account; the default one if `None`.

    Returns:
        One line for each thing.
    """
    facts = describe_environment()
    versions = {name: version for name, version in facts["versions"].items() if version}
    path = ledger or default_ledger()
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "python": f"{facts['python']} on {facts['platform']}, {facts['cores']} cores",
        "disk": _disk(),
        "ledger": _ledger(path),
        "account file": _account_file(),
        **_within(ACCOUNT_SECONDS, lambda found: _account(account, found)),
    }


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return f"{free:.1f} GB free here" + (" (little)" if free < 1 else "")


def _ledger(path: Path) -> str:
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
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"{path}: READABLE BY OTHERS; run `chmod 600 {path}`"
    return f"{path}: only you can read it"


def _within(seconds: float, look: Callable[[dict[str, str]], None]) -> dict[str, str]:
    """Look in a thread that is left behind if the service takes too long; what it has found by then counts."""
    found: dict[str, str] = {}
    thread = threading.Thread(target=look, args=(found,), daemon=True)
    thread.start()
    thread.join(seconds)
    late = {"account": f"no answer from the service within {seconds:g} s"}
    return {**(late if thread.is_alive() else {}), **found}


def _account(account: str | None, found: dict[str, str]) -> None:
    """Find out about the account, the quickest first."""
    try:
        from qkd_qiskit.execution.account import connect, list_devices, probe
        from qkd_qiskit.execution.connection import Connection

        service = connect("the service", account)
        connection = Connection.over(service)
        probe(service, "the service")
        found["account"] = "works"
        found["plan"] = ", ".join(sorted({str(instance.get("plan")) for instance in service.instances()}))
        left = connection.remaining()
        found["QPU seconds left"] = "no limit told" if left is None else f"{left:.0f}"
        found["devices"] = ", ".join(list_devices(service)) or "none"
    except QkdError as error:
        found["account"] = str(error).splitlines()[0]
    except Exception as error:
        found["account"] = f"can't be used ({type(error).__name__})"
