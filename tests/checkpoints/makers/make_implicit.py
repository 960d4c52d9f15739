"""implicit: alternating least squares, BPR and logistic matrix factorisation, saved by the models' `save`.

BPR's and LMF's factors end in constant and bias columns; users and items without an interaction stay zero
but for them."""
import numpy as np
from common import ITEMS, USERS, arguments, clicks, expect, table
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.lmf import LogisticMatrixFactorization
from scipy.sparse import csr_matrix

# the last columns of users' and items' factors: a constant one and the other side's bias, in its order
EXTRA = {"als": ([], []), "bpr": ([6], [6]), "lmf": ([6, 7], [6, 7])}


def main() -> None:
    kept, _ = arguments()
    rows, files = clicks(), {}
    pairs = csr_matrix((np.ones(len(rows["user"]), np.float32), (rows["user"], rows["item"])), (USERS, ITEMS))
    idle = {"user": [*set(range(USERS)) - {*rows["user"]}], "item": [*set(range(ITEMS)) - {*rows["item"]}]}
    for name, model in (("als", AlternatingLeastSquares), ("bpr", BayesianPersonalizedRanking),
                        ("lmf", LogisticMatrixFactorization)):
        net = model(factors=6, iterations=15, random_state=1, num_threads=1,
                    **({} if name == "lmf" else {"use_gpu": False}))
        net.fit(pairs, show_progress=False)
        net.save(str(kept / f"{name}.npz"))
        factors = {"user": net.user_factors, "item": net.item_factors}
        for side, columns in zip(factors, EXTRA[name], strict=True):
            assert factors[side].shape[1] == 6 + len(columns)
        files[f"{name}.npz"] = {"package": "implicit", "others": {}, "tables": {
            f"{side}_factors": table(f"{side}_factors", factors[side], never_trained=sorted(idle[side]),
                                     bias_columns=columns)
            for side, columns in zip(factors, EXTRA[name], strict=True)}}
    expect(kept, files)


if __name__ == "__main__": main()
