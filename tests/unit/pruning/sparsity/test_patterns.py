import pytest
import torch
from pydantic import ValidationError

from pruning.errors import Diverged
from pruning.sparsity import PATTERNS
from pruning.sparsity.block import Block
from pruning.sparsity.form import Form
from pruning.sparsity.n_m import NM
from tests.unit.pruning.sparsity.reference import groups_of, nearest, pieces_of, seeded

EXAMPLES = [
    *(kind() for kind in PATTERNS.values()),
    Block(rows=2, columns=2),
    Block(rows=2, columns=3),
    Block(rows=1, columns=5),
    NM(n=1, m=2),
    NM(n=1, m=3),
    NM(n=2, m=3),
]
GROUPED = [pattern for pattern in EXAMPLES if pattern.kind != "n_m"]
TINY = [(1, 2, 3, 1), (2, 2, 2, 2), (1, 3, 2, 2), (2, 1, 5, 1), (1, 1, 1, 1)]
LARGER = (2, 5, 6, 9)

each = pytest.mark.parametrize("pattern", EXAMPLES, ids=repr)
each_grouped = pytest.mark.parametrize("pattern", GROUPED, ids=repr)


@each
@pytest.mark.parametrize("shape", TINY, ids=str)
def test_projection_is_the_nearest_point(pattern, shape):
    for seed in range(2):
        V = seeded(shape, seed)
        for kept in range(pattern.count(shape) + 2 if V.numel() <= 12 else 5):
            assert float((V - pattern.project(V, kept)).norm()) == pytest.approx(nearest(pattern, V, kept), abs=1e-5)


@each
def test_projection_is_in_the_set_and_keeps_or_zeroes(pattern):
    V = seeded(LARGER)
    kept = max(1, pattern.count(LARGER) // 3)
    Z = pattern.project(V, kept)
    assert Z.shape == V.shape and bool(((Z == V) | (Z == 0)).all())
    if pattern.kind == "n_m":
        assert all(sum(float(Z[cell]) != 0 for cell in piece) <= pattern.n for piece in pieces_of(pattern, LARGER))
    else:
        assert sum(any(float(Z[cell]) != 0 for cell in group) for group in groups_of(pattern, LARGER)) == kept


@each
def test_projection_is_idempotent_and_takes_no_memory_of_its_argument(pattern):
    V = seeded(LARGER)
    before = V.clone()
    for kept in (1, 7, 10_000):
        Z = pattern.project(V, kept)
        assert torch.equal(pattern.project(Z, kept), Z)
        Z.fill_(1.0)
        assert torch.equal(V, before)


@each_grouped
def test_ties_keep_the_first(pattern):
    """The same values in each group, turned by one place from group to group, so that sums are of another order."""
    shape = (1, 4, 4, 4) if pattern.kind == "block" else LARGER
    pattern = Block(rows=2, columns=4) if pattern.kind == "block" else pattern
    groups = groups_of(pattern, shape)
    values = seeded((len(groups[0]), 1, 1, 1)).flatten()
    V = torch.empty(shape)
    for turn, group in enumerate(groups):
        for cell, value in zip(group, values.roll(turn), strict=True):
            V[cell] = value
    kept = len(groups) // 2
    Z = pattern.project(V, kept)
    assert [bool(Z[group[0]] != 0) for group in groups] == [i < kept for i in range(len(groups))]


def test_ties_of_single_weights_keep_the_first():
    V = torch.tensor([[1.0, -1.0, 1.0], [1.0, 2.0, -1.0]])[None, :, :, None]
    assert PATTERNS["unstructured"]().project(V, 3).flatten().tolist() == [1.0, -1.0, 0.0, 0.0, 2.0, 0.0]


def test_ties_in_a_piece_keep_the_first():
    V = torch.tensor([1.0, -1.0, 1.0, 1.0, 0.0, 2.0, -2.0])[None, None, :, None]
    assert NM().project(V).flatten().tolist() == [1.0, -1.0, 0.0, 0.0, 0.0, 2.0, -2.0]


@each
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (1, 4, 5, 8)])
def test_nan_is_refused(pattern, place):
    V = seeded(LARGER)
    V[place] = float("nan")
    with pytest.raises(Diverged):
        pattern.project(V, 1)


@each
@pytest.mark.parametrize("kind", ["conv", "conv_transpose"])
def test_memory_layout_does_not_matter(pattern, kind):
    V = seeded((8, 6, 3, 3)).round(decimals=1)
    last = V.contiguous(memory_format=torch.channels_last)
    form = Form(kind, (8, 6, 3, 3))
    kept = pattern.count(form.canonical) // 2
    found = [form.restored(pattern.project(form.matrices(v), kept)) for v in (V, last)]
    assert torch.equal(*found)
    assert torch.equal(*(pattern.scores(form.matrices(v)) for v in (V, last)))


@pytest.mark.parametrize("pattern", [p for p in GROUPED if p.kind != "block"], ids=repr)
def test_layout_stays_where_groups_are_axes(pattern):
    """Blocks are copied into a matrix."""
    V = seeded((8, 6, 3, 3)).contiguous(memory_format=torch.channels_last)
    form = Form("conv", (8, 6, 3, 3))
    assert form.restored(pattern.project(form.matrices(V), 2)).stride() == V.stride()


@each_grouped
def test_scores_are_norms_in_group_order(pattern):
    V = seeded(LARGER)
    norms = [sum(float(V[cell]) ** 2 for cell in group) ** 0.5 for group in groups_of(pattern, LARGER)]
    assert pattern.scores(V).tolist() == pytest.approx(norms, rel=1e-6)
    if pattern.kind == "unstructured":
        assert torch.equal(pattern.scores(V), V.abs().flatten())


@each_grouped
@pytest.mark.parametrize("shape", [*TINY, LARGER], ids=str)
def test_sizes_and_counts_are_those_of_the_groups(pattern, shape):
    sizes = sorted((len(group) for group in groups_of(pattern, shape)), reverse=True)
    assert pattern.count(shape) == len(sizes)
    assert pattern.size(shape) == sizes[0]
    assert [pattern.most(shape, kept) for kept in range(len(sizes) + 1)] == [
        sum(sizes[:kept]) for kept in range(len(sizes) + 1)
    ]
    if pattern.kind != "block":
        assert pattern.size(shape) * pattern.count(shape) == sum(sizes)


@pytest.mark.parametrize("pattern", [p for p in EXAMPLES if p.kind == "n_m"], ids=repr)
@pytest.mark.parametrize("shape", [*TINY, LARGER, (1, 2, 11, 3)], ids=str)
def test_n_m_is_one_group_of_the_weights_that_stay(pattern, shape):
    V = seeded(shape)
    Z = pattern.project(V)
    assert pattern.count(shape) == 1 and pattern.size(shape) == pattern.most(shape, 1) == int((Z != 0).sum())
    assert pattern.scores(V).tolist() == pytest.approx([float(Z.norm())])


def test_n_is_less_than_m():
    with pytest.raises(ValidationError, match="4 of 4 prunes nothing"):
        NM(n=4, m=4)


@pytest.mark.parametrize("pattern", [Block(rows=65_536, columns=65_536), NM(n=1, m=65_536)], ids=repr)
def test_groups_larger_than_the_layer_take_no_more_memory(pattern):
    assert pattern._folded(seeded(LARGER)).numel() == seeded(LARGER).numel()
    assert torch.equal(Block(rows=65_536, columns=65_536).project(seeded((1, 5, 6, 9)), 1), seeded((1, 5, 6, 9)))
