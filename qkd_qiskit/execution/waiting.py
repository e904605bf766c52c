"""Waiting: bounded, growing, jittered pauses between requests, on a clock that a test can replace."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from qkd_qiskit.exceptions import BackendError
from qkd_qiskit.execution.faults import ServiceFault, translate

FIRST_PAUSE, LONGEST_PAUSE, GROWTH, JITTER = 1.0, 60.0, 1.5, 0.1
LONGEST_RETRY_AFTER = 3600.0
FINAL_STATES = ("DONE", "ERROR", "CANCELLED")
Say = Callable[[str], None]
Result = TypeVar("Result")


class Clock:
    """Monotonic time and sleep; a test patches the two methods."""

    def now(self) -> float:
        """Return seconds that never go back, whatever the wall clock does."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds))


class Pauses:
    """Pauses that grow from one second to a minute; never shorter than the service asks for.

    Args:
        clock: tells the time and sleeps.
        first: seconds of the first pause; the longest is a minute.
    """

    def __init__(self, clock: Clock, first: float = FIRST_PAUSE) -> None:
        self._clock, self._first, self._next = clock, first, first

    def restart(self) -> None:
        """Begin again with the first pause: something has moved."""
        self._next = self._first

    def take(self, retry_after: float | None = None) -> None:
        """Sleep once; `retry_after` is a lower bound, in seconds."""
        drawn = self._next * (1 + JITTER * random.random())
        self._clock.sleep(max(drawn, min(retry_after or 0.0, LONGEST_RETRY_AFTER)))
        self._next = min(LONGEST_PAUSE, GROWTH * self._next)


def persist(ask: Callable[[], Result], *, seconds: float, clock: Clock, say: Say | None = None) -> Result:
    """Repeat a request that changes nothing until it is answered.

    Args:
        ask: the request.
        seconds: how long to put up with faults that may pass.
        clock: tells the time and sleeps.
        say: told when it does not go at once.

    Raises:
        ServiceFault: the time is up.
        AccountError: the account is refused; asked once.
        Refusal: the service says no; asked once.
    """
    pauses, deadline, told = Pauses(clock), clock.now() + seconds, False
    while True:
        try:
            return ask()
        except Exception as error:
            fault = translate(error)
            if not isinstance(fault, ServiceFault) or clock.now() >= deadline:
                raise fault from error
            if say and not told:
                say(f"the service does not answer ({fault}); trying again, nothing is lost")
                told = True
            pauses.take(fault.retry_after)


def wait_until_final(
    ask_state: Callable[[], str], *, name: str, hours: float, clock: Clock, say: Say, patience: float | None = None
) -> str:
    """Poll until a job has ended, through any outage shorter than the deadline.

    Args:
        ask_state: returns the state: one of `FINAL_STATES`, or anything else.
        name: of the job, for what is said.
        hours: how long at most; the job itself goes on.
        clock: tells the time and sleeps.
        say: told each new state.
        patience: seconds to put up with faults; until the deadline if `None`.

    Returns:
        One of `FINAL_STATES`.

    Raises:
        BackendError: the time is up, or the service can't be reached.
        AccountError: the account is refused.
    """
    state, pauses, deadline = "", Pauses(clock), clock.now() + 3600 * hours
    while True:
        left = deadline - clock.now()
        try:
            now = persist(ask_state, seconds=left if patience is None else min(left, patience), clock=clock, say=say)
        except ServiceFault as fault:
            raise BackendError(
                f"lost sight of job {name}: {fault}\nit goes on; `qkd-qiskit jobs resume` fetches it"
            ) from fault
        if now != state:
            state = now
            pauses.restart()
            say(f"job {name}: {now.lower()}")
        if now in FINAL_STATES:
            return now
        if clock.now() >= deadline:
            raise BackendError(
                f"job {name} has not ended within {hours:g} hours; it goes on: `qkd-qiskit jobs resume` fetches it"
            )
        pauses.take()
