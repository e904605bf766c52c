"""Spreading work over the cores of this machine with joblib: a killed worker costs its own piece of work only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from qkd_qiskit.exceptions import ConfigurationError, QkdError
from qkd_qiskit.study.working import Done, Work, do

PATIENCE = 3
"""Workers that may die one after the other, without any piece of work finished between, before it is given up."""


def choose_workers(asked: int | None, pieces: int) -> int:
    """Return how many processes to use: what was asked, else one for each core that this process may use.

    Raises:
        ConfigurationError: fewer than one.
    """
    if asked is not None and asked < 1:
        raise ConfigurationError(f"--workers {asked}: at least 1 is needed; leave it out for one on each core")
    return max(1, min(asked or len(os.sched_getaffinity(0)), pieces))


def spread(works: Sequence[Work], workers: int) -> Iterator[Done]:
    """Do all work in some processes and yield what came of each piece as it is finished.

    Args:
        works: in the order in which they are begun.
        workers: with one, everything is done in this process.

    Raises:
        QkdError: workers die again and again (memory, usually).
    """
    if workers == 1:
        yield from map(do, works)
        return
    left = dict(enumerate(works))
    deaths = 0
    while left:
        try:
            for index, done in _run(left, workers):
                del left[index]
                deaths = 0
                yield done
        except BrokenProcessPool as error:
            deaths += 1
            if deaths >= PATIENCE:
                raise QkdError(
                    f"workers died {deaths} times in a row, the last time with {len(left)} pieces of work left; they "
                    f"probably want more memory than there is: give --workers {max(1, workers // 2)}"
                ) from error
        finally:
            if left:
                get_reusable_executor().shutdown(wait=False, kill_workers=True)


def _run(left: dict[int, Work], workers: int) -> Iterator[tuple[int, Done]]:
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers)
        yield from parallel(delayed(_do)(index, work) for index, work in list(left.items()))


def _do(index: int, work: Work) -> tuple[int, Done]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    return index, do(work)
