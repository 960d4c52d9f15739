"""Batch-norm statistics that are recomputed before every scoring: training goes on to the bit as without,
the kept model has the statistics of its own weights, and stored runs say which choice they used."""
import json
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from test_training import SCHEMA, VARIANTS, dataset, make, squares

from collapse_nb.data.dataset import Encoded, Split
from collapse_nb.nn.layers import StackedBatchNorm
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.train.batch_norm import recompute_batch_norm
from collapse_nb.train.fit import Progress, fit, run_epochs
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.rows import Rows, find_device
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.sweep import run_group, sweep

CPU = find_device("cpu")
CHOICES = "recomputed", "running"


def trained(model: str, variant: str, batch_norm: str, regularizer: Callable | None = None, **more) -> tuple:
    "The weights after three epochs with dropout, whatever epoch was best, and the history."
    data, built = dataset(640), make(model, variant, dropout=.2)
    train, valid = (Rows(data, part, SCHEMA, CPU) for part in ("train", "valid"))
    recipe = Recipe(batch_size=32, max_epochs=3, learning_rate=1e-2, batch_norm=batch_norm, **more)
    torch.manual_seed(0)
    epochs = [record for records, _ in run_epochs(built, train, valid, recipe, regularizer,
                                                  Progress(built, 99), False) for record in records]
    return built, pd.DataFrame(epochs).drop(columns="train_s")

def statistics(model: torch.nn.Module) -> list[torch.Tensor]:
    return [t.clone() for m in model.modules() if isinstance(m, StackedBatchNorm)
            for t in (m.running_mean, m.running_var)]


@pytest.mark.parametrize("model, variant", VARIANTS)
def test_training_is_not_touched(model, variant):
    "Weights and training losses are equal to the bit; what is scored is not, where there is a batch norm."
    (asked, of_asked), (averaged, of_averaged) = (trained(model, variant, choice, squares)
                                                 for choice in CHOICES)
    for (name, t), other in zip(asked.named_parameters(), averaged.parameters(), strict=True):
        assert torch.equal(t, other), name
    assert of_asked.train_loss_nats.equals(of_averaged.train_loss_nats)
    assert of_asked.valid_auc.equals(of_averaged.valid_auc) == (not statistics(asked))

@pytest.mark.parametrize("optimizer", ["AdamW", "SparseAdam"])
def test_other_optimisers_are_not_touched_either(optimizer):
    (asked, _), (averaged, _) = (trained("DNN", "released", choice, optimizer=optimizer)
                                 for choice in CHOICES)
    assert all(map(torch.equal, asked.parameters(), averaged.parameters()))

def test_the_kept_model_has_the_statistics_of_its_own_weights():
    "Asked again of the weights that were kept, they come out as they were kept, replica by replica."
    data, model = dataset(320), make("DCNv2", "released", dropout=.2)
    recipe = Recipe(batch_size=32, max_epochs=5, learning_rate=.3)
    result = fit(model, data, recipe, device="cpu", show=False)
    assert result.frame.best_epoch.nunique() > 1 # or else nothing is seen of who keeps what
    kept = statistics(model)
    recompute_batch_norm(model, Rows(data, "train", SCHEMA, CPU), recipe)
    for now, then in zip(statistics(model), kept, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=1e-12)

def test_a_replica_without_a_number_spoils_no_other():
    data, model = dataset(640), make("DNN", "released")
    with torch.no_grad(): model.replica_state(1)["embedding.weight"].fill_(torch.nan)
    frame = fit(model, data, Recipe(batch_size=32, max_epochs=1), device="cpu", show=False).frame
    assert frame.status.tolist() == ["done", "failed", "done"] and frame.test_auc.notna().sum() == 2


def encoded() -> Encoded:
    rows = dataset(640)
    parts = (Split(part.x, part.y) for part in (rows.train, rows.valid, rows.test))
    return Encoded("toy", SCHEMA, *parts, "0f", .5)

def group(**recipe) -> Group:
    return Group(dataset="toy", fingerprint="0f", spec=ModelSpec("DNN", hidden=8),
                 recipe=Recipe(batch_size=32, max_epochs=1, **recipe), seeds=(0, 1))

def test_both_choices_are_cells_of_their_own(tmp_path):
    store, both, data = RunStore(tmp_path), [group(batch_norm=choice) for choice in CHOICES], encoded()
    frame = sweep(both, store, run=lambda g: run_group(g, data, "cpu", show=False), show=False)
    assert frame.groupby("group").batch_norm.first().to_dict() == {g.id: g.recipe.batch_norm for g in both}
    assert group() == both[0] and all(g in store for g in both)

def test_a_recipe_that_says_nothing_is_from_before_there_was_a_choice(tmp_path):
    "Its identity, pinned at a commit without the choice, stays, and it reads as running."
    older = Group(dataset="toy", fingerprint="0f", spec=ModelSpec("DNN", "ME", 4),
                  recipe=Recipe(max_epochs=2, batch_norm="running"), seeds=(0, 1))
    assert older.id == "43d10f4158a0d54d"
    store, running, data = RunStore(tmp_path), group(batch_norm="running"), encoded()
    sweep([running], store, run=lambda g: run_group(g, data, "cpu", show=False), show=False)
    assert "batch_norm" not in json.loads((tmp_path / running.id / "group.json").read_text())["recipe"]
    assert store.groups() == [running] and set(store.frame().batch_norm) == {"running"}
