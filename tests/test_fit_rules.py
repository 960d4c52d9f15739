"""The rules of a training: when it stops and what it keeps, sickness that does not spread, decay of unseen
rows, equal bits, exact AUC."""
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from test_training import dataset, make, split
from torch import Tensor

from collapse_nb.nn.zoo import BASE_DIM, Model
from collapse_nb.train.fit import FitResult, Progress, Recipe, fit, restore
from collapse_nb.train.metrics import auc
from collapse_nb.train.rows import batches


def copies(model: Model) -> list[dict[str, Tensor]]:
    return [{n: t.clone() for n, t in model.replica_state(r).items()} for r in range(model.replicas)]

def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())

def stop(aucs: list[float], patience: int) -> tuple[int, int]: # (best epoch, last epoch), counted from 1
    "Early stopping read aloud: a miss is an epoch not strictly better than all before."
    for last in range(1, len(aucs) + 1):
        best = aucs[:last].index(max(aucs[:last])) + 1 # the first of equals
        if last - best == patience: break
    return best, last

def follows(script: list[list[float]], patience: int = 3) -> None:
    "A replica per line of AUCs, one an epoch, whose weights are other ones after every epoch."
    model = make("DNN", "paper", tuple(range(len(script))))
    progress, states, length = Progress(model, patience), [], min(map(len, script))
    for epoch in range(1, length + 1):
        with torch.no_grad():
            for t in model.state_dict().values(): t.add_(1)
        states.append(copies(model))
        for r, aucs in enumerate(script):
            if not progress.stopped[r]: progress.update(r, epoch, aucs[epoch - 1])
        assert progress.stopped == [stop(aucs[:epoch], patience)[1] < epoch or
                                    epoch - stop(aucs[:epoch], patience)[0] == patience for aucs in script]
        if all(progress.stopped): break
    assert len(states) == max(stop(aucs[:length], patience)[1] for aucs in script)
    restore(model, progress.weights)
    for r, (aucs, left) in enumerate(zip(script, copies(model), strict=True)):
        best, _ = stop(aucs[:length], patience)
        assert (progress.best_epoch[r], progress.best[r], progress.failed[r]) == (best, aucs[best - 1], None)
        assert [same(left, state[r]) for state in states] == [e == best - 1 for e in range(len(states))]


def test_stopping_is_strict_per_replica_and_keeps_the_best_epoch():
    follows([# equals are misses; what comes after the third does not count
             [.60, .70, .70, .70, .70, .99, .99, .99],
             [.50, .60, .55, .55, .61, .60, .60, .60], # a better epoch forgives two misses
             [.90, .80, .85, .89, .95, .95, .95, .95], # rising misses are misses
             [.10, .20, .30, .40, .50, .60, .70, .80]])


def test_stopping_at_other_patience_and_at_the_last_epoch():
    follows([[.7, .6, .8], [.6, .7, .7]], patience=1)
    follows([[.7, .6]])
    follows([[.0, .0, .0, .0, .0]]) # an AUC of zero is a first best


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.sampled_from([.5, .6, .7, .8]), min_size=7, max_size=7), min_size=1, max_size=3))
def test_stopping_on_any_sequence(script): follows(script)


# so few rows that AUCs go up, down and tie
NOISY = SimpleNamespace(train=split(300, 0), valid=split(30, 1), test=split(40, 2))
MOST, PATIENCE = 7, 2
SEEDS = (0, 1, 3, 7, 10) # looked up: of the first fourteen, five that stop after 3, 4, 5 and 7 epochs

def noisy(max_epochs: int = MOST) -> tuple[Model, FitResult]:
    "Five replicas, each with its best epoch somewhere else."
    model = make("DNN", "paper", SEEDS, dropout=.2)
    recipe = Recipe(batch_size=16, max_epochs=max_epochs, patience=PATIENCE, learning_rate=.005)
    return model, fit(model, NOISY, recipe, device="cpu", show=False)

def scores(model: Model, part: SimpleNamespace) -> Tensor: # (R, n)
    with torch.no_grad(): return model.eval()(torch.as_tensor(part.x))

@pytest.fixture(scope="module")
def trained() -> tuple[Model, FitResult]: return noisy()


def test_a_training_stops_by_the_rule(trained):
    "Each replica's epochs, and the group's, by what the validation rows said of it."
    _, result = trained
    ends = []
    for r, row in result.frame.iterrows():
        history = result.history[result.history.replica == r]
        aucs = history.valid_auc.tolist()
        assert history.epoch.tolist() == list(range(1, len(aucs) + 1))
        best, last = stop(aucs, PATIENCE)
        assert last == len(aucs) and last == min(best + PATIENCE, MOST), "it stopped too early or too late"
        assert (row.seed, row.status, row.best_epoch, row.epochs,
                row.valid_auc) == (SEEDS[r], "done", best, last, aucs[best - 1])
        ends.append(last)
    assert len(result.abundance) == max(ends)
    assert np.isfinite(result.abundance).all((2, 3)).sum(0).tolist() == ends
    assert len(set(ends)) >= 4 and max(ends) == MOST, "the case does not tell replicas apart"


def test_what_is_left_and_tested_are_the_weights_of_the_best_epoch(trained):
    """They are those of a training that ends there; AUCs are those of the validation rows and of the test
    rows."""
    model, result = trained
    for epochs in sorted(set(result.frame.best_epoch)):
        shorter, _ = noisy(epochs)
        for r in result.frame.index[result.frame.best_epoch == epochs]:
            assert same(copies(model)[r], copies(shorter)[r])
    for part, name in (NOISY.valid, "valid_auc"), (NOISY.test, "test_auc"):
        expected = [roc_auc_score(part.y, logits) for logits in scores(model, part)]
        assert result.frame[name].tolist() == pytest.approx(expected, rel=0, abs=1e-12)
    torch.testing.assert_close(result.test_logits, scores(model, NOISY.test), rtol=0, atol=1e-9)
    losses = torch.nn.functional.binary_cross_entropy_with_logits
    expected = [losses(logits, torch.as_tensor(NOISY.test.y).double()).item()
                for logits in scores(model, NOISY.test)]
    assert result.frame.test_logloss_nats.tolist() == pytest.approx(expected, rel=0, abs=1e-12)


def sicken(model: Model, calls: list[int], poison: float) -> Tensor: # (R,)
    """A penalty on replica 1 that is nothing, and from the fifth step on `poison` times the sum of its
    parameters."""
    calls.append(0)
    penalty = torch.zeros(model.replicas, dtype=torch.float64)
    factor = poison if len(calls) >= 5 else 0.0
    total = sum(p.chunk(model.replicas, 1 if n in ("embedding.weight", "linear.weight", "linear.bias")
                        else 0)[1].sum()
                for n, p in model.named_parameters())
    return penalty.index_put((torch.tensor(1),), factor * total)

@pytest.mark.parametrize("name", BASE_DIM)
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_sick_replica_takes_nobody_along(name, poison):
    "Its loss breaks in the second epoch; the others equal, to the last bit, those beside a healthy one."
    recipe, data, kept = Recipe(batch_size=32, max_epochs=3, patience=3), dataset(96), {}
    for case in (0.0, poison):
        calls, model = [], make(name, "released", dropout=0.2)
        penalty = partial(sicken, calls=calls, poison=case)
        result = fit(model, data, recipe, device="cpu", regularizer=penalty, show=False)
        kept[str(case)] = copies(model), result
    (healthy, good), (beside, bad) = kept.values()
    for r in (0, 2):
        assert same(healthy[r], beside[r]) and torch.equal(good.test_logits[r], bad.test_logits[r])
        columns = ["status", "epochs", "best_epoch", "valid_auc", "test_auc", "test_logloss_nats"]
        assert good.frame.loc[r, columns].tolist() == bad.frame.loc[r, columns].tolist()
    assert bad.frame.status.tolist() == ["done", "failed", "done"]
    assert bad.frame.note.tolist() == ["", "loss is not finite at epoch 2, step 2", ""]
    assert bad.test_logits[1].isnan().all() and bad.frame.test_auc.isna().tolist() == [False, True, False]
    assert bad.history.groupby("replica").size().tolist() == [3, 2, 3]


def test_rows_nobody_hits_decay_by_coupled_l2():
    "The last id of field b: Adam fed by weight decay alone, coordinate by coordinate."
    model, data, steps, rate, decay = make("DNN", "released"), dataset(6400), 200, 1e-2, 1e-6
    row = 6 + 9 - 1
    w = start = model.embedding.weight[row].detach().numpy().copy()
    fit(model, data, Recipe(batch_size=32, max_epochs=1, learning_rate=rate, weight_decay=decay),
        device="cpu", show=False)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    left = model.embedding.weight[row].detach().numpy()
    np.testing.assert_allclose(left, w, rtol=0, atol=1e-9)
    assert abs(start).max() > 0.4 and abs(left).max() < 0.05


RUN = """
import hashlib, sys, torch
from test_training import SEEDS, dataset, make
from collapse_nb.train.fit import Recipe, fit
torch.manual_seed(int(sys.argv[1]))
model = make("DCNv2", "paper", SEEDS, dropout=0.2).float()
state = torch.get_rng_state()
result = fit(model, dataset(500), Recipe(batch_size=64, max_epochs=3), device="cpu", show=False)
assert torch.equal(torch.get_rng_state(), state), "the caller's random state moved"
digest = hashlib.sha256()
for t in [*model.state_dict().values(), result.test_logits]: digest.update(t.contiguous().numpy().tobytes())
digest.update(result.abundance.tobytes())
digest.update(result.history.drop(columns="train_s").to_csv().encode())
print(digest.hexdigest())
"""

def test_a_run_repeats_bit_for_bit_in_another_process():
    "Dropout on; neither the caller's random state nor Python's hash seed has a say."
    here = os.path.dirname(__file__)
    digests = []
    for seed in ("1", "2"):
        paths = os.pathsep.join([here, os.path.dirname(here), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        run = subprocess.run([sys.executable, "-c", RUN, seed], capture_output=True, text=True, check=True,
                             env=env)
        digests.append(run.stdout)
    assert len(digests[0].strip()) == 64 and digests[0] == digests[1]


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_auc_is_scikit_learns_with_heavy_ties(draw):
    n = draw.draw(st.integers(2, 40))
    row = lambda values: st.lists(st.sampled_from(values), min_size=n, max_size=n)
    labels = np.array(draw.draw(row([0, 1])))
    assume(0 < labels.sum() < n)
    scores = np.array(draw.draw(st.lists(row([-2., -.5, -0., 0., .25, 3.]), min_size=1, max_size=3)))
    expected = [roc_auc_score(labels, s) for s in scores]
    for kind in (torch.float32, torch.float64):
        assert auc(torch.tensor(scores, dtype=kind),
                   torch.tensor(labels)).tolist() == pytest.approx(expected, rel=0, abs=1e-12)
    for other in (labels.astype(np.uint8), labels.astype(bool), labels.astype(np.float32)):
        assert auc(scores[0], other) == pytest.approx(expected[0], rel=0, abs=1e-12)


@settings(derandomize=True)
@given(st.integers(1, 400), st.integers(2, 60))
def test_batches_cover_the_rows_in_order(n, size):
    parts = batches(n, size)
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    lengths = [part.stop - part.start for part in parts]
    assert set(lengths[:-1]) <= {size} and min(2, n) <= lengths[-1] <= size + 1


def test_a_last_batch_of_one_row_is_folded():
    "65 rows in batches of 32 are two steps, of 32 and 33 rows; 33 rows are one step, as in batches of 64."
    calls, left = [], []
    fit(make("DNN", "paper"), dataset(65), Recipe(batch_size=32, max_epochs=1), device="cpu", show=False,
        regularizer=lambda m: calls.append(0) or torch.zeros(3, dtype=torch.float64))
    assert len(calls) == 2
    for size in (32, 64):
        model = make("DNN", "paper")
        fit(model, dataset(33), Recipe(batch_size=size, max_epochs=2), device="cpu", show=False)
        left.append(copies(model))
    assert all(same(a, b) for a, b in zip(*left, strict=True))
