"""The fault script: which request goes wrong, in what way, and how often.

An action is a name, with an argument after a colon where it takes one::

    status:502               answer 502, do nothing
    status_after_accept:502  do it, then answer 502
    429, 429:retry-after=1   answer 429, with or without the header
    401                      answer 401
    drop, drop_after         close the connection without an answer, before or after doing it
    reset, reset_after       the same with a TCP reset
    stall, stall:5           hold the request for ever or for seconds, then do it and answer
    late:3600                accept the job, drop the answer, list it only after so many seconds
    stall_after              do it, then hold the answer for ever
    delay:0.5                the same as stall with an argument
    refuse:2                 reset, and let nobody connect for two seconds
    cut_body                 announce the whole body, send half, close
    html, empty, garbage     status 200 and a body of HTML, of nothing, of broken JSON
    nan, wrong_shape, fewer_shots, missing_pub   spoil the numbers in a result
    unknown_status           say that the job is in a state nobody has heard of
    job:error, job:cancelled, job:1305   accept the job and let it end so
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

ACTIONS = {
    "status", "status_after_accept", "429", "401", "drop", "drop_after", "reset", "reset_after", "stall",
    "stall_after", "delay", "refuse", "cut_body", "html", "empty", "garbage", "nan", "wrong_shape",
    "fewer_shots", "missing_pub", "unknown_status", "job", "late",
}  # fmt: skip
AFTERWARDS = {
    "status_after_accept", "drop_after", "reset_after", "stall_after", "cut_body", "html", "empty", "garbage", "nan",
    "wrong_shape", "fewer_shots", "missing_pub", "unknown_status", "late",
}  # fmt: skip

EVERYTHING: tuple[tuple[str, str, str], ...] = (
    ("POST", "/jobs", "status:502"),
    ("POST", "/jobs", "status_after_accept:502"),
    ("POST", "/jobs", "429"),
    ("POST", "/jobs", "429:retry-after=1"),
    ("POST", "/jobs", "drop"),
    ("POST", "/jobs", "drop_after"),
    ("POST", "/jobs", "reset"),
    ("POST", "/jobs", "job:error"),
    ("POST", "/jobs", "job:1305"),
    ("GET", "/jobs/*", "status:500"),
    ("GET", "/jobs/*", "429"),
    ("GET", "/jobs/*", "drop"),
    ("GET", "/jobs/*/results", "cut_body"),
    ("GET", "/jobs/*/results", "html"),
    ("GET", "/jobs/*/results", "empty"),
    ("GET", "/jobs/*/results", "nan"),
    ("GET", "/jobs/*/results", "wrong_shape"),
    ("GET", "/jobs", "status:503"),
    ("GET", "/jobs", "429"),
    ("GET", "/jobs", "drop"),
    ("GET", "/instances/usage", "429"),
    ("GET", "/backends/*/status", "status:502"),
)
"""What the probabilistic mode draws from unless told otherwise: all that does not end a run and costs no waiting."""


@dataclass
class Fault:
    """One line of the script."""

    method: str
    path: str
    action: str
    times: int | None = 1
    """How often it strikes; None for every time."""
    after: int = 0
    """How many matching requests it lets pass first."""
    probability: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an action nobody knows, so that a typo cannot make a test pass."""
        if self.name not in ACTIONS:
            raise ValueError(f"action must be one of {sorted(ACTIONS)}, got {self.action!r}")

    @property
    def name(self) -> str:
        """The action without its argument."""
        return self.action.partition(":")[0]

    @property
    def argument(self) -> str:
        """What follows the action's colon, or nothing."""
        return self.action.partition(":")[2]

    @property
    def comes_after(self) -> bool:
        """Whether the request is carried out first."""
        return self.name in AFTERWARDS

    def fits(self, method: str, path: str) -> bool:
        """Tell whether a request is one it is meant for; ``/jobs/*`` is the job itself, not what lies below it."""
        deep_enough = self.path.count("/") == path.count("/")
        return self.method in ("*", method) and deep_enough and fnmatchcase(path, self.path)


class FaultScript:
    """The faults still to come. The first that fits strikes; the rest wait."""

    def __init__(self, seed: int = 0):
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.struck: Counter[str] = Counter()
        """How often each action has struck, whether its fault is still in the script or not."""
        self._random = random.Random(seed)

    def add(
        self,
        method: str,
        path: str,
        action: str,
        *,
        times: int | None = 1,
        after: int = 0,
        probability: float = 1.0,
    ) -> Fault:
        """Add a line: after ``after`` matching requests, do ``action`` to the next ``times``."""
        fault = Fault(method, path, action, times, after, probability)
        with self._lock:
            self._faults.append(fault)
        return fault

    def randomly(self, probability: float, *, seed: int, choices: Sequence[tuple[str, str, str]] = EVERYTHING) -> None:
        """Let each of ``choices`` (method, path, action) strike with ``probability`` at every request it fits."""
        self._random.seed(seed)
        for method, path, action in choices:
            self.add(method, path, action, times=None, probability=probability)

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, if any, and count it."""
        with self._lock:
            for fault in self._faults:
                if not fault.fits(method, path) or fault.times == 0:
                    continue
                if fault.after > 0:
                    fault.after -= 1
                elif self._random.random() < fault.probability:
                    fault.times = None if fault.times is None else fault.times - 1
                    self.struck[fault.action] += 1
                    return fault
        return None
