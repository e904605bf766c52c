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
        **_within(ACCOUNT_SECONDS, lambda: _account(account)),
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


def _within(seconds: float, look: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Look in a thread that is left behind if the service takes too long."""
    found: dict[str, str] = {}
    thread = threading.Thread(target=lambda: found.update(look()), daemon=True)
    thread.start()
    thread.join(seconds)
    return dict(found) or {"account": f"no answer from the service within {seconds:g} s"}


def _account(account: str | None) -> dict[str, str]:
    from qkd_qiskit.execution.connection import Connection
    from qkd_qiskit.execution.runtime import connect, list_devices, probe

    try:
        service = connect("the service", account)
        connection = Connection.over(service)
        probe(service, "the service")
        left, devices = connection.remaining(), list_devices(service)
        plans = {str(instance.get("plan")) for instance in service.instances()}
    except QkdError as error:
        return {"account": str(error).splitlines()[0]}
    except Exception as error:
        return {"account": f"can't be used ({type(error).__name__})"}
    return {
        "account": "works",
        "plan": ", ".join(sorted(plans)),
        "devices": ", ".join(devices) or "none",
        "QPU seconds left": "no limit told" if left is None else f"{left:.0f}",
    }
