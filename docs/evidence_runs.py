"""Make or resume Table 1 on several tables: models, designs and sizes, and seeds until ME − SE is known
closely enough. What is run stands in docs/evidence.toml.

    .venv/bin/python docs/evidence_runs.py --plan --file hflights=hflights.csv.gz    # what it would cost
    .venv/bin/python docs/evidence_runs.py --file hflights=hflights.csv.gz --hours 8

Trained cells are kept in runs/evidence/TABLE: killed at any instant and started again, it trains what is
missing. Several of them may run side by side, on the same tables too: each takes cells that no other is at. A
table whose file is not given is left out, a cell that fails is left out, and what the hours did not allow is
listed; the rest goes on. The trained models stay in the stores, for what is asked of them afterwards: some
3 GB a table.

What comes out is added to data/results: runs-TABLE.csv, a row per run; measures-TABLE.csv, how much each
trained model's tables collapsed; and not-run.csv. Rows that lie there are not trained again, wherever they
were trained, so the table may be made on many machines, one after the other. `make verdicts` judges the rows.
"""
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from torch import get_num_threads

from collapse_nb.data.dataset import Encoded
from collapse_nb.data.source import open_source
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.prediction import store_measures
from collapse_nb.records import InputError, Record, unknown
from collapse_nb.results import read_table, save_table
from collapse_nb.train.leases import Leases
from collapse_nb.train.parameters import Scaling
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import ORDER, Group, RunStore, writable_folder
from collapse_nb.train.sweep import (
    check_until,
    estimates,
    extended,
    grid,
    missing,
    plan,
    rows_of,
    run_group,
    sweep,
)

ROOT = Path(__file__).resolve().parents[1]
STUDIES, OUT = Path(__file__).with_name("evidence.toml"), ROOT / "runs" / "evidence"
RESULTS = ROOT / "data" / "results"
EPOCHS = 7  # of a group whose model has not been trained on the table yet: the usual number on hflights
WAIT_S = 20 # between looks at cells that another process is at


def read_studies(file: Path, sources: dict[str, str]) -> list[Scaling]:
    "The studies of a file, each with its table's source. Raises `InputError` for what is no list of studies."
    try: entries = tomllib.loads(file.read_text(encoding="utf-8")).get("study")
    except OSError as err: raise InputError(f"{file} cannot be read ({err.strerror}): name a file.") from None
    except ValueError as err: raise InputError(f"{file} is no TOML: {err}.") from None
    if not entries or not isinstance(entries, list):
        raise InputError(f"{file} has no [[study]]: write one for each table, with its dataset.")
    return [Scaling(**entry | {"source": sources.get(entry.get("dataset"), entry.get("source", ""))})
            for entry in entries]


def groups_of(rows: pd.DataFrame) -> list[Group]:
    "The groups whose runs some stored rows are. Raises `InputError` for rows that lack a part of one."
    groups = []
    for name, part in rows.groupby("group", sort=False):
        row = {column: getattr(value, "item", lambda value=value: value)()
               for column, value in part.iloc[0].items() if not pd.isna(value)}
        def record(kind: type[Record], row=row) -> Record:
            return kind(**{entry: row[entry] for entry in kind.model_fields if entry in row})
        groups.append(Group(dataset=row["dataset"], fingerprint=row["fingerprint"], spec=record(ModelSpec),
                            treatment=row.get("treatment", ""), recipe=record(Recipe),
                            seeds=tuple(part["seed"].tolist())))
        if groups[-1].id != name:
            raise InputError(f"the rows of group {name} do not say how it was trained, or some of its seeds "
                             "are gone: take them out, or give --results another folder.")
    return groups


@dataclass
class Known:
    "The runs of a store, and rows of runs whose store is elsewhere."
    store: RunStore
    rows: pd.DataFrame # as `RunStore.frame` has them; empty for none

    @cached_property
    def elsewhere(self) -> list[Group]: return groups_of(self.rows) if len(self.rows) else []
    def groups(self) -> list[Group]: return [*self.store.groups(), *self.elsewhere]
    def frame(self) -> pd.DataFrame:
        here = self.store.frame()
        if self.rows.empty: return here
        rest = self.rows[~self.rows["group"].isin(here["group"])].assign(treatment="")
        return pd.concat([here, rest], ignore_index=True) if len(here) else rest


@dataclass
class Table:
    "One table, what is wanted on it, and where that is kept."
    data: Encoded
    studies: list[Scaling]
    store: RunStore # of what is trained here
    known: Known    # and all that was
    device: str
    failed: dict[str, str] = field(default_factory=dict) # cell -> why it was left out

    def wanted(self, study: Scaling) -> list[Group]:
        "The groups of a study's first stage."
        cells = grid(study.models, study.designs, study.scales, study.variant)
        return [study.group(self.data, spec) for spec in cells]

    def first(self, study: Scaling) -> list[Group]:
        "The same without those that failed."
        return [g for g in self.wanted(study) if g.cell not in self.failed]

    def added(self, study: Scaling) -> list[Group]:
        "The same with the seeds that `until` takes; none where there is nothing to compare."
        groups = self.whole(study)
        if not study.until or missing(groups, self.known): return []
        try: return extended(groups, self.known, study.until, study.at_most)
        except InputError as err: # too few of the runs came to an end
            self.failed["until"] = f"{self.data.name}: no seeds are added: {err}"
            return []

    def whole(self, study: Scaling) -> list[Group]:
        "The first stage without models that lack a cell: their other cells are no contrast."
        lacking = {g.spec.model for g in self.wanted(study) if g.cell in self.failed}
        return [g for g in self.first(study) if g.spec.model not in lacking]

    def epochs(self, model: str) -> float:
        "How many epochs a group of that model takes, by those that are done."
        done = self.known.frame()
        if done.empty: return EPOCHS
        same = done[done["model"] == model]
        return float((done if same.empty else same).groupby("group")["epochs"].max().median())

    def costed(self, groups: Iterable[Group], out: Path) -> pd.DataFrame:
        "A row per group with its estimated seconds, cheapest first; a cell is timed once."
        file, groups = out / f"plan-{self.data.name}.csv", list(groups)
        known = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["cell", "seed_epoch_s"])
        for group in groups:
            if group.cell in set(known["cell"]): continue
            # twice, for what else the machine does in between makes a cell look slower than it is
            try: epoch_s = min(estimates(plan([group], self.data, self.device))[group.cell] for _ in range(2))
            except Exception as err: # whatever it is, the other cells can be trained
                self.failed[group.cell] = self.sentence(group, err)
                continue
            row = pd.DataFrame([{"cell": group.cell, "seed_epoch_s": epoch_s}])
            known = pd.concat([known, row]) if len(known) else row
            save_table(known, file.stem, out)
        of_cell = dict(zip(known["cell"], known["seed_epoch_s"], strict=True))
        rows = [(self.data.name, g.spec.model, g.spec.design, g.spec.scale, len(g.seeds),
                 of_cell[g.cell] * len(g.seeds) * self.epochs(g.spec.model), g)
                for g in groups if g.cell not in self.failed]
        columns = ["dataset", "model", "design", "scale", "seeds", "seconds", "group"]
        table = pd.DataFrame(rows, columns=columns)
        return table.sort_values("seconds", kind="stable", ignore_index=True)

    def sentence(self, group: Group, err: Exception) -> str:
        spec, kind = group.spec, "" if isinstance(err, InputError) else f"{type(err).__name__}: "
        return f"{self.data.name}: {spec.model} {spec.design} {spec.scale}x is left out: {kind}{err}"

    def save(self, results: Path) -> None:
        "Rows of what is done, whoever trained it, and the measures of what was trained here."
        frame, wanted = self.known.frame(), {g.cell for study in self.studies for g in self.wanted(study)}
        cell = frame["group"].map({group.id: group.cell for group in self.known.groups()})
        frame = frame[cell.isin(wanted) | frame["group"].isin(self.known.rows.get("group", []))]
        if frame.empty: return
        frame = frame.sort_values(ORDER, kind="stable", ignore_index=True)
        first = [study.seeds for study in self.studies if study.until] # the others add no seeds
        frame["stage"] = 1 + (frame["seed"] >= min(first, default=float("inf")))
        save_table(frame, f"runs-{self.data.name}", results)
        known = stored(f"measures-{self.data.name}", results)
        measured = store_measures(self.store, self.data, known, set(frame["group"]))
        if len(measured): save_table(measured, f"measures-{self.data.name}", results)


def stored(stem: str, results: Path) -> pd.DataFrame:
    "A table of results; empty where there is none."
    return read_table(stem, results) if (results / f"{stem}.csv").is_file() else pd.DataFrame()


def is_free(store: Path, group: Group) -> bool:
    "Whether no other process is at a cell."
    with Leases(writable_folder(store, "the store")) as leases: return leases.take(group.cell)


class Work:
    "Trains groups one by one until the hours are used up, and says what came of each."
    def __init__(self, out: Path, hours: float):
        self.out, self.end = out, time.monotonic() + hours * 3600 if hours else float("inf")
        self.cut: dict[str, str] = {} # group -> why it was not begun

    def one(self, table: Table, row) -> bool:
        "Trains a group unless it is done or another process is at it; whether it is settled."
        start = time.monotonic()
        if start + row.seconds > self.end:
            self.cut[row.group.id] = "the hours did not allow it"
            return True
        if not is_free(table.store.path, row.group): return False
        left = missing([row.group], table.known)
        if not left: return True
        run = lambda group: run_group(group, table.data, table.device, show=False,
                                      checkpoint=table.store.checkpoint(group))
        try: sweep(left, table.store, run=run, show=False)
        except Exception as err: # whatever it is, the other cells can be trained
            table.failed[row.group.cell] = table.sentence(row.group, err)
            print(table.failed[row.group.cell], flush=True)
            return True
        done = rows_of([row.group], table.known)
        print(f"{time.strftime('%H:%M:%S')} {table.data.name}: {row.model} {row.design} {row.scale}x, "
              f"{len(left[0].seeds)} seeds in {time.monotonic() - start:.0f} s "
              f"(planned {row.seconds:.0f}), test AUC {done['test_auc'].mean():.5f}", flush=True)
        return True

    def all(self, table: Table, groups: list[Group]) -> None:
        "Trains groups, cheapest first; those that another process is at are looked at again."
        rows = list(table.costed(missing(groups, table.known), self.out).itertuples())
        while rows:
            before, rows = len(rows), [row for row in rows if not self.one(table, row)]
            if len(rows) == before: time.sleep(WAIT_S)

    def not_run(self, tables: list[Table], before: pd.DataFrame) -> pd.DataFrame:
        "What was wanted and is not there, and why; of tables that were not opened, what stood there before."
        rows = [(t.data.name, g.spec.model, g.spec.design, g.spec.scale, len(g.seeds),
                 t.failed.get(g.cell) or self.cut.get(g.id, "not begun"))
                for t in tables for study in t.studies
                for g in missing([*t.wanted(study), *t.added(study)], t.known)]
        found = pd.DataFrame(rows, columns=["dataset", "model", "design", "scale", "seeds", "why"])
        if before.empty: return found
        kept = before[~before["dataset"].isin([table.data.name for table in tables])]
        return pd.concat([kept, found], ignore_index=True) if len(kept) else found


def opened(studies: list[Scaling], out: Path, results: Path, device: str) -> list[Table]:
    """The tables whose files are there, in the order of the studies. Raises `InputError` for stored rows of
    another file or recipe, which would be judged together with those to come."""
    tables: dict[str, Table] = {}
    for study in studies:
        if study.dataset not in tables:
            try: data = open_source(study.dataset, study.source, study.rows)
            except InputError as err:
                print(f"{study.dataset} is left out: {err}")
                continue
            store, name = RunStore(out / data.name, weights=True), f"runs-{data.name}"
            tables[study.dataset] = Table(data, [], store, Known(store, stored(name, results)), device)
        table = tables[study.dataset]
        if study.until: check_until(table.first(study), study.until, study.at_most)
        table.studies.append(study)
    for table in tables.values():
        recipes = [study.group(table.data, ModelSpec("DNN")).recipe for study in table.studies]
        for group in table.known.elsewhere:
            if group.fingerprint != table.data.fingerprint or group.recipe not in recipes:
                raise InputError(f"{results / f'runs-{table.data.name}.csv'} has rows of another file or "
                                 "recipe than what is to be run: give --results another folder.")
    return list(tables.values())


def show_plan(tables: list[Table], out: Path) -> None:
    "What is missing, cell by cell, and what it is expected to take."
    hours = 0.
    for table in tables:
        first = [g for study in table.studies for g in table.first(study)]
        rows = table.costed(missing(first, table.known), out)
        more = sum(row.seconds / row.seeds * (study.at_most - study.seeds)
                   for study in table.studies if study.until
                   for row in table.costed(table.first(study), out).itertuples()
                   if row.scale in (1, max(study.scales)))
        if len(rows): print(rows.drop(columns="group").round().to_string(index=False))
        print(f"{table.data.name}: {len(rows)} cells to train, {rows['seconds'].sum() / 3600:.2f} hours; the "
              f"seeds of `until` add {more / 3600:.1f} at most")
        for sentence in table.failed.values(): print(sentence)
        hours += rows["seconds"].sum() / 3600
    print(f"all tables: {hours:.1f} hours on {get_num_threads()} threads, before the seeds of `until`")


def main(
    studies: Annotated[Path, typer.Argument(help="What is to be run.")] = STUDIES,
    file: Annotated[list[str], typer.Option(help="TABLE=FILE, raw or encoded, as often as there are tables.")] = [],  # noqa: B006,E501
    only: Annotated[list[str], typer.Option(help="One of the tables; else all.")] = [],  # noqa: B006
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would cost, and train nothing.")] = False,
    hours: Annotated[float, typer.Option(help="Begin nothing that would end later; 0 for no limit.")] = 0.,
    out: Annotated[Path, typer.Option(help="Folder of the stores.")] = OUT,
    results: Annotated[Path, typer.Option(help="Folder of rows, those that are there and those that come out.")] = RESULTS,  # noqa: E501
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    "Make or resume the runs behind the evidence."
    if wrong := [w for w in file if "=" not in w]:
        raise typer.BadParameter(f"{wrong[0]!r} was given: name tables as TABLE=FILE.")
    wanted = read_studies(studies, dict(w.split("=", 1) for w in file))
    names = list(dict.fromkeys(study.dataset for study in wanted))
    for name in only:
        if name not in names: raise unknown("table", name, names)
    tables = opened([s for s in wanted if not only or s.dataset in only], out, results, device)
    if plan: return show_plan(tables, out)
    work = Work(out, hours)
    try:
        for table in tables:
            for study in table.studies: work.all(table, table.first(study))
            table.save(results)
        for table in tables:
            for study in table.studies: work.all(table, table.added(study))
            table.save(results)
    finally:
        left = work.not_run(tables, stored("not-run", results))
        save_table(left, "not-run", results)
    print(f"{len(left)} cells were not run" + (f", listed in {results / 'not-run.csv'}:" if len(left)
                                               else "."))
    if len(left): print(left.to_string(index=False))
    raise typer.Exit(any(table.failed for table in tables))


if __name__ == "__main__":
    try: typer.run(main)
    except InputError as err: raise SystemExit(f"evidence_runs: {err}") from None
