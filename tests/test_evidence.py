"Sub-embeddings, the law and frozen tables against slow loops that follow the equations and nothing else."
from itertools import permutations as all_orders

import numpy as np
import pytest
import torch
from scipy.special import stdtrit
from scipy.stats import rankdata, spearmanr

from collapse_nb import evidence
from collapse_nb.data.cards import load_card
from collapse_nb.data.made_up.synthetic import synthetic
from collapse_nb.evidence import (
    collapse_law,
    field_abundance,
    partner_abundance,
    shuffled,
    sub_embedding_abundance,
)
from collapse_nb.fields import FieldSchema
from collapse_nb.frozen import even_table, freeze
from collapse_nb.nn.zoo import ModelSpec, build
from collapse_nb.records import InputError
from collapse_nb.train.fit import fit
from collapse_nb.train.recipe import Recipe

SCHEMA = FieldSchema("abcde", (40, 7, 3, 90, 1))
N = SCHEMA.num_fields


def ia(E: torch.Tensor) -> float:
    s = np.linalg.svd(E.detach().double().numpy(), compute_uv=False)
    return s.sum() / s.max()

def steep(model: torch.nn.Module) -> torch.nn.Module:
    "Tables and projections with spectra far from flat, as after training."
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1: p.mul_(torch.exp(1.5 * torch.randn(p.shape[-1], generator=generator)))
    return model

def ids(rows: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randint(d, (rows,), generator=generator) for d in SCHEMA.cardinalities], 1)


# the matrix

@pytest.mark.parametrize("design, scale", [("SE", 1), ("ME", 3)])
def test_dcnv2_against_one_svd_each(design, scale):
    model = steep(build(ModelSpec("DCNv2", design, scale, base_dim=6, hidden=8), SCHEMA, 2))
    matrix, K, M = sub_embedding_abundance(model), 6, scale
    assert matrix.shape == (2, M, N, N) and matrix.dtype == torch.float64
    for (r, m, i), E in model.tables().items():
        W = model.interaction.layers[0].weight[r * M + m]
        for j in range(N): # rows of W are outputs: block j of the output, block i of the input
            assert matrix[r, m, i, j] == pytest.approx(ia(E @ W[j * K:(j + 1) * K, i * K:(i + 1) * K].T),
                                                       rel=1e-6)


def test_dcnv2_slices_are_what_the_forward_pass_does():
    """With every field but i zero, part j of the first layer's product is e_j * (W_{i->j} e_i + 0), and no
    other slice of W gives that."""
    model = build(ModelSpec("DCNv2", base_dim=4, hidden=8), SCHEMA, 1)
    layer, K = model.interaction.layers[0], 4
    e = torch.randn(1, 1, N * K, generator=torch.Generator().manual_seed(0))
    W = layer.weight.view(N, K, N, K)
    for i in range(N):
        only = torch.zeros_like(e)
        only[..., i * K:(i + 1) * K] = e[..., i * K:(i + 1) * K]
        product = (layer(torch.ones_like(e), only) - only).view(N, K)
        for j in range(N): torch.testing.assert_close(product[j], W[j, :, i, :] @ e[0, 0, i * K:(i + 1) * K])


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_ffm_blocks_are_those_that_meet(variant):
    """The block i -> j by what the logit depends on: changing e_i's block moves it only through field j's
    block."""
    model = steep(build(ModelSpec("FFM", variant=variant, base_dim=3), SCHEMA, 2))
    matrix, partner = sub_embedding_abundance(model), partner_abundance(model)
    assert matrix.diagonal(dim1=2, dim2=3).isnan().all() and partner.diagonal(dim1=2, dim2=3).isnan().all()
    for (r, _, i), E in model.tables().items():
        for j in range(N):
            if j == i: continue
            place = [t for t in range(N) if t != i].index(j)
            block, rest = E[:, 3 * place:3 * place + 3], torch.cat([E[:, :3 * place], E[:, 3 * place + 3:]],
                                                                   1)
            assert matrix[r, 0, i, j] == pytest.approx(ia(block), rel=1e-6)
            # E_i as the partner of j, without i -> j
            assert partner[r, 0, j, i] == pytest.approx(ia(rest), rel=1e-6)


def test_ffm_logit_is_the_sum_over_those_blocks():
    model = build(ModelSpec("FFM", base_dim=3), SCHEMA, 1)
    x, tables = ids(), model.tables()
    def towards(i: int, j: int) -> torch.Tensor:
        place = [t for t in range(N) if t != i].index(j)
        return tables[0, 0, i][x[:, i], 3 * place:3 * place + 3]
    by_hand = sum((towards(i, j) * towards(j, i)).sum(1) for i in range(N) for j in range(i))
    torch.testing.assert_close(model(x)[0], by_hand)


def test_a_replica_that_diverged_does_not_hide_the_others():
    model = build(ModelSpec("DCNv2", base_dim=4, hidden=8), SCHEMA, 2)
    before = sub_embedding_abundance(model)[1]
    with torch.no_grad(): model.replica_state(0)["embedding.weight"].fill_(torch.nan)
    after = sub_embedding_abundance(model)
    assert after[0].isnan().all() and torch.equal(after[1], before)
    assert field_abundance(model)[0].isnan().all() and field_abundance(model)[1].isfinite().all()


@pytest.mark.parametrize("name", ["DNN", "IPNN", "NFwFM", "xDeepFM", "FinalMLP", "FM"])
def test_models_without_sub_embeddings_are_refused(name):
    with pytest.raises(InputError, match=f"{name} keeps no sub-embeddings .* give an FFM or a DCNv2"):
        sub_embedding_abundance(build(ModelSpec(name, base_dim=4, hidden=10), SCHEMA))


def test_criteo_to_a_millionth():
    "A field of Criteo's largest cardinality, collapsed over five orders of magnitude, among small ones."
    sizes = load_card("criteo").published.cardinalities
    schema = FieldSchema("abc", (max(sizes), min(sizes), 1458))
    model = steep(build(ModelSpec("DCNv2", base_dim=40, hidden=8), schema))
    matrix, W = sub_embedding_abundance(model)[0, 0], model.interaction.layers[0].weight[0].view(3, 40, 3, 40)
    for i, j in ((0, 1), (0, 0), (1, 2), (2, 0)):
        assert matrix[i, j] == pytest.approx(ia(model.tables()[0, 0, i].double() @ W[j, :, i, :].double().T),
                                             abs=1e-6)


# the law

def partial_by_regression(a: np.ndarray, b: np.ndarray, z: np.ndarray) -> float:
    "Correlation of what least squares leaves of the ranks of a and b given those of z."
    Z = np.stack([np.ones(len(z)), rankdata(z)], 1)
    left = [rankdata(v) - Z @ np.linalg.lstsq(Z, rankdata(v), rcond=None)[0] for v in (a, b)]
    return np.corrcoef(*left)[0, 1]

def law_inputs(n: int, seed: int, per_pair: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed)
    return noise.normal(size=(3, 2, n, n)), noise.normal(size=(3, 2, n, n)
                                                         if per_pair else (3, 2, n)), noise.normal(size=n)

@pytest.mark.parametrize("per_pair", [False, True])
def test_law_against_rows_one_by_one(per_pair):
    matrix, partner, sizes = law_inputs(9, 0, per_pair)
    law = collapse_law(matrix, partner, sizes, permutations=99)
    for r in range(3):
        plain, partial = [], []
        for m in range(2):
            for i in range(9):
                a, z = np.delete(matrix[r, m, i], i), np.delete(sizes, i)
                b = np.delete(partner[r, m, i] if per_pair else partner[r, m], i)
                plain.append(spearmanr(a, b).statistic)
                partial.append(partial_by_regression(a, b, z))
        assert law.per_seed[r] == pytest.approx(np.mean(plain), abs=1e-12)
        assert law.partial_per_seed[r] == pytest.approx(np.mean(partial), abs=1e-12)
    assert (law.rho == pytest.approx(np.mean(law.per_seed))
            and law.partial == pytest.approx(np.mean(law.partial_per_seed)))

@pytest.mark.parametrize("per_pair", [False, True])
def test_p_against_every_relabelling(per_pair):
    """With five fields all 120 permutations can be tried, each by relabelling the partners and computing the
    law anew."""
    matrix, partner, _ = law_inputs(5, 3, per_pair)
    partner = partner + matrix.mean(2 if not per_pair else (0, 1))
    relabel = lambda o: partner[:, :, o][:, :, :, o] if per_pair else partner[:, :, o]
    every = [abs(collapse_law(matrix, relabel(list(o)), permutations=1).rho) for o in all_orders(range(5))]
    share = np.mean(np.array(every) >= every[0] - 1e-12)
    assert collapse_law(matrix, partner, permutations=20_000).p == pytest.approx(share, abs=.015)

@pytest.mark.parametrize("partial", [False, True])
def test_p_is_uniform_when_nothing_follows_anything(partial):
    "Seeds that repeat one accident, and rows that share their partners, must not make p small."
    ps = []
    for seed in range(200):
        noise = np.random.default_rng(seed)
        columns, partner, sizes = noise.normal(size=(3, 10))
        partner = partner + 2 * sizes * partial
        matrix = columns + 2 * sizes * partial + .1 * noise.normal(size=(5, 10, 10))
        law = collapse_law(matrix, np.tile(partner, (5, 1)), sizes if partial else None, permutations=199,
                           seed=seed)
        ps.append(law.partial_p if partial else law.p)
    share = np.mean(np.array(ps) <= .05)
    assert .005 <= share <= .11 # 10 of 200 are expected


def test_rows_without_variation_are_left_out():
    matrix, partner, _ = law_inputs(8, 5, False)
    matrix[:, :, 2] = 1. # a field of one id
    rows = [spearmanr(np.delete(matrix[0, m, i], i), np.delete(partner[0, m], i)).statistic for m in range(2)
            for i in range(8) if i != 2]
    assert collapse_law(matrix, partner,
                        permutations=99).per_seed[0] == pytest.approx(np.mean(rows), abs=1e-12)

def test_rows_that_differ_by_traces_are_ties():
    "Fields of two ids, one of them never hit: IA is 1 and a trace, towards every partner and as a partner."
    matrix, partner, _ = law_inputs(8, 6, False)
    trace, flat = ((matrix.copy(), partner.copy()) for _ in range(2))
    for (own, other), size in ((trace, 1e-7), (flat, 0)):
        own[:, :, 2], other[..., :4] = 1 + size * matrix[:, :, 2], 1 + size * partner[..., :4]
    assert collapse_law(*trace, permutations=99) == collapse_law(*flat, permutations=99)
    laws = [collapse_law(*abundances, permutations=0) for abundances in ((matrix, partner), trace)]
    assert [law.rows for law in laws] == [8, 7]

@pytest.mark.parametrize("per_pair", [False, True])
def test_law_without_each_field_is_the_law_of_the_others(per_pair):
    matrix, partner, sizes = law_inputs(7, 4, per_pair)
    for k, left_out in enumerate(evidence.law_without_each(matrix, partner, sizes).T):
        own, other = (np.delete(v, k, -1) for v in (matrix, partner))
        law = collapse_law(np.delete(own, k, 2), np.delete(other, k, 2) if per_pair else other,
                           np.delete(sizes, k), permutations=1)
        assert left_out == pytest.approx([law.rho, law.partial], abs=1e-12)

@pytest.mark.parametrize("strength, accident, pairs", [(0, 1, .3), (1, 1, .5), (2, .3, .5)])
def test_two_models_that_follow_equally_well_are_rarely_told_apart(strength, accident, pairs):
    """Each has an accident of its fields that all its seeds share, which an interval over seeds would take
    for a difference."""
    def state(noise, common):
        base = common + .5 * noise.normal(size=10)
        partner = base + .2 * noise.normal(size=(5, 10))
        columns, of_pairs, of_seeds = (noise.normal(size=size) for size in (10, (10, 10), (5, 10, 10)))
        matrix = strength * base + accident * columns + pairs * of_pairs + .3 * of_seeds
        return np.array(collapse_law(matrix, partner,
                                     permutations=0).per_seed), evidence.law_without_each(matrix, partner)[0]
    significant = []
    for noise in map(np.random.default_rng, range(60)):
        (a, a_without), (b, b_without) = state(noise, common := noise.normal(size=10)), state(noise, common)
        errors = np.array([evidence.jackknife_error(a_without - b_without),
                           ((a.var(ddof=1) + b.var(ddof=1)) / 5)**.5])
        significant.append(abs(a.mean() - b.mean()) > stdtrit([9, 8], .975) * errors)
    over_fields, over_seeds = np.mean(significant, 0)
    assert over_fields <= .1 < .4 < over_seeds

def test_law_reads_models():
    for name in ("FFM", "DCNv2"):
        model = build(ModelSpec(name, base_dim=4, hidden=8), SCHEMA, 3)
        law = collapse_law(sub_embedding_abundance(model), partner_abundance(model),
                           np.log(SCHEMA.cardinalities), permutations=99)
        assert (len(law.per_seed) == len(law.partial_per_seed) == 3 and -1 <= law.rho <= 1
                and .01 <= law.p <= 1)


# nothing to learn, and frozen tables

def test_shuffled_changes_labels_alone():
    data = synthetic().head(500)
    other = shuffled(data, 1)
    assert other.schema == data.schema and other.train.x is data.train.x and other.test is data.test
    assert sorted(other.train.y) == sorted(data.train.y) and sorted(other.valid.y) == sorted(data.valid.y)
    assert ((other.train.y != data.train.y).any()
            and other.fingerprint != data.fingerprint != shuffled(data, 2).fingerprint)


@pytest.mark.parametrize("optimizer", ["Adam", "SparseAdam"])
@pytest.mark.parametrize("spec", [ModelSpec("DCNv2", "ME", 2, base_dim=4, hidden=8),
                                  ModelSpec("FFM", base_dim=4)], ids=lambda s: s.model)
def test_a_frozen_table_stays_to_the_bit_and_the_rest_moves(spec, optimizer):
    data = synthetic().head(600)
    j = int(np.argmax(data.schema.cardinalities))
    model = build(spec, data.schema, 2)
    freeze(model, data.schema.names[j], 3, 2.)
    start = [t.clone() for t in model.field_tables()]
    fit(model, data, Recipe(max_epochs=1, batch_size=256, weight_decay=1e-2, optimizer=optimizer), "cpu",
        show=False)
    same = [torch.equal(a, b) for a, b in zip(start, model.field_tables(), strict=True)]
    assert same == [i == j for i in range(len(same))]
    s = torch.linalg.svdvals(start[j].double())
    assert torch.allclose(s[..., :3], torch.full_like(s[..., :3], 2 / 3**.5), atol=1e-5)
    assert model.num_parameters()["table"] * 2 == model.embedding.weight.numel()


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_even_tables(rank):
    table = even_table(70, 5, rank, 4., torch.Generator().manual_seed(3)).double()
    s = np.linalg.svd(table.numpy(), compute_uv=False)
    assert s[:rank] == pytest.approx([4 / rank**.5] * rank,
                                     rel=1e-5) and s[rank:] == pytest.approx([0] * (5 - rank), abs=1e-6)
