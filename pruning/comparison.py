"""The two files on the same examples: how often each is right, where they differ, and how sure that is."""

from dataclasses import dataclass, field

import numpy as np

from pruning import intervals
from pruning.fit import Goal
from pruning.metrics import decided
from pruning.onnx.network import Gives
from pruning.report import Accuracy, Changed, ClassReport, Confusion, Interval

FEW = 30  # classes whose whole confusion is told
MOST = 2000  # classes that are told of at all: counts of pairs take 8 bytes times their square
OF_SHARES = "Wilson (1927) for each file; Newcombe (1998), method 10, for the drop of the same examples"
OF_AGREEMENT = "Wilson (1927); the dense file agrees with itself by definition"
OF_MEANS = "normal, from what each example gives"
OF_RATIOS = "normal, of a ratio of sums, from what each example adds to both (Cochran 1977, 6.3)"
COUNTED, KNOWN = ("top1", "agreement"), ("top1", "agreement", "mse", "f1")


@dataclass(frozen=True)
class Judged:
    """What the test split said of both files; notes: what to look into before using the pruned one."""

    accuracy: Accuracy
    classes: tuple[ClassReport, ...] = ()
    confusion: Confusion | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Comparison:
    """Adds up what both files say to batch after batch of the test split.

    each: of every batch, what the metric is of each example, (2, N), the dense file's first; of f1 what each example
    adds above and below the line, (2, 2, N).
    confusion: (2, classes, classes), by true class and said one; None where the metric knows no true class.
    """

    goal: Goal
    ending: Gives
    each: list[np.ndarray] = field(default_factory=list)
    cells: np.ndarray = field(default_factory=lambda: np.zeros(4, np.int64))
    confusion: np.ndarray | None = None
    positions: int = 1

    def add(self, dense: np.ndarray, pruned: np.ndarray, y: np.ndarray | None) -> None:
        """A batch: the output of each file, and the targets, None where the dense output is the target."""
        outputs = (dense, pruned)
        if self.goal.metric == "mse" and y is not None:
            errors = [((o.reshape(len(y), -1) - y.reshape(len(y), -1)).astype(np.float64) ** 2) for o in outputs]
            self.each.append(np.stack([e.mean(1) for e in errors]))
        if self.goal.metric == "f1" and y is not None:
            true = y > 0.5
            labels = [decided(o, self.goal, self.ending).reshape(y.shape) for o in outputs]
            self.each.append(np.stack([[2 * (s & true).sum(1), s.sum(1) + true.sum(1)] for s in labels]))
        if self.goal.metric in COUNTED:
            said = [decided(o, self.goal, self.ending) for o in outputs]
            true = said[0] if y is None else y.reshape(said[0].shape)
            self._count([s == true for s in said])
            if self.goal.metric == "top1":
                self._confuse(said, true, self._classes(dense))

    def interval(self) -> Interval | None:
        """Of the metric of both files, and of the drop; None where there is no closed form."""
        if self.goal.metric not in KNOWN or not self.each:
            return None
        if self.goal.metric == "f1":
            return self._of_ratios()
        both, dense, pruned, neither = (int(n) for n in self.cells)
        if self.goal.metric == "mse" or self.positions > 1:
            return self._of_means()
        n = both + dense + pruned + neither
        after = intervals.wilson(both + pruned, n)
        if self.goal.metric == "agreement":
            return Interval(dense=(1, 1), pruned=after, drop=(1 - after[1], 1 - after[0]), source=OF_AGREEMENT)
        drop = intervals.paired(both, dense, pruned, neither)
        return Interval(dense=intervals.wilson(both + dense, n), pruned=after, drop=drop, source=OF_SHARES)

    def changed(self) -> Changed | None:
        """None where the metric knows no right and wrong."""
        if self.goal.metric not in COUNTED:
            return None
        return Changed(**dict(zip(Changed.model_fields, map(int, self.cells), strict=True)))

    def classes(self, names: tuple[str, ...]) -> tuple[ClassReport, ...]:
        """By label; names: of the labels, as far as they are known."""
        if self.confusion is None:
            return ()
        dense, pruned = self.confusion
        found, more = [], pruned - dense
        np.fill_diagonal(more, 0)
        for k, (before, after) in enumerate(zip(dense, pruned, strict=True)):
            other = int(more[k].argmax())
            is_taken = more[k, other] > 0
            found.append(
                ClassReport(
                    label=k,
                    name=_name(k, names),
                    examples=int(before.sum()),
                    dense_right=int(before[k]),
                    pruned_right=int(after[k]),
                    taken_for=_name(other, names) if is_taken else None,
                    taken_more=int(more[k, other]) if is_taken else 0,
                )
            )
        return tuple(found)

    def matrices(self, names: tuple[str, ...]) -> Confusion | None:
        """None where there are too many classes to look at."""
        if self.confusion is None or len(self.confusion[0]) > FEW:
            return None
        dense, pruned = (tuple(tuple(map(int, row)) for row in matrix) for matrix in self.confusion)
        return Confusion(names=tuple(_name(k, names) for k in range(len(dense))), dense=dense, pruned=pruned)

    def _classes(self, output: np.ndarray) -> int:
        if self.goal.kind == "binary":
            return 2
        return output[0].size if self.goal.kind == "classes" else output.shape[self.goal.class_axis]

    def _count(self, right: list[np.ndarray]) -> None:
        dense, pruned = (r.reshape(len(r), -1) for r in right)
        self.positions = dense.shape[1]
        self.each.append(np.stack([dense.mean(1), pruned.mean(1)]))
        for i, group in enumerate((dense & pruned, dense & ~pruned, ~dense & pruned, ~dense & ~pruned)):
            self.cells[i] += group.sum()

    def _confuse(self, said: list[np.ndarray], true: np.ndarray, classes: int) -> None:
        if classes > MOST:
            return
        if self.confusion is None:
            self.confusion = np.zeros((2, classes, classes), np.int64)
        for counts, one in zip(self.confusion, said, strict=True):
            pairs = classes * true.reshape(-1).astype(np.int64) + one.reshape(-1)
            counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def _of_means(self) -> Interval:
        """Positions of one example are alike: what each example gives is one value."""
        dense, pruned = np.concatenate(self.each, axis=1)
        return self._normal(dense, pruned, OF_MEANS)

    def _of_ratios(self) -> Interval | None:
        """None where nothing is said and nothing true."""
        parts = np.concatenate(self.each, axis=-1).astype(np.float64)
        if not parts[:, 1].sum(axis=-1).all():
            return None
        dense, pruned = (_linear(above, below) for above, below in parts)
        return self._normal(dense, pruned, OF_RATIOS)

    def _normal(self, dense: np.ndarray, pruned: np.ndarray, source: str) -> Interval:
        """From the values of the examples, (N,) each; a share ends at 0 and 1."""
        is_error = self.goal.metric == "mse"
        drop = _mean(pruned - dense if is_error else dense - pruned)
        (l1, h1), (l2, h2) = _mean(dense), _mean(pruned)
        most = np.inf if is_error else 1.0
        return Interval(dense=(max(l1, 0), min(h1, most)), pruned=(max(l2, 0), min(h2, most)), drop=drop, source=source)


def _linear(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """(N,): values whose mean is sum(above) / sum(below), and whose spread is, to first order, that of the ratio."""
    ratio = above.sum() / below.sum()
    return ratio + (above - ratio * below) / below.mean()


def _mean(values: np.ndarray) -> intervals.Bounds:
    return intervals.mean(float(values.sum()), float((values**2).sum()), len(values))


def _name(label: int, names: tuple[str, ...]) -> str:
    return names[label] if label < len(names) else str(label)
