"""What a data set means to a model, or why it means nothing."""

import pytest

from pruning.analysis import Analysis, Array, DatasetSummary, Port, Split, Targets
from pruning.errors import DatasetMismatch, InvalidPlan
from pruning.fit import check_fit


def analysis(*outputs, inputs=((None, 4),)):
    def ports(shapes, letter):
        return tuple(Port(name=f"{letter}{i}", dtype="float", shape=s) for i, s in enumerate(shapes))

    return Analysis(
        inputs=ports(inputs, "in"),
        outputs=ports(outputs, "out"),
        opset=17,
        operators={},
        layers=(),
        weights=0,
        multiply_adds=0,
        agrees_max_abs=0,
    )


def dataset(targets: Targets = "classes", target_shape=(), classes=None, shape=(4,), inputs=None):
    split = Split(examples=2, shape=shape, dtype="float32", inputs=inputs or {})
    return DatasetSummary(
        format="npz", splits={"train": split}, targets=targets, target_shape=target_shape, classes=classes
    )


@pytest.mark.parametrize(
    ("output", "data", "kind", "loss", "metric"),
    [
        ((None, 3), dataset(classes=3), "classes", "cross_entropy", "top1"),
        ((1, 3), dataset(classes=3), "classes", "cross_entropy", "top1"),
        ((3,), dataset(classes=3), "classes", "cross_entropy", "top1"),
        ((None, 1), dataset(classes=2), "binary", "binary_cross_entropy", "top1"),
        ((None,), dataset(classes=2), "binary", "binary_cross_entropy", "top1"),
        ((None, 3), dataset("labels", (3,)), "labels", "binary_cross_entropy", "f1"),
        ((None, 5, 3), dataset("labels", (3,)), "positions", "cross_entropy", "top1"),
        ((None, 3), dataset("numbers", (3,)), "numbers", "mse", "mse"),
        ((None, 1), dataset("numbers"), "numbers", "mse", "mse"),
        ((None, 5, 8, 9), dataset("positions", (8, 9), 5), "positions", "cross_entropy", "top1"),
        ((None, 8, 9, 5), dataset("positions", (8, 9), 5), "positions", "cross_entropy", "top1"),
        ((None, None, 7), dataset("positions", (8,), 5), "positions", "cross_entropy", "top1"),
        ((None, 3), dataset("none"), "scores", "distill", "agreement"),
        ((None, 1), dataset("none"), "values", "distill", "r2"),
        ((None, 3, 8, 8), dataset("none"), "values", "distill", "r2"),
    ],
)
def test_the_goal_follows_from_targets_and_output(output, data, kind, loss, metric):
    goal = check_fit(analysis(output), data)
    assert (goal.kind, goal.loss, goal.metric) == (kind, loss, metric)


def test_the_axis_of_the_classes_is_found():
    data = dataset("positions", (8, 9), 5)
    assert check_fit(analysis((None, 5, 8, 9)), data).class_axis == 1
    assert check_fit(analysis((None, 8, 9, 5)), data).class_axis == -1


def test_wishes_of_the_plan():
    goal = check_fit(analysis((None, 7), (None, 3)), dataset(classes=3), "distill", "out1")
    assert (goal.output, goal.loss, goal.metric) == ("out1", "distill", "top1")
    goal = check_fit(analysis((None, 7)), dataset("none"), "mse")
    assert (goal.kind, goal.loss, goal.metric) == ("values", "mse", "r2")


@pytest.mark.parametrize(
    ("loss", "output", "data", "pointer", "says"),
    [
        ("mse", None, dataset(classes=3), "/train/loss", "mse does not fit .* classes; take auto or cross_entropy or"),
        ("cross_entropy", None, dataset("none"), "/train/loss", "of the kind none; take auto or distill"),
        ("binary_cross_entropy", None, dataset("numbers", (3,)), "/train/loss", "take auto or mse or distill"),
        ("auto", "y", dataset(classes=3), "/train/output", "no output 'y'; it has out0"),
    ],
)
def test_wishes_that_do_not_fit(loss, output, data, pointer, says):
    with pytest.raises(InvalidPlan, match=says) as error:
        check_fit(analysis((None, 3)), data, loss, output)
    assert error.value.pointer == pointer


@pytest.mark.parametrize(
    ("output", "data", "says"),
    [
        ((None, 3), dataset(classes=5), "labels go up to 4, but .* has 3 classes .* save the targets as floats"),
        ((None, 1), dataset(classes=5), "labels go up to 4, but .* has 1 classes"),
        ((None, 3, 2), dataset(classes=3), "labels need one score for each class"),
        ((None, 3), dataset("labels", (4,)), r"targets have shape \(4\) .* output out0 \(3\): labels of 0 and 1"),
        ((None, 3), dataset("numbers", (4,)), "numbers to come near to need an output of their shape"),
        ((None, 3), dataset("positions", (8,), 3), "a class for each position needs an output"),
        (
            (None, 3, 8),
            dataset("positions", (8,), 4),
            "labels go up to 3, but .* has 3 classes; a value that means nothing",
        ),
        ((None, 3, 4), dataset("positions", (8,), 3), "a class for each position needs an output"),
        ((None, 3), dataset("numbers", ()), "save labels of classes as integers"),
        ((None, 3), dataset(classes=3, shape=(5,)), "x_train holds examples"),
        ((None, 3), dataset(classes=3, shape=(5,)), r"x_train holds examples of shape \(5\); .* in0 takes \(4\)"),
    ],
)
def test_what_does_not_fit_is_said(output, data, says):
    with pytest.raises(DatasetMismatch, match=says):
        check_fit(analysis(output), data)


def test_inputs_are_matched_by_name():
    model = analysis((None, 3), inputs=((None, 4), (None, 2)))
    good = {"in0": Array(shape=(4,), dtype="float32"), "in1": Array(shape=(2,), dtype="int64")}
    assert check_fit(model, dataset(classes=3, inputs=good)).kind == "classes"
    with pytest.raises(DatasetMismatch, match=r"takes in0, in1, but the data set holds x: name the arrays x_train.in0"):
        check_fit(model, dataset(classes=3))
    with pytest.raises(DatasetMismatch, match=r"x_train.in1 holds examples of shape \(3\)"):
        check_fit(model, dataset(classes=3, inputs=good | {"in1": Array(shape=(3,), dtype="int64")}))


def test_a_model_without_a_batch_axis_takes_its_whole_shape():
    assert Port(name="x", dtype="float", shape=(5,)).example_shape == (5,)
    assert Port(name="x", dtype="float", shape=(None,)).example_shape == ()
    assert Port(name="x", dtype="float", shape=(1, 5)).example_shape == (5,)
    assert check_fit(analysis((3,), inputs=((4,),)), dataset(classes=3)).kind == "classes"
