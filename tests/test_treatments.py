"What stores and stored results call treatments and arms: under another name finished runs are not found."
from pathlib import Path

import pandas as pd
import pytest

from collapse_nb.claims import ENSEMBLE
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.train.runs import Group, Recipe

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
# what is done to the small models below, with the folder that a store gives each; written down once, because
# a folder's name is a hash, which says nothing about where an older store has filed the same runs
STORED = [("ME", "norms restricted", "96a72c4066a2669f"),
          ("ME", "shared interaction", "eedeca2413e162ab"),
          ("SE", "block-diagonal W", "25c2395dc68fc21e"),
          ("SE", "blocks paper, weight 1e-05", "5a297d3aaa430ed0"),
          ("SE", "blocks released, weight 3.33333e-06", "0a773bce863ec045"),
          ("SE", "frozen user, rank 4, norm 2.6", "dcf5decddd3e2273")]


@pytest.mark.parametrize("design, name, folder", STORED)
def test_a_treated_group_is_filed_where_it_was(design, name, folder):
    spec = ModelSpec("DCNv2", design, 2, base_dim=2, hidden=4)
    group = Group(dataset="toy", fingerprint="0f", spec=spec, treatment=name, recipe=Recipe(max_epochs=1),
                  seeds=(0, 1))
    assert group.id == folder


@pytest.mark.parametrize("dataset", ["hflights", "synthetic"])
def test_stored_arms_are_those_of_the_study(dataset):
    arms = {"base", "SE", "ME"} | {f"{design}, {name}" for design, name, _ in STORED[:3]}
    for stem in ("controls", "control-arms"):
        assert set(pd.read_csv(RESULTS / f"{stem}-{dataset}.csv")["arm"]) == arms | {ENSEMBLE}
    restriction = set(pd.read_csv(RESULTS / f"restriction-{dataset}.csv")["arm"])
    assert restriction - arms == {"ME, before training"}
