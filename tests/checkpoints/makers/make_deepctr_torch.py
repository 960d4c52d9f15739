"""DeepCTR-Torch: DCN and ONN saved as a state dict, DCN-Mix as a whole model, under the guide's suffix `.h5`.

`last_item` and the sequence `history` share item's table. ONN, which takes no sequences, has two tables for
each pair of fields. Nothing is trained for ids that no row has."""
import numpy as np
import torch
from common import CITIES, ITEMS, USERS, arguments, clicks, expect, role, table
from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DCN, ONN, DCNMix

FIELDS = {"user": USERS, "item": ITEMS + 1, "city": CITIES + 1} # ids of items begin at 1, an empty city is 0


def inputs() -> dict[str, np.ndarray]:
    rows = clicks()
    city = np.array([int(c.split()[1]) + 1 if c else 0 for c in rows["city"]])
    return {"user": rows["user"], "item": rows["item"] + 1, "last_item": rows["last_item"] + 1, "city": city,
            "history": rows["history"], "price": rows["price"], "label": rows["label"]}


def columns(dim: int, shared: bool) -> list:
    sparse = [SparseFeat(name, size, dim) for name, size in FIELDS.items()]
    if not shared: return [*sparse, DenseFeat("price")]
    last = SparseFeat("last_item", ITEMS + 1, dim, embedding_name="item")
    history = VarLenSparseFeat(SparseFeat("history", ITEMS + 1, dim, embedding_name="item"), 4)
    return [*sparse, last, history, DenseFeat("price")]


def never_trained(rows: dict, name: str, shared: bool) -> list[int]:
    "Ids that no row has; id 0 of a sequence is masked."
    seen = {*rows[name]} | ({*rows["last_item"], *rows["history"].flat} - {0}
                            if shared and name == "item" else set())
    return sorted({*range(FIELDS[name])} - seen)


def main() -> None:
    kept, _ = arguments()
    rows, files = inputs(), {}
    for model, dim, file, more in ((DCN, 6, "dcn_weights.h5", {"cross_parameterization": "matrix"}),
                                   (DCNMix, 4, "dcnmix_model.h5", {"low_rank": 3, "num_experts": 2}),
                                   (ONN, 4, "onn_weights.h5", {})):
        shared = model is not ONN
        features = columns(dim, shared)
        net = model(features, features, dnn_hidden_units=(8, 8), l2_reg_embedding=1e-4, **more)
        net.compile("adam", "binary_crossentropy")
        given = {name: rows[name] for name in ("user", "item", "last_item", "city", "history", "price")
                 if name in net.feature_index}
        net.fit(given, rows["label"], batch_size=64, epochs=10, verbose=0)
        torch.save(net if model is DCNMix else net.state_dict(), kept / file)

        weights, tables = {k: v.detach() for k, v in net.state_dict().items()}, {}
        others = {key: "first-order weights" for key in weights if key.startswith("linear_model.")}
        if model is ONN:
            assert all(len(list(pair.parameters())) == 2 for pair in net.second_order_embedding_dict.values())
            others |= {f"embedding_dict.{name}.weight": "other" for name in FIELDS} # never looked up
            for pair in net.second_order_embedding_dict:
                one, other = pair.split("+")
                for half, name, mate in ("emb1", one, other), ("emb2", other, one):
                    key = f"second_order_embedding_dict.{pair}.{half}.weight"
                    tables[key] = table(f"{name} (with {mate})", weights[key], field=name,
                                        never_trained=never_trained(rows, name, False))
        else:
            for name in FIELDS:
                key = f"embedding_dict.{name}.weight"
                tables[key] = table(name, weights[key], never_trained=never_trained(rows, name, True))
        for key, value in weights.items():
            if key not in tables | others: others[key] = role(key, value)
        files[file] = {"package": "DeepCTR-Torch", "tables": tables, "others": others}
    expect(kept, files)


if __name__ == "__main__": main()
