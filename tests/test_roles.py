"""Which tensors are tables: on files that packages wrote, on names that people give, and on any names.

What is known of each file was written down when it was made: `tests/checkpoints`."""
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_nb.checkpoints.opened import open_checkpoint
from collapse_nb.checkpoints.roles import ROLES, read_sidecar, roles
from collapse_nb.checkpoints.tensors import Checkpoint, of_array
from collapse_nb.records import InputError

SPECIMENS = Path(__file__).resolve().parent / "checkpoints"
EVERY = {listing.parent / name: known for listing in sorted(SPECIMENS.glob("*/expected.json"))
         for name, known in json.loads(listing.read_text()).items()}
KNOWN = {file: known for file, known in EVERY.items() if "refused" not in known}
REFUSED = {file: known["refused"] for file, known in EVERY.items() if "refused" in known}


def short(file: Path) -> str: return file.relative_to(SPECIMENS).as_posix()

def plain(key: str) -> str:
    "A key as the live model has it: files nest the state dict."
    return re.sub(r"^state_dict\.", "", key)

def by_key(file: Path, **more) -> dict:
    return {plain(role.tensor.key): role for role in roles(open_checkpoint(file), **more)}


def test_there_are_specimens():
    assert len(KNOWN) >= 19 and len({known["package"] for known in KNOWN.values()}) >= 9 and REFUSED


@pytest.mark.parametrize("file", REFUSED, ids=short)
def test_pickles_are_refused_by_the_package_s_name(file):
    with pytest.raises(InputError, match=rf"{REFUSED[file]}.*save") as refused: open_checkpoint(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", KNOWN, ids=short)
def test_package(file):
    checkpoint = open_checkpoint(file)
    roles(checkpoint)
    assert checkpoint.package == KNOWN[file]["package"]


@pytest.mark.parametrize("file", KNOWN, ids=short)
def test_tables(file):
    "All tables and no others, their rows that are no ids, and their numbers."
    found, expected = by_key(file), KNOWN[file]["tables"]
    whole = {key: table for key, table in expected.items() if "[" not in key}
    assert {key for key, role in found.items() if role.role == "table"} == set(whole)
    for key, table in whole.items():
        role = found[key]
        assert role.tensor.shape[0] == table["rows"] and role.name == table["name"]
        assert list(role.bias_columns) == table["bias_columns"] and list(role.oov) == table["oov"]
        if "fields" not in table: assert list(role.padding) == table["padding"]
        assert role.field == (table["field"] if "second_order" in key else "")
        numbers = role.tensor.array().astype(np.float64)
        assert int((np.ptp(numbers, 0) > 0).sum()) == table["dim"]
        assert numbers.sum() == pytest.approx(table["sum"], rel=1e-9, abs=1e-9)
        sigma = np.linalg.svd(np.delete(numbers, role.bias_columns, 1), compute_uv=False)
        np.testing.assert_allclose(sigma, table["singular_values"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("file", KNOWN, ids=short)
def test_the_rest(file):
    "Everything else has the role that is known of it; what the file has besides the model is said to be so."
    found, known = by_key(file), KNOWN[file]
    wrong = {key: (found[key].role, role) for key, role in known["others"].items() if found[key].role != role}
    assert wrong == {}
    beside = {role.role for key, role in found.items() if key not in known["tables"] | known["others"]}
    assert beside <= {"optimiser state", "alias", "other"}


def test_every_tensor_has_a_sentence():
    for file in KNOWN:
        checkpoint = open_checkpoint(file)
        said = roles(checkpoint)
        assert [role.tensor for role in said] == checkpoint.tensors
        assert all(role.role in ROLES and role.name and role.why.endswith(".") for role in said)


STACKED = [(file, key) for file, known in KNOWN.items() for key, table in known["tables"].items()
           if "fields" in table]

@pytest.mark.parametrize("file, key", STACKED)
def test_fields_of_a_stacked_table(file, key):
    tables = KNOWN[file]["tables"]
    sizes = tables[key]["fields"]
    told = next(role for role in roles(open_checkpoint(file)) if plain(role.tensor.key) == key)
    assert "several fields in one table" in told.why and "--fields a=60,b=41" in told.why
    parts = [role for role in roles(open_checkpoint(file), sizes) if role.rows]
    assert [part.name for part in parts] == list(sizes)
    for part in parts:
        expected = tables[f"{key}[{part.name}]"]
        numbers = part.tensor.array().astype(np.float64)[part.rows]
        assert len(numbers) == expected["rows"] and list(part.padding) == expected["padding"] == [0]
        np.testing.assert_allclose(np.linalg.svd(numbers, compute_uv=False), expected["singular_values"])


def test_sizes_that_do_not_fit_are_refused():
    file = STACKED[0][0]
    with pytest.raises(InputError, match=r"7 rows together.*104") as refused:
        roles(open_checkpoint(file), {"a": 3, "b": 4})
    assert "\n" not in str(refused.value)
    for wrong in {}, {"a": 0}, {"a": -3, "b": 107}:
        with pytest.raises(InputError, match="--fields"): roles(open_checkpoint(file), wrong)


FUXICTR = SPECIMENS / "fuxictr"

def no_ids(found: dict) -> dict: return {key: (role.padding, role.oov) for key, role in found.items()}

def test_sidecar_beside_the_file_or_given(tmp_path):
    told = by_key(FUXICTR / "DCNv2.model")
    assert all("sidecar" in role.why for role in told.values() if role.role == "table")
    alone = tmp_path / "DCNv2.model"
    alone.write_bytes((FUXICTR / "DCNv2.model").read_bytes())
    bare = by_key(alone)
    assert not any("sidecar" in role.why for role in bare.values())
    for given_ in FUXICTR, FUXICTR / "feature_map.json", FUXICTR / "feature_vocab.json":
        assert no_ids(by_key(alone, sidecar=given_)) == no_ids(told)
    assert no_ids(bare) == no_ids(told) # known by convention, too


def test_sidecar_of_another_data_set_is_told(tmp_path):
    vocabulary = {"user": {"a": 1, "__PAD__": 0, "__OOV__": 2}}
    (tmp_path / "feature_vocab.json").write_text(json.dumps(vocabulary))
    found = roles(open_checkpoint(FUXICTR / "DCNv2.model"), sidecar=tmp_path)
    role = next(role for role in found if role.name == "user")
    assert "3 rows, but it has 55" in role.why


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"features": 3}', '{"features": [3]}', "[" * 100_000,
                                  "\ud800".encode("utf-8", "surrogatepass")])
def test_a_damaged_sidecar_is_one_sentence(tmp_path, text):
    (tmp_path / "feature_map.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as refused: read_sidecar(tmp_path)
    assert "\n" not in str(refused.value)
    model = tmp_path / "m.model"
    model.write_bytes((FUXICTR / "DCNv2.model").read_bytes())
    checkpoint = open_checkpoint(model)
    assert roles(checkpoint) and any("feature_map.json" in note for note in checkpoint.notes)
    with pytest.raises(InputError, match="is no sidecar"): read_sidecar(tmp_path / "nothing")


def of_shapes(shapes: dict, seed: int = 0) -> Checkpoint:
    draw = np.random.default_rng(seed)
    return Checkpoint("a dict in memory", [of_array(key, draw.normal(size=shape).astype(np.float32))
                                           for key, shape in shapes.items()])

def told(shapes: dict) -> dict[str, str]:
    return {role.tensor.key: role.role for role in roles(of_shapes(shapes))}


MODELS = { # a user's own -> key: (shape, role)
    "two towers": {"user_tower.embedding.weight": ((500, 16), "table"),
                   "item_tower.embedding.weight": ((300, 16), "table"),
                   "user_tower.0.weight": ((8, 16), "dense layer"), "user_tower.0.bias": ((8,), "other"),
                   "temperature": ((), "other")},
    "a language model": {"model.embed_tokens.weight": ((900, 16), "table"),
                         "model.layers.0.self_attn.q_proj.weight": ((16, 16), "dense layer"),
                         "model.layers.0.self_attn.k_proj.weight": ((4, 16), "dense layer"),
                         "model.layers.0.mlp.up_proj.weight": ((64, 16), "dense layer"),
                         "model.norm.weight": ((16,), "other"),
                         "lm_head.weight": ((900, 16), "output table")},
    "BERT": {"embeddings.word_embeddings.weight": ((900, 16), "table"),
             "embeddings.position_embeddings.weight": ((64, 16), "positions"),
             "embeddings.token_type_embeddings.weight": ((2, 16), "positions"),
             "encoder.layer.0.attention.self.query.weight": ((16, 16), "dense layer"),
             "encoder.layer.0.attention.self.query.bias": ((16,), "other")},
    "GPT": {"transformer.wte.weight": ((900, 16), "table"), "transformer.wpe.weight": ((64, 16), "positions"),
            "transformer.h.0.attn.c_attn.weight": ((16, 48), "dense layer"),
            "transformer.h.0.attn.c_attn.bias": ((48,), "other")},
    "DLRM": {"emb_l.0.weight": ((900, 16), "table"), "emb_l.1.weight": ((3, 16), "table"),
             "bot_l.0.weight": ((64, 13), "dense layer"), "bot_l.0.bias": ((64,), "other"),
             "top_l.0.weight": ((32, 40), "dense layer"), "top_l.0.bias": ((32,), "other")},
    "a list of fields": {"embeds.0.weight": ((50, 8), "table"), "embeds.1.weight": ((3, 8), "table"),
                         "net.0.weight": ((64, 16), "dense layer"), "net.0.bias": ((64,), "other"),
                         "net.2.weight": ((1, 64), "dense layer"), "net.2.bias": ((1,), "other")},
    "fields by name": {"embs.position.weight": ((6, 8), "table"), "embs.head.weight": ((4, 8), "table"),
                       "embs.value.weight": ((50, 8), "table"), "embs.age.weight": ((8, 1), "numeric field"),
                       "linear.position.weight": ((6, 1), "first-order weights"),
                       "fc.weight": ((64, 24), "dense layer")},
    "matrix factorisation": {"P.weight": ((500, 16), "table"), "Q.weight": ((300, 16), "table"),
                             "bu.weight": ((500, 1), "first-order weights"), "bi": ((300,), "other")},
    "layers without bias": {"item_emb.weight": ((300, 16), "table"),
                            "lift.weight": ((64, 16), "dense layer"), "cross.0": ((16, 16), "dense layer"),
                            "drop.weight": ((8, 64), "dense layer")},
    "towers": {"user_tower.id.weight": ((500, 16), "table"), "item_encoder.0.weight": ((900, 16), "table"),
               "deep.user": ((700, 16), "table"), "user_tower.mlp.0.weight": ((64, 16), "dense layer"),
               "user_tower.mlp.0.bias": ((64,), "other")},
    "small fields": {"features.user.weight": ((300, 16), "table"), "features.age.weight": ((10, 16), "table"),
                     "features.place.weight": ((64, 16), "table"), "up.weight": ((64, 32), "dense layer"),
                     "mlp.0.weight": ((64, 64), "dense layer"), "mlp.0.bias": ((64,), "other")},
    "Keras": {"layers/embedding/vars/0": ((300, 16), "table"),
              "layers/dense/vars/0": ((64, 16), "dense layer"), "layers/dense/vars/1": ((16,), "other"),
              "optimizer/vars/2": ((300, 16), "optimiser state")},
    "an optimiser": {"model.item.weight": ((300, 16), "table"),
                     "optim.state.0.exp_avg": ((300, 16), "optimiser state"),
                     "optimizer_states.0.state.1.exp_avg_sq": ((300, 16), "optimiser state"),
                     "item.weight.momentum_buffer": ((300, 16), "optimiser state")},
    "torchvision": {"conv1.weight": ((8, 3, 3, 3), "dense layer"), "fc.weight": ((10, 8), "dense layer"),
                    "fc.bias": ((10,), "other")},
}

@pytest.mark.parametrize("model", MODELS)
def test_a_models_own_names(model):
    said = told({key: shape for key, (shape, _) in MODELS[model].items()})
    assert said == {key: role for key, (_, role) in MODELS[model].items()}

@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prefix", ["model.", "state_dict.", "module._orig_mod.", "a.b.c."])
def test_what_wraps_a_model_changes_nothing(model, prefix):
    if model == "Keras": return
    said = told({prefix + key: shape for key, (shape, _) in MODELS[model].items()})
    assert said == {prefix + key: role for key, (_, role) in MODELS[model].items()}


def test_bare_arrays_are_tables():
    assert told({"users": (50, 8), "wide": (3, 8)}) == {"users": "table", "wide": "table"}
    assert told({"fc": (4, 4)}) == {"fc": "table"}


def test_names_are_short_and_differ():
    shapes = {"user_tower.embedding.weight": (50, 8), "item_tower.embedding.weight": (40, 8),
              "emb_dict.city.weight": (9, 8), "embeds.3.weight": (5, 8), "wte.weight": (30, 8)}
    assert [role.name for role in roles(of_shapes(shapes))] == [
        "user_tower.embedding", "item_tower.embedding", "city", "embeds.3", "wte"]


def test_aliases_copies_and_slices():
    whole = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    tensors = [of_array("lm_head.weight", whole), of_array("embed_tokens.weight", whole),
               of_array("first_emb.weight", whole[:25]), of_array("second_emb.weight", whole[25:]),
               of_array("best.embed_tokens.weight", whole.copy()),
               of_array("ema.first_emb.weight", whole[:25] + 1)]
    said = {role.tensor.key: role.role for role in roles(Checkpoint("a dict in memory", tensors))}
    assert said == {"lm_head.weight": "alias", "embed_tokens.weight": "table", "first_emb.weight": "table",
                    "second_emb.weight": "table", "best.embed_tokens.weight": "alias",
                    "ema.first_emb.weight": "computed"}


def test_a_live_model_says_which_are_embeddings():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.fc = torch.nn.Embedding(3, 8, padding_idx=1), torch.nn.EmbeddingBag(40, 8)
            self.b, self.c = torch.nn.Linear(8, 40, bias=False), torch.nn.Embedding(40, 1)
            self.tied = self.a
    said = {role.tensor.key: role for role in roles(open_checkpoint(Net()))}
    assert {key: role.role for key, role in said.items()} == {
        "a.weight": "table", "fc.weight": "table", "b.weight": "dense layer",
        "c.weight": "first-order weights", "tied.weight": "alias"}
    assert said["a.weight"].padding == (1,)


PARTS = st.sampled_from("""emb embedding 0 17 fc weight bias state_dict optim vars layers exp_avg position
    a+b emb1 embedding_dict token_embedding_table sparse_emb_ kernel second_order_embedding_dict
    linear_model""".split())
KEYS = st.lists(PARTS | st.text(max_size=4), min_size=1, max_size=5).flatmap(
    lambda parts: st.sampled_from([".".join(parts), "/".join(parts)]))
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)

@settings(deadline=None, max_examples=300)
@given(st.dictionaries(KEYS, SHAPES, max_size=8), st.randoms())
def test_any_names_and_shapes_get_one_role_each(shapes, shuffler):
    checkpoint = of_shapes(shapes)
    said = roles(checkpoint)
    assert [role.tensor.key for role in said] == list(shapes)
    assert all(role.role in ROLES and role.why for role in said)
    tables = [role.name for role in said if role.role == "table"]
    assert len(set(tables)) == len(tables)
    assert all(len(role.tensor.shape) == 2 for role in said if role.role == "table")


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(KEYS, st.tuples(st.integers(2, 6), st.integers(2, 6)), max_size=8), st.integers(0, 99))
def test_the_order_of_tensors_changes_nothing(shapes, seed):
    turned = list(shapes)
    random.Random(seed).shuffle(turned)
    assert told(shapes) == told({key: shapes[key] for key in turned})
