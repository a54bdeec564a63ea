"""What two files say to the same examples, counted against a scalar reference."""

import numpy as np
import pytest

from pruning.comparison import FEW, Comparison
from pruning.fit import Goal
from pruning.intervals import paired, wilson
from tests.unit.pruning.test_metrics import GOALS


def compared(kind: str, dense, pruned, y, batch: int = 7) -> Comparison:
    found = Comparison(GOALS[kind], "logits")
    for i in range(0, len(dense), batch):
        piece = slice(i, i + batch)
        found.add(dense[piece], pruned[piece], None if y is None else y[piece])
    return found


def scores(rng, n: int, classes: int = 4):
    return rng.standard_normal((n, classes))


@pytest.fixture
def classes():
    rng = np.random.default_rng(0)
    return scores(rng, 60), scores(rng, 60), rng.integers(0, 4, 60)


def test_every_example_is_in_one_of_four_cells(classes):
    dense, pruned, y = classes
    right = [(o.argmax(1) == y) for o in (dense, pruned)]
    changed = compared("classes", *classes).changed()
    assert changed is not None
    pairs = list(zip(*right, strict=True))
    expected = [pairs.count(p) for p in [(True, True), (True, False), (False, True), (False, False)]]
    assert list(changed.model_dump().values()) == expected and sum(expected) == 60


def test_the_interval_is_that_of_the_cells(classes):
    found = compared("classes", *classes)
    interval, c = found.interval(), found.changed()
    assert interval is not None and c is not None and "Newcombe" in interval.source
    assert interval.dense == wilson(c.both_right + c.only_dense, 60)
    assert interval.pruned == wilson(c.both_right + c.only_pruned, 60)
    assert interval.drop == paired(c.both_right, c.only_dense, c.only_pruned, c.both_wrong)


def test_the_confusion_by_class(classes):
    dense, pruned, y = classes
    found = compared("classes", *classes)
    matrices = found.matrices(("zero", "one"))
    assert matrices is not None and matrices.names == ("zero", "one", "2", "3")
    for said, output in ((matrices.dense, dense), (matrices.pruned, pruned)):
        expected = [[sum((y == t) & (output.argmax(1) == p)) for p in range(4)] for t in range(4)]
        assert [list(row) for row in said] == expected
    for k, one in enumerate(found.classes(("zero", "one"))):
        assert (one.label, one.examples) == (k, sum(y == k))
        assert (one.dense_right, one.pruned_right) == (matrices.dense[k][k], matrices.pruned[k][k])


def test_the_class_that_another_is_now_taken_for():
    y = np.array([0, 0, 0, 0, 1, 1])
    dense, pruned = np.eye(3)[[0, 0, 0, 2, 1, 1]], np.eye(3)[[0, 1, 1, 2, 1, 1]]
    first, second, third = compared("classes", dense, pruned, y).classes(("cat", "dog"))
    assert (first.taken_for, first.taken_more, first.change) == ("dog", 2, -2)
    assert (second.taken_for, second.taken_more, third.examples) == (None, 0, 0)


def test_many_classes_have_no_matrix_but_their_counts():
    rng = np.random.default_rng(0)
    found = compared("classes", scores(rng, 50, FEW + 1), scores(rng, 50, FEW + 1), rng.integers(0, FEW, 50))
    assert found.matrices(()) is None and len(found.classes(())) == FEW + 1


def test_yes_or_no_has_two_classes():
    dense, pruned, y = np.array([[2.0], [-1.0], [3.0]]), np.array([[-2.0], [-1.0], [3.0]]), np.array([1, 0, 0])
    matrices = compared("binary", dense, pruned, y).matrices(())
    assert matrices is not None
    assert (matrices.dense, matrices.pruned) == (((1, 1), (0, 1)), ((1, 1), (1, 0)))


def test_positions_of_one_example_are_not_counted_as_if_they_were_examples():
    """All positions of an example are alike here: the interval is as wide as that of so many examples."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 40)
    said = np.where(rng.random(40) < 0.8, y, (y + 1) % 4)
    wide = lambda a: np.repeat(a[:, None], 25, axis=1)  # noqa: E731
    output = np.eye(4)[wide(said)]
    interval = compared("positions", output, output, wide(y)).interval()
    assert interval is not None and "example" in interval.source and interval.drop == (0, 0)
    low, high = interval.dense
    expected = wilson(int((said == y).sum()), 40)
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.1)


def test_errors_have_the_normal_interval_of_their_examples():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((80, 3))
    dense, pruned = y + 0.1, y + rng.standard_normal((80, 3))
    found = compared("numbers", dense, pruned, y)
    interval, errors = found.interval(), ((pruned - y) ** 2).mean(1)
    assert interval is not None and found.changed() is None and found.classes(()) == ()
    reach = 1.959964 * errors.std(ddof=1) / np.sqrt(80)
    assert interval.pruned == pytest.approx((errors.mean() - reach, errors.mean() + reach))
    assert interval.drop == pytest.approx((errors.mean() - reach - 0.01, errors.mean() + reach - 0.01))


def test_without_labels_the_dense_file_is_right_by_definition():
    rng = np.random.default_rng(0)
    dense = scores(rng, 50)
    found = compared("scores", dense, np.where(np.arange(50)[:, None] < 45, dense, -dense), None)
    interval = found.interval()
    assert interval is not None and interval.dense == (1, 1) and interval.pruned == wilson(45, 50)
    assert interval.drop == pytest.approx((1 - interval.pruned[1], 1 - interval.pruned[0]))
    assert found.classes(()) == () and found.matrices(()) is None


def test_f1_has_the_interval_of_the_bootstrap():
    rng = np.random.default_rng(0)
    y = (rng.random((400, 5)) < 0.3).astype(float)
    dense, pruned = (np.where(rng.random(y.shape) < flip, -1, 1) * (2 * y - 1) for flip in (0.1, 0.2))
    interval = compared("labels", dense, pruned, y).interval()
    assert interval is not None and "Cochran" in interval.source

    def f1(output: np.ndarray, among: np.ndarray) -> float:
        said, true = output[among] > 0, y[among] > 0.5
        return 2 * (said & true).sum() / (said.sum() + true.sum())

    drawn = [rng.integers(0, 400, 400) for _ in range(4000)]
    before, after = (np.array([f1(o, among) for among in drawn]) for o in (dense, pruned))
    found = {"dense": before, "pruned": after, "drop": before - after}
    for name, values in found.items():
        assert getattr(interval, name) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.004), name


def test_where_no_label_is_said_nor_true_there_is_no_interval():
    none = np.full((9, 3), -1.0)
    assert compared("labels", none, none, np.zeros((9, 3))).interval() is None


def test_a_metric_without_a_known_form_has_no_interval():
    rng = np.random.default_rng(0)
    found = compared("values", scores(rng, 20), scores(rng, 20), rng.integers(0, 2, (20, 4)).astype(float))
    assert found.interval() is None and found.changed() is None


def test_the_axis_of_classes_is_where_the_goal_says():
    goal = Goal("y", "positions", "cross_entropy", "top1", 4, 1)
    output, y = np.moveaxis(np.eye(4)[[[0, 3, 1]]], -1, 1), np.array([[0, 3, 2]])
    found = Comparison(goal, "logits")
    found.add(output, output, y)
    matrices = found.matrices(())
    assert matrices is not None and len(matrices.names) == 4 and matrices.dense[2][1] == 1
