from itertools import product

import pytest
import torch
from torch.nn import functional as F

from pruning.sparsity import PATTERNS, suiting
from pruning.sparsity.form import Form
from tests.unit.pruning.sparsity.reference import seeded

FORMS = [
    Form("conv", (6, 4, 3, 2)),
    Form("conv", (6, 2, 3, 2), groups=3),
    Form("conv", (4, 1, 5), groups=4),
    Form("conv", (4, 3, 2, 2, 2), groups=2),
    Form("conv_transpose", (6, 4, 3, 2)),
    Form("conv_transpose", (6, 2, 3, 2), groups=3),
    Form("conv_transpose", (4, 1, 5), groups=2),
    Form("dense", (3, 7)),
    Form("recurrent", (8, 5)),
]
each = pytest.mark.parametrize("form", FORMS, ids=str)


def weight(form: Form) -> torch.Tensor:
    return torch.randn(form.shape, generator=torch.Generator().manual_seed(0))


@each
def test_matrices_hold_what_the_weight_holds(form):
    V = weight(form)
    M = form.matrices(V)
    assert tuple(M.shape) == form.canonical
    g, out, inputs, _ = form.canonical
    for a, o, i in product(range(g), range(out), range(inputs)):
        cell = (a * inputs + i, o) if form.kind == "conv_transpose" else (a * out + o, i)
        assert M[a, o, i].tolist() == V[cell].flatten().tolist()


@each
def test_restored_is_the_inverse(form):
    V = weight(form)
    assert torch.equal(form.restored(form.matrices(V)), V)
    M = seeded(form.canonical)
    assert torch.equal(form.matrices(form.restored(M)), M)


@pytest.mark.parametrize("form", [f for f in FORMS if len(f.shape) == 4], ids=str)
def test_channels_last_is_the_same_weight(form):
    V = weight(form)
    last = V.contiguous(memory_format=torch.channels_last)
    assert torch.equal(form.matrices(last), form.matrices(V))
    assert torch.equal(form.restored(form.matrices(last)), V)


@pytest.mark.parametrize("form", [f for f in FORMS if f.kind.startswith("conv") and len(f.shape) == 4], ids=str)
def test_a_filter_is_an_output_and_a_channel_an_input(form):
    """As torch computes: without its filter an output is zero, and nothing depends on an input that nothing reads."""
    run = F.conv2d if form.kind == "conv" else F.conv_transpose2d
    g, out, inputs, _ = form.canonical
    W = form.matrices(weight(form)).clone()
    W[g - 1, 1] = 0
    W[0, :, 1] = 0
    x = torch.randn(1, g * inputs, 5, 5, generator=torch.Generator().manual_seed(1))
    y = run(x, form.restored(W), groups=g)
    dead = (g - 1) * out + 1
    assert [bool((y[:, o] == 0).all()) for o in range(g * out)] == [o == dead for o in range(g * out)]
    x[:, 1] += 1
    assert torch.equal(run(x, form.restored(W), groups=g), y)


@pytest.mark.parametrize(
    ("form", "missing"),
    [
        (Form("conv", (6, 4, 3, 3)), ()),
        (Form("conv", (6, 4, 1, 1)), ("kernel",)),
        (Form("conv", (6, 1, 3, 3), groups=6), ("n_m",)),
        (Form("conv_transpose", (6, 4, 3, 3)), ()),
        (Form("dense", (6, 4)), ("kernel",)),
        (Form("dense", (6, 1)), ("kernel", "n_m")),
        (Form("recurrent", (6, 4)), ("kernel", "filter")),
    ],
    ids=str,
)
def test_what_a_form_can_take(form, missing):
    assert set(PATTERNS) - set(suiting(form)) == set(missing)
