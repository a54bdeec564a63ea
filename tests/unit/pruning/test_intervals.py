"""Intervals against what was printed, and against what they promise."""

import numpy as np
import pytest

from pruning.intervals import Z95, examples_for, mean, paired, wilson


@pytest.mark.parametrize(
    ("right", "n", "expected"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_as_newcombe_printed_it(right, n, expected):
    """Newcombe 1998, Statistics in Medicine 17, 857, table I, method 3."""
    assert wilson(right, n) == pytest.approx(expected, abs=5e-5)


def test_the_paired_interval_as_newcombe_printed_it():
    """Newcombe 1998, Statistics in Medicine 17, 2635, method 10: 36, 12, 2, 0."""
    assert paired(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_intervals_stay_where_shares_are_and_turn_with_the_files():
    for cells in [(100, 0, 0, 0), (0, 0, 0, 100), (0, 50, 0, 0), (90, 3, 4, 3), (353, 5, 2, 0)]:
        low, high = paired(*cells)
        drop = (cells[1] - cells[2]) / sum(cells)
        assert -1 <= low <= drop <= high <= 1
        turned = paired(cells[0], cells[2], cells[1], cells[3])
        assert turned == pytest.approx((-high, -low), abs=1e-12)
    assert wilson(20, 20)[1] == 1 and wilson(0, 20)[0] == 0


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng, truth = np.random.default_rng(0), [0.95, 0.02, 0.01, 0.02]
    samples = rng.multinomial(1000, truth, 2000)
    drops = [paired(*map(int, cells)) for cells in samples]
    shares = [wilson(int(cells[0] + cells[1]), 1000) for cells in samples]
    for found, value in ((drops, 0.01), (shares, 0.97)):
        held = np.mean([low <= value <= high for low, high in found])
        assert 0.93 < held < 0.975, held  # 2000 samples: 0.95 within 4 standard errors, and a little for small counts


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(1).standard_normal(50)
    reach = Z95 * values.std(ddof=1) / np.sqrt(50)
    found = mean(float(values.sum()), float((values**2).sum()), 50)
    assert found == pytest.approx((values.mean() - reach, values.mean() + reach))


def test_with_so_many_examples_a_drop_is_beyond_chance():
    n = examples_for(0.01, 0.03)
    for factor, is_sure in ((1.2, True), (0.8, False)):
        size = round(factor * n)
        low, _ = paired(size - round(0.04 * size), round(0.02 * size), round(0.01 * size), round(0.01 * size))
        assert (low > 0) == is_sure
