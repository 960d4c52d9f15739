"""The register of claims: every statement of the paper, and what became of it, out of docs/claims.toml and
the findings of data/results.

    .venv/bin/python docs/register.py    # what has no place in it
"""
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from pydantic import model_validator

from collapse_nb.records import InputError, Record, unknown
from collapse_nb.results import read_table
from collapse_nb.show import charts, sentences
from collapse_nb.show.sentences import face_value, sight, size
from collapse_nb.stats import CELL, verdict

ROOT = Path(__file__).resolve().parents[1]
REGISTER, RESULTS = Path(__file__).with_name("claims.toml"), ROOT / "data" / "results"
TOY = "toy" # what findings without a dataset are of
POOLED = "pooled" # and those of all tables together
Outcome = Literal["holds", "does not hold", "cannot tell", "not run here"]
# columns of a table of findings that are read
NEEDED = ("claim", "where", "value", "low", "high", "p", "verdict", "alone", "seeds", "half_width",
          "detectable", "sought", "seeds_needed", "paper")
FINDING = ["number", "dataset", "claim"] # which finding it is
REPLAYED = [*FINDING, "value", "low", "high", "p", "verdict", "seeds"]
# instead of findings
REASONS = {"built": "built and tested", "nothing": "nothing to test", "not_run": "not run", "same_as": "see"}


class Claim(Record):
    "A statement of the paper; docs/claims.toml says what its entries mean."
    id: str
    place: str
    says: str
    quote: str = ""
    headline: str = ""
    rows: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    built: str = ""
    nothing: str = ""
    not_run: str = ""
    same_as: str = ""
    fact: bool = False
    note: str = ""
    paper: str = ""
    figure: str = ""
    mind: str = ""

    @model_validator(mode="after")
    def _has_one_way_out(self):
        ways = ["rows"] * self.is_tested + [name for name in REASONS if getattr(self, name)]
        if len(ways) != 1:
            given = " and ".join(ways) or "neither findings nor a reason"
            raise ValueError(f"claim {self.id} has {given}: give one of rows, {', '.join(REASONS)}")
        if self.headline and not (self.is_tested and self.mind):
            raise ValueError(f"claim {self.id} has a headline: give its rows, and what would change our "
                             "mind")
        return self

    @property
    def is_tested(self) -> bool: return bool(self.rows or self.against)

    @property
    def is_ours(self) -> bool: return self.id.startswith("ours.")

    @property
    def reason(self) -> str:
        "Why there are no findings; empty where there are."
        return next((f"{words}: {text}" for name, words in REASONS.items()
                     if (text := getattr(self, name))), "")


def read_claims(file: Path = REGISTER) -> dict[str, Claim]:
    "The claims by id, in the paper's order. Raises `InputError` for what is no register."
    try: entries = tomllib.loads(file.read_text(encoding="utf-8")).get("claim", [])
    except OSError as err: raise InputError(f"{file} could not be read ({err.strerror}).") from None
    except ValueError as err: raise InputError(f"{file.name} is no TOML: {err}.") from None
    claims: dict[str, Claim] = {}
    for entry in entries:
        claim = Claim(**entry)
        if claim.id in claims: raise InputError(f"{file.name} has two claims {claim.id}: give each its own.")
        if wrong := [p for p in (*claim.rows, *claim.against, *claim.controls) if ": " not in p]:
            raise InputError(f"claim {claim.id} names {wrong[0]!r}: write the notebook's number, a colon and "
                             "the words of the finding, such as '01: IA of * grows'.")
        claims[claim.id] = claim
    for claim in claims.values():
        if claim.same_as and (claim.same_as not in claims or claims[claim.same_as].same_as):
            raise InputError(f"claim {claim.id} is the same as {claim.same_as!r}, which is no claim that "
                             "stands for itself: name one.")
    return claims


def fits(pattern: str, number: str, claim: str) -> bool:
    "Whether a pattern such as `01: IA of * grows` names a finding of a notebook."
    where, words = pattern.split(": ", 1)
    return where == number and bool(re.fullmatch(re.escape(words).replace(r"\*", ".*"), claim))


def checked_findings(file: Path) -> pd.DataFrame:
    "A table of findings. Raises `InputError` for one that is none, or is of an older schema."
    table = read_table(file.stem, file.parent)
    if lost := [column for column in NEEDED if column not in table]:
        raise InputError(f"{file.name} is of an older schema, without {', '.join(lost)}: write it again with "
                         "`make verdicts` or `make results`.")
    if wrong := sorted(set(table["verdict"].astype(str)) - set(get_args(Outcome))):
        raise InputError(f"{file.name} has the verdict {wrong[0]!r}, which is none of "
                         f"{', '.join(get_args(Outcome))}: write it again with `make verdicts`.")
    return table

def by_model(file: Path) -> pd.DataFrame:
    "ME − SE of each model at its largest size, as findings: their family is that of the differences."
    table = read_table(file.stem, file.parent)
    wanted = {"kind", "model", "scale", "difference", "low", "high", "p_holm", "verdict", "seeds",
              "half_width", "detectable", "sought", "seeds_needed"}
    if lost := sorted(wanted - set(table)):
        raise InputError(f"{file.name} is of an older schema, without {', '.join(lost)}: write it again with "
                         "`make verdicts` or `make results`.")
    rows = table[table["kind"] == "secondary"]
    rows = rows[rows["scale"] == rows.groupby("model")["scale"].transform("max")]
    words = [f"{row.model} ME beats SE at {row.scale}x" for row in rows.itertuples()]
    alone = [verdict(row.low, row.high) for row in rows.itertuples()]
    rows = rows.rename(columns={"difference": "value"}).assign(
        claim=words, where="§5.2, Table 1, Fig. 7", alone=alone, p=rows["p_holm"], paper=None, number="06",
        dataset=file.stem.removeprefix("differences-"), stem=file.stem,
        tests=(table["kind"] == "secondary").sum())
    return rows[[*NEEDED, "number", "dataset", "stem", "tests"]]

def stored_findings(
    results: Path = RESULTS, note: Callable[[str, str], object] | None = None,
) -> pd.DataFrame:
    """All findings of full runs: their columns, the notebook's number, the dataset, and the file's name.

    A table that is missing or cannot be used is an `InputError`, or, with `note`, told to it and left out.
    """
    tables, ran = [], results / "commands.csv"
    runs = read_table(ran.stem, results)["run"] if ran.is_file() else ()
    names = {re.sub(r"^(\d\d)_\S+ ?(.*)", r"findings-\1-\2", run).rstrip("-") for run in runs
             if run[0].isdigit() and run[:2] != "07"} # it judges no claim of the paper
    names |= {file.stem for file in results.glob("findings-[0-9][0-9]*.csv")}
    for file in (results / f"{name}.csv" for name in sorted(names)):
        number, dataset = re.fullmatch(r"findings-(\d\d)-?(.*)", file.stem).groups()
        try:
            table = checked_findings(file)
            tables.append(table.assign(number=number, dataset=dataset or TOY, stem=file.stem,
                                       tests=[sentences.tests_in(table, note == sentences.LATER)
                                              for note in table.get("note", [""] * len(table))]))
            if number == "06" and dataset != POOLED:
                tables.append(by_model(file.with_name(f"differences-{dataset}.csv")))
        except InputError as err:
            if note is None: raise
            note(file.name, str(err))
    if not tables: raise InputError(f"there are no findings in {results}: `make results` makes them.")
    return pd.concat(tables, ignore_index=True)


def stored_replays(results: Path = RESULTS) -> pd.DataFrame:
    "What replays found (docs/replays.py makes them): `FINDING`, and verdict, value, low, high, p, seeds."
    if not (results / "replays.csv").is_file(): return pd.DataFrame(columns=REPLAYED)
    rows = read_table("replays", results)
    return rows.assign(number=rows["number"].astype(str).str.zfill(2))[REPLAYED].drop_duplicates(FINDING)


def worst(verdicts: Iterable[str]) -> Outcome:
    "What became of a claim with several findings: it holds where all do, and does not where one does not."
    verdicts = set(verdicts) - {"not run here"}
    if not verdicts: return "not run here"
    if "does not hold" in verdicts: return "does not hold"
    return "holds" if verdicts == {"holds"} else "cannot tell"


def sentence(row) -> str:
    "A finding: what was tested, what became of it, the number behind it, and what it could have seen."
    if pd.isna(row["value"]): # a measure that older runs lack has no verdict
        unmeasured = row["verdict"] == "cannot tell"
        return f"{row['claim']}: **{'not measured' if unmeasured else row['verdict']}**"
    if row["low"] == row["high"]: # counted
        return f"{row['claim']}: **{row['verdict']}**, {row['value']:,.6g}"
    seen = sight(row)
    if seen and row["half_width"] > 0: seen = f"known to ±{size(row['half_width'])}, {seen}"
    text = sentences.verdict(row["claim"], row["verdict"], *row[["value", "low", "high", "p"]],
                             face=face_value(row, row["tests"]), seen=seen)
    told = len(row["claim"])
    return text[:told] + text[told:].replace(row["verdict"], f"**{row['verdict']}**", 1)


class Register:
    "The claims, with the findings that belong to each."
    def __init__(self, claims: Path = REGISTER, results: Path = RESULTS,
                 note: Callable[[str, str], object] | None = None):
        self.claims, findings = read_claims(claims), stored_findings(results, note)
        self.findings = findings.merge(stored_replays(results).add_suffix("_again").rename(
            columns={f"{key}_again": key for key in FINDING}), on=FINDING, how="left")
        self._names = list(zip(self.findings["number"], self.findings["claim"], strict=True))
        self._places = {p: [fits(p, *name) for name in self._names]
                        for c in self.claims.values() for p in (*c.rows, *c.against, *c.controls)}

    def claim(self, name: str) -> Claim:
        "A claim, or the one that it repeats."
        if name not in self.claims: raise unknown("claim", name, self.claims)
        claim = self.claims[name]
        return self.claim(claim.same_as) if claim.same_as else claim

    def of(self, patterns: tuple[str, ...]) -> pd.DataFrame:
        "Findings that the patterns name, in their order."
        chosen = [self.findings[self._places[pattern]] for pattern in patterns]
        return pd.concat([self.findings[:0], *chosen]).drop_duplicates(["number", "claim", "dataset"])

    def rows(self, claim: Claim) -> pd.DataFrame:
        "Findings that test a claim; `refutes` is true of those that speak against it where they hold."
        return pd.concat([self.of(claim.rows).assign(refutes=False),
                          self.of(claim.against).assign(refutes=True)])

    def controls(self, claim: Claim) -> pd.DataFrame: return self.of(claim.controls)

    def outcomes(self, claim: Claim) -> dict[str, Outcome]:
        "Dataset -> what became of a claim on it; datasets that it was not asked of are left out."
        against = self.of(claim.against)
        refuting = against[against["verdict"] == "holds"].assign(verdict="does not hold")
        rows = pd.concat([self.of(claim.rows), refuting])
        return {dataset: worst(group["verdict"]) for dataset, group in rows.groupby("dataset")}

    @property
    def datasets(self) -> list[str]:
        "Those with findings: real ones, the one with most ahead; generated clicks, all together, the toy."
        counts, last = self.findings["dataset"].value_counts(), ("synthetic", POOLED, TOY)
        return sorted(counts.index, key=lambda name: (name in last and 1 + last.index(name), -counts[name]))

    @property
    def headlines(self) -> list[Claim]: return [c for c in self.claims.values() if c.headline]

    @cached_property
    def loose_ends(self) -> list[str]:
        "Findings that no claim has, and patterns that fit no finding, each as a sentence."
        patterns = [(c, p) for c in self.claims.values() for p in (*c.rows, *c.against, *c.controls)]
        pairs = list(dict.fromkeys(self._names))
        lost = [f"{number}: {claim!r} has no claim in docs/claims.toml: add it to the rows or controls of "
                "one."
                for number, claim in pairs if not any(fits(p, number, claim) for _, p in patterns)]
        lost += [f"claim {c.id} names {p!r}, and no finding is called so: correct it, or say why there is "
                 "none."
                 for c, p in patterns if not any(fits(p, *pair) for pair in pairs)]
        return lost + [f"claim {c.id} names the figure {c.figure!r}, and figures/ has none of it: name one."
                       for c in self.claims.values()
                       if c.figure and not any((ROOT / "figures").glob(f"{c.figure}*.svg"))]


SIGNS = {"holds": "✓", "does not hold": "✗", "cannot tell": "?", "not run here": "–"}
# dataset -> what it is called within a sentence, by the names that figures have
CALLED = {name: words[0].lower() + words[1:].split(" (")[0] for name, words in charts.DATA.items()
          if "(" in words}

def heading(claim: Claim) -> str:
    "A claim's number and name; ours say that they are ours, and the paper's have its section."
    words = (claim.headline or claim.says).rstrip(".")
    return words if claim.is_ours else f"{claim.id} {words}"

def anchor(claim: Claim) -> str: return f"claim-{claim.id.replace('.', '-')}"

def matrix(register: Register, link: Callable[[Claim], str]) -> pd.DataFrame:
    "Headline claims × datasets, a sign each; `link` turns a claim into Markdown."
    rows = [{"claim": link(c), "paper": "ours" if c.is_ours else c.place,
             **{CALLED.get(d, d): SIGNS[register.outcomes(c).get(d, "not run here")]
                for d in register.datasets}}
            for c in register.headlines]
    return pd.DataFrame(rows)

def as_markdown(table: pd.DataFrame) -> str:
    "A table of texts in Markdown."
    lines = [list(table), ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |"
                     for line in lines)

NOT_TRAINED = ("Of the grid of notebook 06, by `docs/evidence.toml`; \"more\" are seeds that the width of an "
               "interval asks for. `docs/evidence_runs.py` goes on with them. Criteo and Avazu are not "
               "among them: nothing was trained on them.")

def not_run(results: Path = RESULTS) -> pd.DataFrame:
    "What notebook 06's grid was planned to have and does not, as a table of texts (docs/evidence_runs.py)."
    columns = ["table", "models", "cells", "seeds of each", "why"]
    if not (results / "not-run.csv").is_file(): return pd.DataFrame(columns=columns)
    left = read_table("not-run", results)
    runs = [read_table(file.stem, results)[["dataset", *CELL]] for file in results.glob("runs-*.csv")]
    done = set(pd.concat(runs).itertuples(index=False, name=None)) if runs else set()
    begun = [row in done for row in left[["dataset", *CELL]].itertuples(index=False, name=None)]
    left["seeds"] = [f"{n} more" if some else str(n) for n, some in zip(left["seeds"], begun, strict=True)]
    left["cell"] = left["design"] + " " + left["scale"].astype(str) + "x"
    of_model = left.groupby(["dataset", "model", "seeds", "why"], sort=False)["cell"].agg(", ".join)
    alike = of_model.reset_index().groupby(["dataset", "cell", "seeds", "why"], sort=False)["model"]
    lines = [(CALLED.get(dataset, dataset), models, cells, seeds, why)
             for (dataset, cells, seeds, why), models in alike.agg(", ".join).items()]
    return pd.DataFrame(lines, columns=columns)

def listed(rows: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    "Findings with their dataset's name; what is the same number with all of them stands once, without one."
    same = rows.groupby(["number", "claim"])["value"].transform(lambda v: len(v) > 1 and v.nunique() == 1)
    once = rows[~same.astype(bool) | ~rows.duplicated(["number", "claim"])]
    return [("" if same[place] else CALLED.get(row["dataset"], row["dataset"]), row)
            for place, row in once.iterrows()]

def again(row) -> str:
    "What a replay of a finding found; empty where there was none."
    if pd.isna(row.get("verdict_again")): return ""
    new = f"{row['seeds_again']:.0f} new seeds" if row["seeds_again"] > 0 else "other numbers"
    return (f"{new}: **{row['verdict_again']}**, "
            + sentences.estimate(row["value_again"], row["low_again"], row["high_again"]))

def listing(rows: pd.DataFrame) -> str:
    "Findings as a list, a dataset in front of each."
    lines = []
    for dataset, row in listed(rows):
        parts = dataset, "against it, where it holds" * bool(row.get("refutes", False)), sentence(row)
        lines.append("- " + ": ".join(part for part in parts if part) + ".")
        if replayed := again(row): lines[-1] += f" Replayed with {replayed}."
    return "\n".join(lines)

def as_page(register: Register, notebooks: dict[str, str]) -> str:
    "The whole register in Markdown: `notebooks` says where a notebook's number leads."
    parts = ["# The paper, claim by claim",
             "Every statement of the paper in its order, in our words and a few of its own, and what became "
             "of it here. Flights left Houston in 2011 (the card `hflights`), hospital stays are those of "
             "`diabetes130`, lecture ratings those of `insteval`, flights from "
             "New York in 2013 those of `nycflights13`, generated clicks those of `synthetic`, and "
             "*tables together* are all of them. Findings are of full runs; each names "
             "its table, the verdict, the number behind it with its interval, and, where it cannot tell, "
             "what it could have seen. *Controls* are our own questions. Facts about cards, and algebra, "
             "are no results of runs."]
    for claim in register.claims.values():
        rows, controls = register.rows(claim), register.controls(claim)
        parts.append(f'<a id="{anchor(claim)}"></a>\n\n### {heading(claim)}')
        quoted = f' "{claim.quote}"' if claim.quote else ""
        parts.append(f"*{claim.place}.* {claim.says if claim.headline else ''}{quoted}".strip())
        if claim.same_as:
            other = register.claim(claim.id)
            parts.append(f"The same as [{other.id}](#{anchor(other)}).")
        elif claim.reason: parts.append(f"{claim.reason[0].upper()}{claim.reason[1:]}")
        if len(rows): parts.append(listing(rows))
        if claim.note: parts.append(claim.note)
        if claim.paper: parts.append(f"The paper's number: {claim.paper}.")
        if len(controls): parts.append(f"<details><summary>{len(controls)} controls</summary>\n\n"
                                       f"{listing(controls)}\n\n</details>")
        numbers = sorted({*rows["number"], *controls["number"]})
        if numbers: parts.append("Tested in " + ", ".join(f"[{n}]({notebooks[n]})" for n in numbers) + ".")
        if claim.mind: parts.append(f"*What would change our mind.* {claim.mind}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    try: ends = Register().loose_ends
    except InputError as err: sys.exit(f"register: {err}")
    for end in ends: print(end)
    sys.exit(bool(ends))
