"""The account: whatever `QiskitRuntimeService()` finds, in the environment or saved; no token passes through here."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError
from qiskit_ibm_runtime.exceptions import IBMError

from qkd_qiskit.exceptions import AccountError, BackendError
from qkd_qiskit.execution.fakes import fake_devices
from qkd_qiskit.execution.faults import brief, translate
from qkd_qiskit.redaction import remember


def connect(device: str, account: str | None = None) -> Any:
    """Open the account's Runtime service.

    Args:
        device: what it is wanted for, for the messages.
        account: name of a saved account; the environment's or the default one if `None`.

    Raises:
        BackendError: there is no account, or it can't be used.
        AccountError: it is refused.
    """
    try:
        service = _open(account)
        remember((service.active_account() or {}).get("token"))
        return service
    except AccountNotFoundError as error:
        raise BackendError(
            f"{device} needs an IBM Quantum account: set QISKIT_IBM_TOKEN and QISKIT_IBM_INSTANCE, or save "
            "one once with QiskitRuntimeService.save_account()\n" + without_account(device)
        ) from error
    except (IBMError, ValueError) as error:
        fault = translate(error)
        if isinstance(fault, AccountError):
            raise fault from error
        raise BackendError(
            f"the IBM Quantum account can't be used: {brief(fault)}\ncorrect the QISKIT_IBM_* variables or the saved "
            f"account; {without_account(device)}"
        ) from error


def _open(account: str | None) -> QiskitRuntimeService:
    """Open the service without the client's own warnings: what goes wrong is told in our words when it matters."""
    if "QISKIT_IBM_RUNTIME_LOG_LEVEL" not in os.environ:
        logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unable to retrieve IBM Cloud access token", UserWarning)
        return QiskitRuntimeService(name=account) if account else QiskitRuntimeService()


def without_account(device: str) -> str:
    """Say what works in place of a device."""
    snapshot = device.replace("ibm_", "fake_")
    name = snapshot if snapshot in fake_devices() else "fake_brisbane"
    return f"without one, --backend {name} runs the same circuit on the device's stored snapshot"


def probe(service: Any, what: str) -> None:
    """Ask the service for anything: it says "no such device" also when the account or the connection is at fault.

    Raises:
        BackendError: no connection.
        AccountError: the account is refused.
    """
    try:
        service.jobs(limit=1)
    except Exception as error:
        raise unreachable(what, error) from error


def unreachable(what: str, error: BaseException) -> Exception:
    """Make of a failed request what is to be raised."""
    fault = translate(error)
    if isinstance(fault, AccountError):
        return fault
    return BackendError(
        f"can't reach {what}: {brief(error)}\nsee that the network is there and that QISKIT_IBM_URL, if set, is right; "
        "then run the same command again"
    )


def list_devices(service: Any) -> list[str]:
    """Name the account's devices.

    Raises:
        BackendError: the service can't be reached.
    """
    try:
        return sorted(backend.name for backend in service.backends())
    except (IBMError, QiskitBackendNotFoundError) as error:
        raise BackendError(f"can't list the account's devices: {brief(error)}") from error
