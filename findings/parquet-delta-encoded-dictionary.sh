#!/usr/bin/env bash
# A Parquet file that DuckDB writes as version 2 can be read by pyarrow, but not with `read_dictionary`.
#
# Guess beforehand: `ParquetFile(path, read_dictionary=["u"])` is a hint about the memory format of a text
# column, so it works for whatever encoding the column has in the file, at most without gaining anything.
#
# Seen with pyarrow 26.0.1 and DuckDB 2.0.1: where DuckDB gives up its dictionary (DICTIONARY_SIZE_LIMIT) it
# stores texts as DELTA_LENGTH_BYTE_ARRAY. pyarrow opens the file with the option, tells its schema, and raises an OSError,
# "Not yet implemented", for that column when rows are asked for; without the option it reads the same rows. So
# does a file that pyarrow has written itself as DELTA_BYTE_ARRAY. Who reads files of others with
# `read_dictionary` has to look at the encodings in the footer first.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 duckdb==2.0.1
cd "$place"
env/bin/python - <<'PY'
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

duckdb.sql("COPY (SELECT 'user_' || (i * 7919 % 100000) AS u FROM range(20000) t(i)) TO 'duckdb.parquet' "
           "(FORMAT parquet, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1)")
texts = pa.table({"u": [f"user_{i * 7919 % 100000}" for i in range(20000)]})
pq.write_table(texts, "pyarrow.parquet", use_dictionary=False, column_encoding={"u": "DELTA_BYTE_ARRAY"})

for file, encoding in ("duckdb.parquet", "DELTA_LENGTH_BYTE_ARRAY"), ("pyarrow.parquet", "DELTA_BYTE_ARRAY"):
    opened = pq.ParquetFile(file)
    assert encoding in opened.metadata.row_group(0).column(0).encodings, opened.metadata.row_group(0).column(0)
    assert opened.read().column("u").to_pylist() == texts["u"].to_pylist()
    hinted = pq.ParquetFile(file, read_dictionary=["u"])
    assert hinted.schema_arrow.field("u").type == pa.dictionary(pa.int32(), pa.string())
    try: hinted.read()
    except OSError as err: print(f"{file}, {encoding}: {type(err).__name__}: {err}")
    else: raise SystemExit(f"{file}: read_dictionary reads {encoding} now")
PY
