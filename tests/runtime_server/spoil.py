"""Ways to spoil a result that still decodes: NaN, a wrong shape, a missing PUB."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel
from qiskit.primitives.containers import DataBin, PrimitiveResult, PubResult
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder

Change = Callable[[np.ndarray], np.ndarray]


def with_nan(array: np.ndarray) -> np.ndarray:
    """Put NaN where it spoils every value: into each first shot of bits, into all of anything else."""
    if array.dtype != bool:
        return np.full(array.shape, np.nan)
    spoiled = array.astype(np.float16)
    spoiled[..., :1, :] = np.nan
    return spoiled


def one_row_short(array: np.ndarray) -> np.ndarray:
    """Drop the last entry along the first axis that has more than one."""
    axis = next((axis for axis, size in enumerate(array.shape) if size > 1), None)
    return array if axis is None else np.delete(array, -1, axis=axis)


def half_the_shots(array: np.ndarray) -> np.ndarray:
    """Keep half of the shots, which the client does not notice; what has no shots stays."""
    return array[..., : array.shape[-2] // 2, :] if array.dtype == bool else array


def change_arrays(text: str, change: Change) -> str:
    """Apply a change to every measured array of a result."""
    raw = json.loads(text)
    if "schema_version" not in raw:
        return change_estimates(text, change)
    for item in raw["data"]:
        for name, tensor in item["results"].items():
            array = CompressedTensorModel(**tensor).to_numpy()
            item["results"][name] = CompressedTensorModel.from_numpy(change(array)).model_dump()
    return json.dumps(raw)


def change_estimates(text: str, change: Change) -> str:
    """Apply a change to every array of a legacy Estimator's result."""
    result = json.loads(text, cls=RuntimeDecoder)
    changed = []
    for pub in result:
        fields = {name: change(np.asarray(array)) for name, array in pub.data.items()}
        changed.append(PubResult(DataBin(**fields, shape=fields["evs"].shape), pub.metadata))
    return json.dumps(PrimitiveResult(changed, result.metadata), cls=RuntimeEncoder)


def without_last_pub(text: str) -> str:
    """Drop the last item of a result."""
    raw: dict[str, Any] = json.loads(text)
    if "schema_version" in raw:
        raw["data"].pop()
    else:
        raw["__value__"]["pub_results"].pop()
    return json.dumps(raw)


SPOILERS: dict[str, Callable[[str], str]] = {
    "nan": lambda text: change_arrays(text, with_nan),
    "wrong_shape": lambda text: change_arrays(text, one_row_short),
    "fewer_shots": lambda text: change_arrays(text, half_the_shots),
    "missing_pub": without_last_pub,
}
