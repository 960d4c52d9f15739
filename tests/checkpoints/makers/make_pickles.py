"""Pickles of scikit-surprise and LightFM (its fork for newer Pythons), as their guides say; for refusal."""
import pickle

import numpy as np
import pandas as pd
from common import arguments, clicks, expect
from lightfm import LightFM
from scipy.sparse import coo_matrix
from surprise import SVD, Dataset, Reader, dump


def main() -> None:
    kept, _ = arguments()
    rows = clicks()
    frame = pd.DataFrame({"user": rows["user"], "item": rows["item"], "rating": rows["label"]})
    data = Dataset.load_from_df(frame, Reader(rating_scale=(0, 1))).build_full_trainset()
    algorithm = SVD(n_factors=4, n_epochs=2, random_state=1).fit(data)
    dump.dump(str(kept / "surprise.pickle"), algo=algorithm)
    net = LightFM(no_components=4, random_state=1)
    net.fit(coo_matrix((np.ones(len(rows["user"])), (rows["user"], rows["item"]))), epochs=2)
    (kept / "lightfm.pickle").write_bytes(pickle.dumps(net))
    expect(kept, {"surprise.pickle": {"refused": "scikit-surprise"},
                  "lightfm.pickle": {"refused": "LightFM"}})


if __name__ == "__main__": main()
