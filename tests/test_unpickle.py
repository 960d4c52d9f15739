"Pickles are read without running them: the same plain values as Python's own reader, and no call is made."
import ast
import io
import pickle
import pickletools
import sys
import tracemalloc
from collections import OrderedDict, defaultdict
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collapse_nb.checkpoints
from collapse_nb.checkpoints import unpickle as module
from collapse_nb.checkpoints.unpickle import Foreign, Global, unpickle
from collapse_nb.records import InputError

CALLED = []


def mark(*args, **named): # what no pickle may have called
    CALLED.append(args)
    return {}


class Marks:
    "Whatever a pickle does with it calls `mark`."
    def __init__(self, *args): mark()
    def __reduce__(self): return mark, ("x",)
    def __setstate__(self, state): mark()


class Kind(Enum): ADAM = "adam"


class Settings(dict):
    def __init__(self): self.lr = 0.1


def read(data: bytes): return unpickle(io.BytesIO(data), "m.pt")


keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
keys |= st.tuples(st.integers(), st.text())
numbers = st.integers(-2**300, 2**300) | st.floats(allow_nan=False)
leaves = keys | numbers | st.binary(min_size=300, max_size=400) | st.sets(keys) | st.frozensets(keys)
plain = st.recursive(leaves, lambda inner: st.lists(inner) | st.lists(inner).map(tuple)
                     | st.dictionaries(keys, inner) | st.dictionaries(keys, inner).map(OrderedDict))


@given(plain, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_plain_values_come_back(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_shared_stays_shared(protocol):
    inner = []
    value = {"a": inner, "b": inner, "c": defaultdict(list, x=inner), "d": bytearray(b"x" * 300)}
    found = read(pickle.dumps(value, protocol))
    assert found == value and found["a"] is found["b"] is found["c"]["x"]


@pytest.mark.parametrize("protocol", range(6))
def test_objects_stay_on_paper(protocol):
    config = Settings()
    config["dim"] = 8
    found = read(pickle.dumps({"kind": Kind.ADAM, "path": Path("a/b"), "settings": config, "type": Settings},
                              protocol))
    assert found["kind"].name.endswith("Kind") and found["kind"].args == ("adam",)
    assert found["path"].args[-2:] == ("a", "b") and found["type"] == Global(f"{__name__}.Settings")
    settings_, entries = found["settings"], found["settings"].entries or dict(*found["settings"].args[-1:])
    assert isinstance(settings_, Foreign) and settings_.state == {"lr": 0.1} and entries == {"dim": 8}


CALLS = [pickle.dumps(Marks.__new__(Marks), protocol) for protocol in range(6)] + [
    f"(i{__name__}\nMarks\n.".encode("latin-1"),                              # INST
    f"(c{__name__}\nMarks\nI1\no.".encode("latin-1"),                         # OBJ
    f"c{__name__}\nMarks\n)\x81}}b.".encode("latin-1"),                       # NEWOBJ, BUILD
    f"c{__name__}\nMarks\n)}}\x92}}b.".encode("latin-1"),                     # NEWOBJ_EX
    f"c{__name__}\nMarks\nQ.".encode("latin-1"),                              # BINPERSID
    f"cbuiltins\ngetattr\n(c{__name__}\nMarks\nVmark\ntR(tR.".encode("latin-1"), # a call of what a call gives
    b"cno_such_module_anywhere\nx\n)R.", b"\x82\x01."]               # an import; an extension


@pytest.mark.parametrize("data", CALLS, ids=range(len(CALLS)))
def test_nothing_is_called_or_imported(data):
    before = set(sys.modules)
    assert isinstance(read(data), Foreign)
    assert CALLED == [] and set(sys.modules) == before


OPCODES = {code.name: code for code in pickletools.opcodes}
ARGS = {"INT": b"7\n", "BININT": bytes(4), "BININT1": b"\1", "BININT2": b"\1\0", "LONG": b"9L\n",
        "LONG1": b"\1\7",
        "STRING": b"'s'\n", "UNICODE": b"u\n", "SHORT_BINUNICODE": b"\1k", "SHORT_BINBYTES": b"\1b",
        "BINUNICODE": b"\1\0\0\0k", "FLOAT": b"1.5\n", "BINFLOAT": bytes(8),
        "GLOBAL": b"%b\nmark\n", "INST": b"%b\nMarks\n", "PUT": b"0\n", "BINPUT": b"\1",
        "GET": b"0\n", "BINGET": b"\1", "PERSID": b"p\n",
        "PROTO": b"\4", "EXT1": b"\1", "LONG4": b"\1\0\0\0\5", "BINBYTES": b"\1\0\0\0x",
        "LONG_BINPUT": bytes(4),
        "BYTEARRAY8": b"\1" + bytes(7) + b"x", "FRAME": bytes(8), "LONG_BINGET": bytes(4)}
STEPS = [code.code.encode("latin-1") + ARGS.get(name, b"").replace(b"%b", __name__.encode())
         for name, code in OPCODES.items() if (code.arg is None or name in ARGS) and name != "STOP"]
FIRST = [OPCODES[name].code.encode("latin-1") for name in ("MARK", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_LIST")]


@given(st.lists(st.sampled_from(STEPS + FIRST * 5), max_size=40))
@settings(max_examples=600, deadline=None)
def test_programs_of_any_opcodes_end_in_a_value_or_a_sentence(steps):
    try: read(b"".join(steps) + b".")
    except InputError as err: assert str(err).startswith("m.pt holds a pickle that cannot be read, as ")
    assert CALLED == []


REAL = pickle.dumps({"a": [1, 2.5, "x"] * 3, "b": Settings(), "c": Path("x/y"), "d": {1, 2}, "e": b"y" * 300},
                    protocol=4)


@given(st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), max_size=4),
       st.integers(0, len(REAL)))
@settings(max_examples=600, deadline=None)
def test_damage_ends_in_a_value_or_a_sentence(flips, length):
    data = bytearray(REAL)
    for place, byte in flips: data[place] = byte
    try: read(bytes(data[:length]))
    except InputError as err: assert "\n" not in str(err)


def test_deep_and_wide_things_do_no_harm():
    deep = b")" + b"\x85" * 200_000 + b"."             # ((((…)))), which no recursion survives
    assert type(read(deep)) is tuple
    with pytest.raises(InputError, match="1,000 parts"): read(b"}" + deep[:-1] + b"K\1s.")
    laughs = b")" + b"2\x86" * 60 + b"."               # a tuple of twice itself, sixty times
    assert len(read(laughs)) == 2
    with pytest.raises(InputError, match="1,000 parts"): read(b"}" + laughs[:-1] + b"K\1s.")
    with pytest.raises(InputError, match="no key"): read(b"}]K\1s.")
    with pytest.raises(InputError, match="255 bytes"): read(text("\x8b", 10**4) + b"\1" * 10**4 + b".")


def text(code: str, n: int) -> bytes: return code.encode("latin-1") + n.to_bytes(4, "little")


BIG = 1 << 20
GREEDY = {
    "empty sets": b"(" + b"\x8f" * BIG, "empty dicts": b"(" + b"}" * BIG,
    "one in one": b"]\x94" + b"h\0a" * BIG,
    "memo": b"N" + b"".join(b"r" + i.to_bytes(4, "little") for i in range(BIG // 4)),
    "wide text": text("X", 8 * BIG) + "\U0001f600".encode() * (2 * BIG),
    "bytes": text("B", 9 * BIG) + bytes(9 * BIG),
    "copies of a list": b"(" + b"N" * 50_000 + b"lq\0" + b"cbuiltins\nlist\nq\1" + b"h\1h\0\x85R" * 1000,
    "copies of a text": text("X", BIG // 2) + b"a" * (BIG // 2)
                        + b"q\0c_codecs\nencode\nq\1X\6\0\0\0latin1q\2" + b"h\1h\0h\2\x86R" * 1000,
    "calls": b"cx\ny\nq\0" + b"h\0)R" * BIG, "frozen sets": b"(K\1(K\1(" + b"(K\1\x91" * BIG,
    "names": b"\x8c\1aq\0" + b"h\0h\0\x93" * BIG, "tuples": b"N" + b"\x85" * BIG}


@pytest.mark.parametrize("name", GREEDY)
def test_no_more_memory_is_taken_than_allowed(name, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 8 * BIG)
    file = io.BytesIO(GREEDY[name] + b".")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than"): unpickle(file, "m.pt")
        assert tracemalloc.get_traced_memory()[1] < 12 * BIG
    finally: tracemalloc.stop()


def test_readers_of_checkpoints_never_load():
    "Neither torch.load nor pickle.load, nor anything else that executes a pickle."
    forbidden = {"load", "loads", "Unpickler", "eval", "exec", "system", "import_module", "__import__"}
    files = sorted(Path(collapse_nb.checkpoints.__file__).parent.glob("*.py"))
    assert len(files) > 4
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "importlib", "marshal", "joblib"} & set(names), file
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                whose = getattr(getattr(node.func, "value", None), "id", "")
                assert called not in forbidden or whose == "json", f"{file}: {called}"
