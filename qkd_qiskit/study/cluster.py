"""Spreading work over a cluster with dask.distributed (extra `cluster`): the same work, the same numbers."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qkd_qiskit.exceptions import BackendError, ConfigurationError, QkdError
from qkd_qiskit.runs import describe_environment
from qkd_qiskit.study.working import Done, Work, do

TIMEOUT = 10
"""Seconds that an address may take to answer."""
ATTEMPTS = 3
"""Workers that a piece of work may outlive."""
VARIABLES = ("QKD_DATA_DIR", "QKD_CACHE_DIR")
"""Of this process; workers get them, and must see the same folders."""


@contextlib.contextmanager
def open_cluster(address: str) -> Iterator[Any]:
    """Connect to a scheduler, or start one with workers on this machine.

    Args:
        address: `tcp://host:port`, or `local:N` for N workers.

    Raises:
        ConfigurationError: the address can't be read, or dask.distributed is not installed.
        BackendError: nobody answers there.
    """
    try:
        import distributed
    except ImportError as error:
        raise ConfigurationError(
            f"--cluster needs {error.name}; pip install 'qkd_qiskit[cluster]', or leave it out for this machine's cores"
        ) from error
    kind, _, rest = address.partition(":")
    if kind == "local":
        if not rest.isdecimal() or int(rest) < 1:
            raise ConfigurationError(f"--cluster {address}: write local:4 for four workers on this machine")
        import dask

        with (
            dask.config.set({"distributed.scheduler.allowed-failures": ATTEMPTS}),
            distributed.LocalCluster(
                n_workers=int(rest),
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs="CRITICAL",
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    if "://" not in address:
        raise ConfigurationError(f"--cluster {address}: write tcp://host:8786, or local:4 for this machine")
    try:
        client = distributed.Client(address, timeout=TIMEOUT)
    except (OSError, TimeoutError, ValueError) as error:
        raise BackendError(
            f"no dask scheduler answers at {address} within {TIMEOUT} s; start one with `dask scheduler` and workers "
            f"with `dask worker {address}`, or give --cluster local:4"
        ) from error
    with client:
        yield client


def check_workers(client: Any, folder: Path) -> None:
    """Find out whether every worker has this version, and sees the study's folder.

    Raises:
        BackendError: there is no worker, or one is refused, by name.
    """
    token = folder / f".seen-{uuid.uuid4().hex}"
    token.touch()
    try:
        answers = client.run(_introduce, str(token), {name: os.environ.get(name) for name in VARIABLES})
    finally:
        token.unlink()
    if not answers:
        raise BackendError("the cluster has no workers; start some with `dask worker ADDRESS --nthreads 1`")
    own = describe_environment()["versions"]
    for worker, (versions, sees) in answers.items():
        other = [f"{name} {versions.get(name)} (here {own[name]})" for name in own if versions.get(name) != own[name]]
        if other:
            raise BackendError(f"worker {worker} has {', '.join(other)}; install the same versions there, or stop it")
        if not sees:
            raise BackendError(
                f"worker {worker} does not see {folder.resolve()}; the study's folder must be on a disk that all share"
            )


def _introduce(token: str, variables: dict[str, str | None]) -> tuple[dict[str, Any], bool]:
    """Say, on a worker, which versions it has and whether it sees a file; take over where the images are."""
    os.environ.update({name: value for name, value in variables.items() if value is not None})
    return describe_environment()["versions"], Path(token).exists()


def spread_over(client: Any, works: Sequence[Work]) -> Iterator[Done]:
    """Do all work on a cluster and yield what came of each piece as it is finished.

    Raises:
        BackendError: a piece of work killed `ATTEMPTS` workers.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    variables = {name: os.environ.get(name) for name in VARIABLES}
    session = uuid.uuid4().hex[:8]
    futures = {
        client.submit(
            _do, replace(work, folder=work.folder.resolve()), variables, key=f"{work.kind}-{work.cell.key}-{session}"
        ): work
        for work in works
    }
    try:
        for future in as_completed(list(futures)):
            try:
                yield replace(future.result(), work=futures[future])
            except KilledWorker as error:
                raise BackendError(
                    f"{futures[future].name} killed {ATTEMPTS + 1} workers; memory? ({error})"
                ) from error
            except OSError as error:
                raise QkdError(f"the connection to the cluster broke: {error}; run the study again to go on") from error
            future.release()
    finally:
        client.cancel(list(futures))


def _do(work: Work, variables: dict[str, str | None]) -> Done:
    """Do the work on a worker; one that was started anew does not know the folders yet."""
    os.environ.update({name: value for name, value in variables.items() if value is not None})
    return do(work)
