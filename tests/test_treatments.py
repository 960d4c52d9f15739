"What stores and stored results call treatments and arms: under another name finished runs are not found."
from pathlib import Path

import pandas as pd
import pytest

from collapse_nb.claims.sets import ENSEMBLE
from collapse_nb.controls import TREATMENTS, arm_name, arm_specs, treatment
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.show import multi_embedding as figures
from collapse_nb.train.runs import Group, Recipe

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
# treatments of small models, with the folder that a store gives each; written down once, because only that
# says where an older store has filed the same runs
FOLDERS = [("ME", "norms restricted", {}, "96a72c4066a2669f"),
           ("ME", "shared interaction", {}, "eedeca2413e162ab"),
           ("ME", "shared table", {}, "3b8c8b6508bea8df"),
           ("ME", "no projection", {}, "d54b916341722921"),
           ("ME", "concatenated", {}, "ebfb56ad9bed1fc5"),
           ("ME", "a loss per set", {}, "1b207f9f6271de38"),
           ("ME", "a loss per set, distilled", {}, "fce18454977193ad"),
           ("ME", "KDEF", {}, "9c40200ae4863ff3"),
           ("SE", "block-diagonal W", {}, "25c2395dc68fc21e"),
           ("SE", "blocks", {"form": "paper", "weight": 1e-5}, "5a297d3aaa430ed0"),
           ("SE", "blocks", {"form": "released", "weight": 1e-5 / 3}, "0a773bce863ec045"),
           ("SE", "white tables", {"weight": .01}, "63d25febe903b2f6"),
           ("SE", "even batches", {"weight": .1}, "9797196a14b769af"),
           ("ME", "unlike sets", {"weight": .001}, "774d10e60ae25d36"),
           ("SE", "wide inside", {"times": 4}, "3fafc54eaba4d4a6"),
           ("SE", "decay by gaps", {"alpha": .001}, "7ca2e3d6a8e080c6"),
           ("SE", "frozen", {"field": "user", "rank": 4, "norm": 2.6}, "dcf5decddd3e2273")]


@pytest.mark.parametrize("design, name, settings, folder", FOLDERS)
def test_a_treated_group_is_filed_where_it_was(design, name, settings, folder):
    spec = ModelSpec("DCNv2", design, 2, base_dim=2, hidden=4)
    group = Group(dataset="toy", fingerprint="0f", spec=spec, treatment=treatment(name, **settings)[0],
                  recipe=Recipe(max_epochs=1, batch_norm="running"), seeds=(0, 1))
    assert group.id == folder


def test_every_treatment_has_its_folder_held():
    assert list(dict.fromkeys(name for _, name, _, _ in FOLDERS)) == list(TREATMENTS)


@pytest.mark.parametrize("dataset", ["hflights", "synthetic"])
def test_stored_arms_are_those_of_the_study(dataset):
    arms = {arm for arm, _ in arm_specs([4], 4)}
    for stem in ("controls", "control-arms"):
        assert set(pd.read_csv(RESULTS / f"{stem}-{dataset}.csv")["arm"]) == arms | {ENSEMBLE}
    restriction = set(pd.read_csv(RESULTS / f"restriction-{dataset}.csv")["arm"])
    assert restriction - arms == {"ME, before training"}
    assert figures.RESTRICTED == arm_name("norms restricted")
