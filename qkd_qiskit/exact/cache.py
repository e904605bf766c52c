"""Keep the analysed circuits of the last calls, because primitives are handed the same circuit again and again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from qiskit import QuantumCircuit

from qkd_qiskit.exact.expectation import ExactExpectation

_KEPT = 16


class ExpectationCache:
    """The last few `ExactExpectation` objects by circuit and whatever else sets them apart."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, tuple[Any, ExactExpectation]] = OrderedDict()

    def find(
        self, circuit: QuantumCircuit, key: Hashable, alive: Any, build: Callable[[], ExactExpectation]
    ) -> ExactExpectation:
        """Return the stored object, or build and store it.

        Args:
            circuit: recognised by identity, and by its content so that one changed in place is analysed anew.
            key: what else the object depends on.
            alive: objects whose identity is part of the key; they are kept so that no other takes their place.
            build: makes the object.
        """
        key = (id(circuit), key)
        found = self._entries.get(key)
        if found is not None and found[0][0] == circuit:
            self._entries.move_to_end(key)
            return found[1]
        expectation = build()
        self._entries[key] = ((circuit.copy(), circuit, alive), expectation)
        if len(self._entries) > _KEPT:
            self._entries.popitem(last=False)
        return expectation
