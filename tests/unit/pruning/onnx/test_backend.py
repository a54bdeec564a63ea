"""ONNX's own backend tests, which come with the onnx package."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
import torch
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

from pruning.measure import session
from pruning.onnx.convert import inputs_of, stored_tensors, translate
from pruning.onnx.inline import COMPOSITES
from pruning.onnx.normalise import normalise
from pruning.onnx.ops import CONVERTERS

FOLDER = Path(onnx.backend.test.__file__).parent / "data"
TYPES = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}

TRAINING = "Dropout in training mode draws at random: nets are imported as they are at inference"
RUNTIME_IF = "the branch is chosen by an input of the graph; only conditions that fold away are taken"
INDICES = "MaxPool's Indices output is not supported"
LEFT_OUT = "ONNX's inliner does not expand Attention where optional inputs in the middle are left out"
STRINGS = "strings cannot be trained"
GRADIENT = "training graphs are not taken"
EXCEPTIONS = {
    **dict.fromkeys(
        [
            "test_training_dropout",
            "test_training_dropout_default",
            "test_training_dropout_default_mask",
            "test_training_dropout_mask",
            "test_training_dropout_zero_ratio",
            "test_training_dropout_zero_ratio_mask",
        ],
        TRAINING,
    ),
    **dict.fromkeys(
        [
            "test_if",
            "test_affine_grid_2d_expanded",
            "test_affine_grid_2d_align_corners_expanded",
            "test_affine_grid_3d_expanded",
            "test_affine_grid_3d_align_corners_expanded",
        ],
        RUNTIME_IF,
    ),
    **dict.fromkeys(
        ["test_maxpool_with_argmax_2d_precomputed_pads", "test_maxpool_with_argmax_2d_precomputed_strides"], INDICES
    ),
    **dict.fromkeys(
        [
            "test_attention_4d_causal_nonpad_attn_mask_composition",
            "test_attention_4d_causal_nonpad_batch_prefill",
            "test_attention_4d_causal_nonpad_continued_prefill",
            "test_attention_4d_causal_nonpad_negative_offset_structural_empty",
            "test_attention_4d_causal_with_past_and_present",
            "test_attention_4d_diff_heads_mask4d_padded_kv",
            "test_attention_4d_gqa_causal_nonpad_decode",
            "test_attention_local_window_ext_cache_rank2_mask",
            "test_attention_local_window_ext_cache_rank3_head_mask",
            "test_attention_local_window_ext_cache_rank4_batch_mask",
            "test_attention_local_window_with_past",
        ],
        LEFT_OUT,
    ),
    **dict.fromkeys(
        [
            "test_strnorm_model_monday_casesensintive_lower",
            "test_strnorm_model_monday_casesensintive_nochangecase",
            "test_strnorm_model_monday_casesensintive_upper",
            "test_strnorm_model_monday_empty_output",
            "test_strnorm_model_monday_insensintive_upper_twodim",
            "test_strnorm_model_nostopwords_nochangecase",
        ],
        STRINGS,
    ),
    **dict.fromkeys(["test_gradient_of_add", "test_gradient_of_add_and_mul"], GRADIENT),
}


def operators(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for attribute in node.attribute:
            yield from operators(attribute.g)


def agrees(model: ModelProto, inputs: list[np.ndarray], outputs: list[np.ndarray], rtol: float, atol: float) -> None:
    plain = normalise(model)
    given = {p.name: torch.from_numpy(v.copy()) for p, v in zip(model.graph.input, inputs, strict=False)}
    module = translate(plain, stored_tensors(plain), given).module().eval()
    with torch.no_grad():
        found = module(*(given[p.name] for p in inputs_of(plain.graph)))
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(outputs)
    for got, expected in zip(found, outputs, strict=True):
        assert got.numpy().dtype == expected.dtype
        assert tuple(got.shape) == expected.shape
        np.testing.assert_allclose(got.numpy(), expected, rtol=rtol, atol=atol)


def as_array(value: object) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.array(value)


def fails(case: TestCase) -> bool:
    assert case.model is not None and case.data_sets is not None
    try:
        for inputs, outputs in case.data_sets:
            given, expected = [as_array(v) for v in inputs], [as_array(v) for v in outputs]
            agrees(case.model, given, expected, case.rtol or 1e-3, max(case.atol or 0, 1e-7))
    except Exception:  # noqa: BLE001  # whatever goes wrong, the name must be among the exceptions
        return True
    return False


@pytest.fixture(scope="module")
def cases() -> list[TestCase]:
    """Of supported operators alone, with numbers of the usual types."""
    found = []
    for case in collect_testcases(None):  # type: ignore[arg-type]
        graph = case.model.graph  # type: ignore[union-attr]
        types = {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
        if set(operators(graph)) <= {*CONVERTERS, *COMPOSITES} and types <= TYPES:
            found.append(case)
    return found


@pytest.mark.filterwarnings("ignore")  # numpy's, in the making of the cases
def test_every_case_of_a_supported_operator_passes(cases):
    assert len(cases) > 1150
    failed = {case.name for case in cases if fails(case)}
    assert failed == {name for name in EXCEPTIONS if name in {case.name for case in cases}}


@pytest.mark.parametrize("kind", ["simple", "pytorch-converted", "pytorch-operator"])
def test_every_stored_model_passes(kind):
    failed = set()
    for folder in sorted((FOLDER / kind).iterdir()):
        try:
            model = onnx.load(folder / "model.onnx")
            for data in sorted(folder.glob("test_data_set_*")):
                inputs, outputs = (values_in(data, kind) for kind in ("input", "output"))
                agrees(model, inputs, outputs, 1e-3, 1e-5)
        except Exception:  # noqa: BLE001  # as above
            failed.add(folder.name)
    assert failed == {name for name in EXCEPTIONS if (FOLDER / kind / name).exists()}


@pytest.mark.parametrize("path", sorted((FOLDER / "light").glob("*.onnx")), ids=lambda p: p.stem)
def test_image_nets_with_constant_weights(path):
    model = onnx.load(path)
    port = inputs_of(normalise(model).graph)[0]
    x = np.random.default_rng(0).random([d.dim_value for d in port.type.tensor_type.shape.dim], dtype=np.float32)
    expected = np.asarray(session(model.SerializeToString()).run(None, {port.name: x})[0])
    module = translate(normalise(model), stored_tensors(model), {port.name: torch.from_numpy(x)}).module().eval()
    with torch.no_grad():
        assert np.allclose(module(torch.from_numpy(x)).numpy(), expected, rtol=1e-4, atol=1e-7)


def test_fewer_than_forty_exceptions():
    assert len(EXCEPTIONS) < 40


def values_in(folder: Path, kind: str) -> list[np.ndarray]:
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=number)
    return [as_array(TensorProto.FromString(path.read_bytes())) for path in paths]


def number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
