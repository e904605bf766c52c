"""Statistics against SciPy, brute force and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.study.statistics import (
    ONE_SEED,
    bootstrap_interval,
    compare_paired,
    correct_holm,
    sign_flip_test,
    wilson_interval,
)


@pytest.mark.parametrize("n", [2, 5, 8, 11])
def test_the_permutation_test_is_that_of_brute_force_and_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1, n)
    means = [abs(np.mean(values * signs)) for signs in itertools.product([1, -1], repeat=n)]
    brute = np.mean([mean >= abs(values.mean()) - 1e-12 for mean in means])
    assert sign_flip_test(values) == pytest.approx(brute, abs=1e-12)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(values) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_ties_count_as_at_least_as_large() -> None:
    assert sign_flip_test([0.1, 0.1, 0.1]) == 2 / 8
    assert sign_flip_test([0.3, -0.1, -0.2]) == 1
    assert sign_flip_test([0.0] * 6) == 1


def test_many_differences_are_sampled_and_agree_with_the_normal_limit() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, 30)
    exact = sign_flip_test(values[:20])
    assert exact * 2**20 == round(exact * 2**20)
    z = values.sum() / np.sqrt((values**2).sum())
    assert sign_flip_test(values) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=0.25)
    assert sign_flip_test(values) == sign_flip_test(values)


def test_the_interval_of_the_mean_covers_what_it_says_where_the_plain_percentile_does_not() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 1, (400, 8))
    ours = [bootstrap_interval(sample, resamples=1000, seed=index) for index, sample in enumerate(samples)]
    plain = [np.quantile(sample[generator.integers(0, 8, (1000, 8))].mean(1), [0.025, 0.975]) for sample in samples]
    covered = np.mean([low <= 0 <= high for low, high in ours])
    assert 0.92 < covered < 0.98
    assert np.mean([low <= 0 <= high for low, high in plain]) < covered - 0.02


def test_the_interval_of_many_values_is_that_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(1).exponential(1, 200)
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        theirs = stats.bootstrap(
            (values,), statistic, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
        ).confidence_interval
        assert bootstrap_interval(values, name) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_holm_against_the_definition() -> None:
    p = [0.01, None, 0.04, 0.03, 0.005]
    assert correct_holm(p) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert correct_holm([]) == []
    assert correct_holm([0.6, 0.7]) == [1.0, 1.0]


def test_one_seed_gives_no_interval_and_says_why() -> None:
    found = compare_paired([0.2])
    assert (found.mean, found.mean_interval, found.median_interval, found.p) == (0.2, None, None, None)
    assert found.refused == ONE_SEED
    assert compare_paired([]).refused
    with pytest.raises(ConfigurationError, match="no interval from 1 value: one seed"):
        bootstrap_interval([1.0])


def test_a_summary_of_paired_differences() -> None:
    found = compare_paired([0.01, 0.02, 0.03, 0.04, 0.10, 0.02])
    assert found.mean == pytest.approx(0.22 / 6)
    assert found.median == pytest.approx(0.025)
    assert found.p == found.smallest_p == 2 / 64
    assert found.mean_interval is not None
    assert 0.01 <= found.mean_interval[0] < found.mean < found.mean_interval[1] <= 0.1


def test_wilson_against_its_formula() -> None:
    k, n, z = 37, 50, stats.norm.ppf(0.975)
    centre = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    assert wilson_interval(k, n) == pytest.approx((centre - half, centre + half))
    with pytest.raises(ConfigurationError, match="no interval for 0 of 0"):
        wilson_interval(0, 0)
