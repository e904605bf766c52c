"""Whether an evaluation on hardware may be paid: by its cap, by the account, and by you."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qkd_qiskit.config import BackendSettings
from qkd_qiskit.exceptions import BudgetError
from qkd_qiskit.execution.cost import Price
from qkd_qiskit.execution.ledger import FAILED, Ledger, Record
from qkd_qiskit.execution.submission import Unit, is_due
from qkd_qiskit.pipeline.spending import Spending

LARGEST_CAP = next(item.le for item in BackendSettings.model_fields["max_qpu_seconds"].metadata if hasattr(item, "le"))


@dataclass(frozen=True)
class Bill:
    """What of an evaluation is still to be paid.

    Attributes:
        name: the evaluation's name in the ledger.
        price: of all of it.
        due: units that are to be submitted now, each with its newest record.
        spent: QPU seconds that its jobs were charged for, or have reserved.
        unusable: units of an earlier plan that have jobs.
        budget: QPU seconds that were confirmed before; `None` if it is not in the ledger.
    """

    name: str
    price: Price
    due: tuple[tuple[Unit, Record | None], ...]
    spent: float
    unusable: int
    budget: float | None

    @classmethod
    def draw_up(cls, ledger: Ledger, name: str, price: Price, units: list[Unit], *, retry_failed: bool) -> Bill:
        """Compare a plan with what the ledger knows of the evaluation."""
        known = ledger.evaluation(name)
        newest = [(unit, ledger.latest(unit.name)) for unit in units]
        due = tuple((unit, record) for unit, record in newest if is_due(record, retry_failed))
        others = {record.unit for record in ledger.records(name) if record.job_id} - {unit.name for unit in units}
        return cls(name, price, due, ledger.spent(name), len(others), known["budget"] if known else None)

    @property
    def seconds(self) -> float:
        """QPU seconds of what is due."""
        return sum(unit.estimated for unit, _ in self.due)

    @property
    def needed(self) -> int:
        """The smallest cap with which no job of it is stopped for having reached it."""
        return math.ceil(self.spent + sum(unit.most_after(record) for unit, record in self.due))

    @property
    def again(self) -> int:
        """Units that are paid although they had a job, or were called off."""
        return sum(record is not None and (record.state != FAILED or bool(record.job_id)) for _, record in self.due)

    @property
    def was_confirmed(self) -> bool:
        """Whether all this has been confirmed already: the same plan, no higher cap, nothing paid a second time."""
        if self.budget is None:
            return False
        return not self.due or (self.budget >= self.price.budget and not self.unusable and not self.again)

    def refusal(self) -> str:
        """Say why it can't be paid; empty if it can."""
        price, fewer = self.price, "give fewer --samples or --shots, or milder error mitigation"
        left = math.inf if price.remaining is None else price.remaining
        if self.due and self.seconds > left:
            return (
                f"it needs {self._about} and the account has {left:.0f} left; nothing was submitted; {fewer}, or wait "
                "until the account has more"
            )
        if self.due and self.needed > price.budget:
            spent = f"{self.spent:.0f} are spent or reserved already, " if self.spent else ""
            payable = self.needed <= min(left + self.spent, LARGEST_CAP)
            raised = f", or --max-qpu-seconds {self.needed}" if payable else ""
            return (
                f"it needs {self._about}, {spent}and jobs may take up to {self.needed} in all before the service stops "
                f"them, where {price.budget:.0f} are allowed; nothing was submitted\n{fewer}{raised}"
            )
        return ""

    @property
    def _about(self) -> str:
        return f"{'at most about' if self.price.bounded else 'at least'} {self.seconds:.0f} QPU seconds"

    def confirm(self, spending: Spending) -> None:
        """Have it confirmed.

        Raises:
            BudgetError: it can't be paid, or was not confirmed.
        """
        if refusal := self.refusal():
            raise BudgetError(refusal)
        if not spending.confirmed and not (spending.ask and spending.ask(self.price)):
            raise BudgetError("not confirmed, nothing was submitted; give --yes to pay without being asked")
