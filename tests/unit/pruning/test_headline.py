"""The headline says what the numbers say, and no more than they are sure of."""

import pytest

from pruning.headline import headline, in_bytes, speed, verdict
from pruning.report import Accuracy, Compression, LatencyReport
from tests.unit.pruning.test_report import OLD, ROW


def row(**changes) -> LatencyReport:
    return LatencyReport.model_validate(ROW | changes)


def said(packed: int | None = 8103, **accuracy) -> str:
    sizes = OLD["compression"]["bytes"] | {"dense": 1_724_000, "pruned": 20_480, "packed": packed}
    compression = OLD["compression"] | {"weights_total": 430_500, "weights_kept": 2392, "bytes": sizes}
    known = OLD["accuracy"] | {"dense": 0.9914, "pruned": 0.9921, "examples": 10_000, "unit": "images"} | accuracy
    return headline(
        Compression.model_validate(compression),
        Accuracy.model_validate(known),
        row(dense_ms=0.19, pruned_ms=0.1, speedup=1.92),
    )


def test_the_whole_sentence():
    assert said() == (
        "430,500 weights became 2,392; 1.72 MB became 8.1 kB packed; top-1 99.14 % to 99.21 % on 10,000 test images; "
        "1.9 times faster in ONNX Runtime on one thread"
    )


def test_packed_bytes_are_said_to_be_so_and_examples_are_called_what_they_are():
    assert "1.72 MB became 20.5 kB; top-1" in said(packed=None)
    assert "on 10,000 test examples" in said(unit="examples")
    assert "mean squared error 0.9914 to 0.9921" in said(metric="mse")


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (8103, "8.1 kB"),
        (999_900, "1 MB"),
        (1_724_000, "1.72 MB"),
        (102_500_000, "102 MB"),
        (5_500_000_000, "5.5 GB"),
    ],
)
def test_bytes_in_three_digits(n, expected):
    assert in_bytes(n) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "2.0 times faster"),
        ({"dense_ms": 2.5, "speedup": 20}, "20 times faster"),
        ({"dense_ms": 0.1, "speedup": 0.8}, "1.2 times slower"),
        ({"dense_ms": 0.1251, "speedup": 1.005}, "as fast as before"),
        ({"dense_ms": 0.13, "speedup": 1.04}, "about as fast"),
        ({"dense_ms": 0.14, "speedup": 1.12, "spread": 0.4}, "about as fast"),  # the calls of a file differ by more
        ({"dense_ms": 0.125, "speedup": 1.5}, "about as fast"),  # the medians do not say so
        ({"spread": 0.6}, "how fast is not sure, as it was timed unevenly,"),
        ({"dense_ms": 0.125, "speedup": 1, "spread": 0.6}, "about as fast, though timed unevenly,"),
    ],
)
def test_speed_in_words(changes, expected):
    assert speed(row(**changes)) == expected
    assert (verdict(row(**changes)) != "") == ("times" in expected)


@pytest.mark.parametrize("ratio", [1.12, 1.36, 2.04, 9.87, 14.6])
def test_the_number_is_that_of_the_two_medians(ratio):
    number = speed(row(dense_ms=0.125 * ratio, speedup=ratio * 1.01)).split()[0]
    digits = len(number.partition(".")[2])
    assert float(number) == round(ratio, digits)
