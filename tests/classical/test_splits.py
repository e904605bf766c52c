import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_qiskit.classical.splits import merge_classes, shuffle_class, split_classes
from qkd_qiskit.exceptions import DataError

LABELS = np.arange(100, dtype=np.int64) % 4


@settings(max_examples=50, deadline=None)
@given(fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**31))
def test_parts_are_disjoint_complete_and_stratified(fraction: float, seed: int) -> None:
    large, small = split_classes(LABELS, [0, 1, 2, 3], fraction, seed=seed)
    everything = np.concatenate(large + small)
    assert np.array_equal(np.sort(everything), np.arange(100))
    for label, (many, few) in enumerate(zip(large, small)):
        assert set(LABELS[many]) == set(LABELS[few]) == {label}
        assert abs(len(few) - 25 * fraction) <= 1


def test_split_of_a_class_does_not_depend_on_the_other_classes() -> None:
    alone, _ = split_classes(LABELS, [2, 3], 0.2, seed=1)
    among, _ = split_classes(LABELS, [0, 1, 2, 3], 0.2, seed=1)
    assert np.array_equal(alone[0], among[2])


def test_seed_decides() -> None:
    first, again, other = (shuffle_class(LABELS, 1, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_caps_are_nested_and_sorted() -> None:
    large, _ = split_classes(LABELS, [0, 1], 0.2, seed=0)
    few, more = merge_classes(large, 3), merge_classes(large, 7)
    assert len(few) == 6
    assert set(few) < set(more)
    assert np.array_equal(more, np.sort(more))
    assert len(merge_classes(large, 1000)) == len(merge_classes(large, None)) == 40


def test_a_class_without_images_is_named() -> None:
    with pytest.raises(DataError, match="class 7 has 0 images"):
        shuffle_class(LABELS, 7, seed=0)
    with pytest.raises(DataError, match="class 4 has 1 images"):
        split_classes(np.append(LABELS, 4), [0, 4], 0.1, seed=0)
