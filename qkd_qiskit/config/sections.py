"""What every table of settings has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

LARGEST_SEED = 2**31 - 1
MOST_SHOTS = 10_000_000
"""Executions that Runtime takes in one job."""


class Section(BaseModel):
    """A frozen table of settings: unknown keys, infinities and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
