"""The words on runtimes: of each pattern, and of what was measured."""

import subprocess
import sys
from dataclasses import replace

import pytest

from pruning.runtimes import FEW_ZEROS, WHERE, Facts, about
from pruning.sparsity import PATTERNS
from tests.conftest import HOUSE

PLAIN = Facts(("unstructured",), 0.9, 0, 1.0, 0.99, 1.01, 400_000)


def words(facts: Facts) -> str:
    return ". ".join(about(facts))


def test_scattered_zeros_save_no_time_and_another_pattern_would():
    said = words(PLAIN)
    assert "0.99 ms, 1 ms with the dense file" in said and "about as fast (1.01x)" in said
    assert "90 % of the weights in the file are zero, anywhere" in said and "no time" in said
    assert "DeepSparse" in said and "pattern filter" in said and "column" in said
    assert "XNNPACK" not in said and "OpenVINO" not in said  # there are no layers that these would gain from


@pytest.mark.parametrize("kind", sorted(set(PATTERNS) - {"n_m"}))
def test_every_pattern_says_where_its_zeros_are_and_what_to_ask_for(kind):
    said = words(replace(PLAIN, patterns=(kind,)))
    assert WHERE[kind] in said and "multiply by them all the same" in said
    assert "for speed" in said.lower() and "ask for" in said


@pytest.mark.parametrize(
    ("n", "m", "gains"), [(2, 4, True), (1, 4, True), (1, 2, True), (2, 8, True), (4, 8, False), (2, 6, False)]
)
def test_n_of_m_needs_sparse_tensor_cores(n, m, gains):
    said = words(replace(PLAIN, patterns=("n_m",), zeros=0.5, n_m=(n, m)))
    assert ("Ampere" in said and "TensorRT" in said) is gains
    assert ("no runtime is known" in said) is not gains
    assert "pattern filter or column" in said


def test_what_is_gone_from_the_graph_gains_everywhere():
    said = words(replace(PLAIN, patterns=("filter",), zeros=0.0, removed=120, pruned_ms=0.5, speedup=2.03))
    assert "2.03 times as fast" in said and "120 filters and neurons" in said and "any runtime" in said
    assert "multiply" not in said and "ask for" not in said


def test_a_smaller_graph_may_be_slower():
    said = words(replace(PLAIN, patterns=("filter",), zeros=0.0, removed=3, pruned_ms=1.3, speedup=0.77))
    assert "slower (0.77x)" in said and "multiples of 8" in said and "deliver.remove: false" in said


def test_gathered_columns_are_spoken_of_as_measured():
    said = words(replace(PLAIN, patterns=("column",), zeros=0.01, gathered=4, pruned_ms=0.6, speedup=1.66))
    assert "4 layers read only the columns" in said and "1.66 times" in said
    assert "multiply by" not in said and "ask for" not in said
    assert "1 layer reads" in words(replace(PLAIN, gathered=1))


def test_products_are_spoken_of_as_measured():
    assert "3 convolutions of few pixels are matrix products" in words(replace(PLAIN, rewritten=3))
    assert "1 convolution of few pixels is a matrix product" in words(replace(PLAIN, rewritten=1))
    assert "matrix product" not in words(PLAIN)


def test_runtimes_with_sparse_kernels_are_named_where_their_layers_are():
    said = words(replace(PLAIN, pointwise=0.9, products=0.8))
    assert "1x1 convolutions, in nets built like MobileNet" in said
    assert "OpenVINO can read dense layers" in said and "int8" in said
    few, gone = replace(PLAIN, pointwise=0.6, products=0.5), replace(PLAIN, zeros=0.3, pointwise=0.9, products=0.9)
    for said in (words(few), words(gone)):  # gone: most of what is pruned has left the file
        assert "XNNPACK" not in said and "OpenVINO" not in said


def test_levels_and_packing_are_bytes():
    said = words(replace(PLAIN, bits=4, packed_bytes=12_345, packed_ms=0.98))
    assert "levels of 4 bits" in said and "no time" in said
    assert "12,345 bytes instead of 400,000" in said and "0.98 ms once it is loaded" in said
    assert "packed file holds" not in words(PLAIN)


def test_a_dense_file_has_its_speed_alone():
    assert len(about(replace(PLAIN, zeros=FEW_ZEROS))) == 1


def test_mixed_patterns_are_all_named():
    said = words(replace(PLAIN, patterns=("filter", "n_m", "block"), n_m=(2, 4)))
    assert "in whole filters and in blocks" in said and "Ampere" in said


def test_it_starts_without_torch():
    code = "import sys, pruning.runtimes, pruning.report; print({'torch', 'onnxruntime', 'numpy'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
