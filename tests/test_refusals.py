"What a newcomer's table is refused for, in one sentence that says what to do; and what is read after all."
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collapse_nb.data.cards import Card
from collapse_nb.data.encode import encode


def shop(**card): return Card(**{"name": "shop", "label": "y", "fields": ["u"]} | card)

def rows(n=2000): return [(i % 2, f"user_{i * 7919 % 300}") for i in range(n)]

def written(path, table, **how):
    pq.write_table(table, path, **how)
    return path


# Parquet files whose texts are kept as differences

def as_duckdb(path, cells):
    "DuckDB's own second version of the format, its dictionaries off."
    rows_there = pa.table({"y": [y for y, _ in cells], "u": [u for _, u in cells]}) # noqa: F841 (by its name)
    duckdb.sql(f"COPY (SELECT y::INT y, u FROM rows_there) TO '{path}' "
               "(FORMAT parquet, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1)")

def as_pyarrow(encoding):
    def write(path, cells):
        table = pa.table({"y": [y for y, _ in cells], "u": [u for _, u in cells]})
        pq.write_table(table, path, use_dictionary=False, column_encoding={"u": encoding})
    return write

@pytest.mark.parametrize("write", [as_duckdb, as_pyarrow("DELTA_BYTE_ARRAY"),
                                   as_pyarrow("DELTA_LENGTH_BYTE_ARRAY")])
def test_texts_kept_as_differences_are_read(tmp_path, write):
    "Alone and beside a usual part, with the ids of the same rows as CSV."
    cells = rows()
    write(tmp_path / "1.parquet", cells[:1000])
    about = pq.read_metadata(tmp_path / "1.parquet").row_group(0).column(1)
    assert any(e.startswith("DELTA") for e in about.encodings), about.encodings
    pq.write_table(pa.table(dict(zip("yu", map(list, zip(*cells[1000:], strict=True)), strict=True))),
                   tmp_path / "2.parquet")
    (tmp_path / "t.csv").write_text("y,u\n" + "".join(f"{y},{u}\n" for y, u in cells))
    one = encode(shop(), [tmp_path / "1.parquet", tmp_path / "2.parquet"], tmp_path / "parquet")
    other = encode(shop(), tmp_path / "t.csv", tmp_path / "csv")
    assert one.fingerprint == other.fingerprint
