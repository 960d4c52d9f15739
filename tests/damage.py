"""Damage to the files of models, as bad disks and bad people do it, and what a reader may make of them."""
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from collapse_nb.checkpoints.tensors import Checkpoint
from collapse_nb.records import InputError

LIES = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40,
        2**63 - 1, 2**64 - 1]


def damaged(raw: bytes) -> st.SearchStrategy[bytes]:
    "The bytes with some flipped, a length that lies, a piece cut out or doubled, or the end missing."
    places = st.integers(0, len(raw) - 1)

    def flip(at: int, value: int) -> bytes: return raw[:at] + bytes([value]) + raw[at + 1:]

    def lie(at: int, value: int, width: int) -> bytes:
        return raw[:at] + (value % 2**(8 * width)).to_bytes(width, "little") + raw[at + width:]

    def moved(a: int, b: int, to: int) -> bytes:
        piece = raw[min(a, b):max(a, b)]
        return raw[:to] + piece + raw[to + len(piece):]

    return st.one_of(st.builds(flip, places, st.integers(0, 255)),
                     st.builds(lie, places, st.sampled_from(LIES), st.sampled_from([1, 2, 4, 8])),
                     st.builds(moved, places, places, places),
                     st.builds(lambda a, b: raw[:min(a, b)] + raw[max(a, b):], places, places),
                     st.builds(lambda at: raw[:at], places))


def sound(read: Callable[[Path], Checkpoint], file: Path, most_bytes: int = 2**27) -> Checkpoint | None:
    """Read all that a file holds; nothing if it was refused.

    Every tensor has its numbers, as many as it says, or a sentence; nothing else happens, and memory stays
    within bounds.
    """
    tracemalloc.start()
    try:
        try: found = read(file)
        except InputError as err:
            assert is_sentence(str(err)), err
            return None
        for t in found.tensors:
            assert not t.problem or is_sentence(t.problem), t.problem
            rows = 0
            try:
                for block in t.rows():
                    assert block.dtype in (np.float32, np.float64) and block.shape[1:] == t.shape[1:]
                    rows += len(block)
                assert rows == (t.shape or (1,))[0] or 0 in t.shape, (t.key, t.shape, rows)
            except InputError as err: assert is_sentence(str(err)), err
        assert all(map(is_sentence, found.notes)), found.notes
        return found
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most_bytes, f"{peak:,} bytes for a file of {file.stat().st_size:,}"


def is_sentence(text: str) -> bool: return text.endswith(".") and "\n" not in text and len(text) < 1500
