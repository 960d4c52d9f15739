"""gensim: word2vec on histories of items, in word2vec's text and binary form, and as a pickle.

The pickle is for the refusal: its tables are in there, but only a program that executes it gets at them."""
import os

import numpy as np
from common import arguments, clicks, expect, table
from gensim.models import Word2Vec


def main() -> None:
    kept, _ = arguments()
    sentences = [[f"i{item}" for item in line if item] for line in clicks()["history"]]
    net = Word2Vec(sentences, vector_size=8, min_count=1, epochs=5, workers=1, seed=1)
    net.wv.save_word2vec_format(str(kept / "vectors.txt"))
    net.wv.save_word2vec_format(str(kept / "vectors.bin"), binary=True)
    os.chdir(kept) # the pickle keeps the path that it was saved to
    net.save("word2vec.model")
    vectors = {file: {"package": "", "tables": {"vectors": table("vectors", net.wv.vectors)}, "others": {}}
               for file in ("vectors.txt", "vectors.bin")}
    # the text form has what `repr` of a float32 has
    text = np.loadtxt(kept / "vectors.txt", skiprows=1, usecols=range(1, 9), dtype=np.float32)
    assert (text == net.wv.vectors).all()
    expect(kept, vectors | {"word2vec.model": {"refused": "gensim"}})


if __name__ == "__main__": main()
