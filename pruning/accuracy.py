"""How good the delivered files are, on the test split, which nothing was chosen by."""

import numpy as np

from pruning.account import Trained
from pruning.comparison import Comparison, Judged
from pruning.doubt import LOOKED_AT, doubt
from pruning.measure import run, session
from pruning.metrics import METRICS
from pruning.report import Accuracy

LARGE_DROP = 0.05
LARGE_GROWTH = 0.5  # of the mean squared error
EVALUATION_BATCH = 500


def judge(pruned: bytes, trained: Trained) -> Judged:
    """Both files, in one pass over the test split."""
    objective, test, goal = trained.objective, trained.dataset.test, trained.objective.goal
    compared = Comparison(goal, trained.network.gives[goal.output])
    dense_counts, pruned_counts = _counts([trained.order.model, pruned], trained, compared)
    dense, after = (METRICS[goal.metric].value(counts) for counts in (dense_counts, pruned_counts))
    x = test.prepared(slice(0, min(LOOKED_AT, len(test))))
    accuracy = Accuracy(
        metric=goal.metric,
        dense=dense,
        pruned=after,
        drop=objective.score(dense) - objective.score(after),
        examples=len(test),
        unit="images" if all(v.ndim == 4 for v in x.values()) else "examples",
        interval=compared.interval(),
        changed=compared.changed(),
    )
    text, names = doubt(goal, dense_counts, trained.order.preprocess, x), trained.dataset.class_names
    notes = (*([text] if text else []), *_notes(accuracy, goal.has_targets), *_other_outputs(pruned, trained))
    return Judged(accuracy, compared.classes(names), compared.matrices(names), notes)


def _other_outputs(pruned: bytes, trained: Trained) -> list[str]:
    """What became of the outputs that the accuracy says nothing of."""
    goal, r2 = trained.objective.goal, METRICS["r2"]
    sessions, counts = (session(trained.order.model), session(pruned)), dict[str, np.ndarray]()
    names = [name for name in trained.network.outputs if name != goal.output]
    for x, _ in trained.dataset.test.batches(EVALUATION_BATCH) if names else ():
        dense, after = (run(s, x) for s in sessions)
        for name in (n for n in names if dense[n].dtype.kind == "f"):
            counts[name] = counts.get(name, 0.0) + r2.count(after[name], dense[name], goal, "logits")
    return [
        f"output {name!r} was kept near the dense model's: R2 {r2.value(c):.4f} on the test split (1 is all of it)"
        for name, c in counts.items()
    ]


def metric_of(content: bytes, trained: Trained) -> float:
    """The report's metric of another file, on the test split."""
    _, counts = _counts([trained.order.model, content], trained)
    return METRICS[trained.objective.goal.metric].value(counts)


def _counts(files: list[bytes], trained: Trained, compared: Comparison | None = None) -> list[np.ndarray]:
    """What the metric is made from, for each file; without targets the first, the dense one, is right.

    compared: is told of both files as well.
    """
    goal = trained.objective.goal
    ending = trained.network.gives[goal.output]
    count = METRICS[goal.metric].count
    sessions = [session(content) for content in files]
    totals: list[np.ndarray] = []
    for x, y in trained.dataset.test.batches(EVALUATION_BATCH):
        outputs = [run(s, x)[goal.output] for s in sessions]
        right = outputs[0] if y is None else y
        totals.append(np.stack([count(output, right, goal, ending) for output in outputs]))
        if compared is not None:
            compared.add(outputs[0], outputs[1], y)
    return list(np.sum(totals, axis=0))


def _notes(accuracy: Accuracy, has_targets: bool) -> list[str]:
    found = []
    if not has_targets:
        found.append("the data set has no labels: the dense file counts as right, and reaches 1 by definition")
    is_error = accuracy.metric == "mse"
    if accuracy.drop > (LARGE_GROWTH * accuracy.dense if is_error else LARGE_DROP):
        lost = f"{100 * accuracy.drop / max(accuracy.dense, 1e-12):.0f} % more error" if is_error else ""
        found.append(
            f"the pruned file {f'makes {lost}' if lost else f'lost {100 * accuracy.drop:.1f} points'}: "
            "ask for a lower rate, or more rounds and epochs"
        )
    return found
