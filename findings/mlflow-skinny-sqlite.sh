#!/usr/bin/env bash
# mlflow-skinny takes a sqlite address as its tracking server, and then lacks what it reads it with.
#
# Guess beforehand: mlflow-skinny is the client; a `sqlite:///` address wants SQLAlchemy, which the documentation names, and no more.
#
# Seen with mlflow-skinny 3.17.2 and SQLAlchemy 2.1.9: the first call on such an address ends in ModuleNotFoundError, for alembic, by which
# the tables are made; neither comes with mlflow-skinny. With alembic 1.20.1 and sqlparse 0.6.1 beside them the same call works. Who offers
# runs to MLflow without the whole of it has to install four packages by name.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q --disable-pip-version-check mlflow-skinny==3.17.2 sqlalchemy==2.1.9
cd "$place"
cat > make.py <<'PY'
import mlflow
mlflow.set_tracking_uri("sqlite:///runs.db")
print("experiment", mlflow.create_experiment("study"))
PY
if env/bin/python make.py > first.txt 2>&1; then echo "mlflow-skinny and SQLAlchemy alone open a sqlite address now"; exit 1; fi
grep -h "ModuleNotFoundError" first.txt | tail -1
grep -q "No module named 'alembic'" first.txt || { echo "another module is missing than alembic"; exit 1; }
rm -f runs.db
env/bin/pip install -q --disable-pip-version-check alembic==1.20.1 sqlparse==0.6.1
env/bin/python make.py 2>/dev/null | tail -1 | grep "experiment 1"
