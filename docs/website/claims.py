"A page for every claim of the paper that was tested, the list of all, and both for machines: claims.json."
import html
import json
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pandas as pd
import yaml
from pydantic import Field
from register import (
    CALLED,
    NOT_TRAINED,
    POOLED,
    RESULTS,
    SIGNS,
    TOY,
    Claim,
    Outcome,
    Register,
    again,
    as_markdown,
    heading,
    listing,
    not_run,
)
from register import listed as listed_findings

from collapse_nb.records import InputError, Record
from collapse_nb.show.sentences import estimate, face_value, number, p_value, sight, size
from collapse_nb.stats import MODELS
from website.gallery import ROOT, Gallery
from website.missing import filled, missing
from website.notebooks import docname, listed, raw, table, title

BADGE = '<span class="verdict {}">{}</span>'
SIZES = "1x, 2x, 3x, 4x, 10x"
SIX = "DNN, IPNN, NFwFM, xDeepFM, DCNv2, FinalMLP"


def name(claim: Claim) -> str: return f"claims/{claim.id.replace('.', '-')}"

def badge(verdict: str) -> str: return BADGE.format(verdict.replace(" ", "-"), verdict)

def called(dataset: str) -> str: return CALLED.get(dataset, dataset)


def notebook(number: str) -> Path:
    "The notebook that has a number."
    return next(f for f in listed() if f.name.startswith(f"{number}_"))

@cache
def read_commands(file: Path) -> dict[str, dict]:
    frame = filled(file.stem, file.parent)
    return {row.run: yaml.safe_load(row.parameters) for row in frame.itertuples()}

def commands() -> dict[str, dict]:
    "`01_… hflights` -> the parameters of the last command that was run for it."
    file = RESULTS / "commands.csv"
    return missing.made(file, lambda: read_commands(file)) or {}

@cache
def about(dataset: str) -> str:
    "What a dataset is, by its card."
    card = ROOT / "data" / f"{dataset}.toml"
    if dataset == POOLED: return "all tables of data that were run"
    if not card.is_file(): return "three fields and random labels"
    return tomllib.loads(card.read_text(encoding="utf-8"))["title"]

@cache
def commit(stem: str) -> str:
    "The commit that last changed a table of results; empty outside a clone."
    words = ["git", "log", "-1", "--format=%h of %cs", "--", f"data/results/{stem}.csv"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout.strip()

def chosen(values: dict, name: str) -> str:
    "A list among a command's parameters, in words; empty where it has none."
    return ", ".join(f"{v}x" if isinstance(v, int) else str(v) for v in values.get(name, ()))

def machine(dataset: str) -> str:
    "Device, threads and hours of the runs of a dataset, where they are stored."
    file = RESULTS / f"runs-{dataset}.csv"
    if dataset == POOLED: return "those of each table"
    if not file.is_file(): return "one CPU thread"
    return missing.made(file, lambda: read_machine(file)) or "not known"

@cache
def read_machine(file: Path) -> str:
    runs = filled(file.stem, file.parent)
    hours = runs.drop_duplicates("group").fit_s.sum() / 3600
    devices = ", ".join(sorted(set(runs["device"])))
    return (f"{devices}, one thread, torch {', '.join(sorted(set(runs['torch'])))}; the runs of notebook 06 "
            f"trained for {number(hours, 1, plus=False)} hours")

def studied(number: str, dataset: str) -> tuple[str, str]:
    "Models and sizes of a notebook's runs; those of 06 are in its rows, whoever trained them."
    values = commands().get(f"{notebook(number).stem} {dataset}".removesuffix(f" {TOY}"), {})
    file = RESULTS / f"runs-{dataset}.csv"
    if number != "06" or not file.is_file(): return chosen(values, "models"), chosen(values, "scales")
    runs = missing.made(file, lambda: filled(file.stem, file.parent))
    if runs is None: return "", ""
    sizes = {m: ", ".join(f"{s}x" for s in sorted(set(rows["scale"]))) for m, rows in runs.groupby("model")}
    models = [m for m in MODELS if m in sizes]
    alike = {of: [m for m in models if sizes[m] == of] for of in (sizes[m] for m in models)}
    told = [f"{of} ({', '.join(those)})" if len(alike) > 1 else of for of, those in alike.items()]
    return ", ".join(models), "; ".join(told)

def scope(claim: Claim, rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    "What was run here, and by the paper where it says so: a line each."
    lines, in_table1 = [], claim.place.startswith("§5.2")
    def told(words: str) -> str: return words if in_table1 else "not given"
    for dataset, part in rows.groupby("dataset", sort=False):
        label = called(dataset)
        lines.append((f"data: {label}", about(dataset), told("Criteo and Avazu") if dataset != TOY else
                      "the same toy"))
        for n in sorted(set(part["number"])):
            models, sizes = studied(n, dataset)
            if models: lines.append((f"models: {label}, {n}", models, told(SIX)))
            if sizes: lines.append((f"sizes: {label}, {n}", sizes, told(SIZES)))
        seeds = sorted({int(s) for s in part["seeds"].dropna()})
        if seeds: lines.append((f"seeds: {label}", ", ".join(map(str, seeds)), told("3")))
        if dataset != TOY: lines.append((f"machine: {label}", machine(dataset), told("one GeForce RTX 3090")))
    return lines

def numbers(rows: pd.DataFrame) -> str:
    "Findings as a table, the verdict first."
    lines, replayed = [], bool(rows["verdict_again"].notna().any())
    for dataset, row in listed_findings(rows):
        counted = row["low"] == row["high"] or pd.isna(row["low"])
        shown = ("–" if pd.isna(row["value"]) else f"{row['value']:,.6g}" if counted
                 else estimate(row["value"], row["low"], row["high"]))
        known = f"known to ±{size(row['half_width'])}" if row["half_width"] > 0 else ""
        about = "; ".join(part for part in (face_value(row, row["tests"]), known, sight(row)) if part)
        printed = "–" if pd.isna(row["paper"]) else html.escape(str(row["paper"])) or "–"
        lines.append([badge(row["verdict"]), html.escape(dataset) or "–", html.escape(row["claim"]), shown,
                      p_value(row["p"]), about or "–", printed])
        if replayed: lines[-1].append(again(row).replace("**", "") or "–")
    head = ["verdict", "table", "what was tested", "number (95 % interval)", "p", "what it could have seen",
            "paper", *["replayed"] * replayed]
    def line(cells: list[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"
    body = "".join(line(cells, "td") for cells in lines)
    return table(f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>", "Findings")

def behind(rows: pd.DataFrame) -> str:
    "Where a number comes from: notebook, rows, command, commit."
    lines = []
    for (n, dataset, stem), _ in rows.groupby(["number", "dataset", "stem"], sort=False):
        file = notebook(n)
        made = f"`make results P=\"--only {n}" + (f" --dataset {dataset}" if dataset != TOY else "") + "\"`"
        evidence = f"`docs/evidence_runs.py --only {dataset}`"
        if dataset == POOLED: made = "what made the rows of each table"
        elif n == "06" and f"{file.stem} {dataset}" not in commands(): made = evidence
        elif n == "06" and f"evidence {dataset}" in commands(): made += f", and further models by {evidence}"
        changed = f", last changed by commit {commit(stem)}" if commit(stem) else ""
        lines.append(f"- {called(dataset)}: [{n} {title(file)}](/{docname(file)}.md); rows "
                     f"{{download}}`{stem}.csv </_static/rows/{stem}.csv>`{changed}; made by {made}, judged "
                     "again by `make verdicts`.")
    return "\n".join(lines)

def page(register: Register, claim: Claim, gallery: Gallery) -> str:
    "A claim: what became of it, how much of the paper's scope that is, and where it comes from."
    rows, controls = register.rows(claim), register.controls(claim)
    if not len(rows) + len(controls):
        raise InputError(f"no findings-*.csv of data/results has one of claim {claim.id}: `make results` "
                         "makes them.")
    outcomes = register.outcomes(claim)
    first = " ".join(f"{badge(verdict)} on {html.escape(called(d))}." for d, verdict in outcomes.items())
    said = listing(rows)
    quoted = f" The paper, {claim.place}: \"{claim.quote}\"." if claim.quote else ""
    parts = [f"# {heading(claim)}", raw(f'<p class="outcome">{first or "Controls alone."}</p>'),
             f"{claim.says}{quoted}", said]
    if claim.reason: parts.append(claim.reason[0].upper() + claim.reason[1:])
    if claim.note: parts.append(claim.note)
    if claim.paper: parts.append(f"The paper's number: {claim.paper}.")
    if claim.mind: parts.append(f"**What would change our mind.** {claim.mind}")
    if claim.figure:
        names = [f"{claim.figure}-{d}".removesuffix(f"-{TOY}") for d in outcomes]
        parts += [raw(chart) for n in names if (chart := gallery.stored(n, 1))]
    if len(rows): parts += ["## Numbers", numbers(rows)]
    if not claim.fact and (lines := scope(claim, rows if len(rows) else controls)):
        parts += ["## At a glance", "| | here | the paper |\n|---|---|---|\n" +
                  "\n".join(f"| {a} | {b} | {c} |" for a, b, c in lines)]
    parts += ["## Behind it", behind(rows if len(rows) else controls)]
    if len(controls):
        summary = f"<summary>{len(controls)} findings of ours that qualify it</summary>"
        parts += ["## Controls", raw(f"<details>{summary}"), numbers(controls), raw("</details>")]
    return "\n\n".join(part for part in parts if part) + "\n"

def index_page(register: Register) -> str:
    "Every claim in the paper's order; those that were tested lead to their page."
    datasets = register.datasets
    lines = [f"| | claim | paper | {' | '.join(called(d) for d in datasets)} |",
             "|---" * (len(datasets) + 3) + "|"]
    for claim in register.claims.values():
        target = register.claim(claim.id)
        words = claim.headline or claim.says
        outcomes = register.outcomes(target)
        link = f"[{words}](/{name(target)}.md)" if has_page(target) else words
        note = "" if outcomes or not target.reason else f" *{target.reason}*"
        same = f" (as {target.id})" if claim.same_as else ""
        signs = " | ".join(SIGNS[outcomes[d]] if d in outcomes else "" for d in datasets)
        lines.append(f"| {claim.id} | {link}{same}{note} | {claim.place} | {signs} |")
    toc = "\n".join(name(c).removeprefix("claims/") for c in register.claims.values()
                    if has_page(c))
    return ("# The paper, claim by claim\n\nEvery statement of the paper, in its order. ✓ holds, ✗ does not "
            "hold, ? cannot tell, – not run; nothing where it was not asked. Facts about cards, and algebra, "
            "are no results of runs. The same for machines: "
            "{download}`claims.json </_static/claims.json>`, described by "
            "{download}`claims.schema.json </_static/claims.schema.json>`.\n\n"
            ":::{container} headlines all\n" + "\n".join(lines) +
            f"\n:::\n\n## What was not run\n\n{NOT_TRAINED}\n\n{as_markdown(not_run())}\n\n"
            f"```{{toctree}}\n:hidden:\n\n{toc}\n```\n")

def has_page(claim: Claim) -> bool:
    "Whether a claim names findings; its page says so where none of them is stored."
    return not claim.same_as and bool(claim.rows or claim.against or claim.controls)


class Finding(Record):
    "One finding of one full run."
    notebook: str = Field(description="number of the notebook that measured it")
    dataset: str = Field(description="name of the dataset's card, or toy")
    claim: str = Field(description="what was tested, in words")
    verdict: Outcome
    alone: str | None = Field(description="the verdict before Holm's correction among the notebook's tests")
    value: float | None = Field(description="what was measured; its unit is in the claim's words")
    low: float | None = Field(description="lower end of the 95 % interval")
    high: float | None = Field(description="upper end")
    p: float | None = Field(description="corrected by Holm's rule, but for the notebook's primary claim")
    seeds: float | None = Field(description="runs per cell")
    detectable: float | None = Field(description="the effect that would have been found with probability .8")
    seeds_needed: float | None = Field(description="seeds that the effect in question takes, where it "
                                       "cannot tell")
    paper: str | None = Field(description="the paper's number, as printed")

class Entry(Record):
    "A statement of the paper."
    id: str = Field(description="section and number")
    place: str = Field(description="where the paper says it")
    says: str = Field(description="the statement, in our words")
    quote: str = Field(description="a few words of the paper's own")
    headline: str = Field(description="at most six words; empty for most")
    same_as: str = Field(description="the claim that it repeats; empty for most")
    reason: str = Field(description="why it has no findings; empty where it has")
    is_fact: bool = Field(description="a check of a dataset card, or algebra: no result of a run")
    outcomes: dict[str, Outcome] = Field(description="dataset -> it holds where all findings do, and does "
                                         "not where one does not")
    findings: tuple[Finding, ...]
    controls: tuple[Finding, ...] = Field(description="findings of ours that qualify it")

class Claims(Record):
    "The register of claims of the paper, arXiv:2310.04400, and what became of each."
    claims: tuple[Entry, ...]


def exported(rows: pd.DataFrame) -> tuple[Finding, ...]:
    "Findings as records."
    renamed = rows.rename(columns={"number": "notebook"})
    fields = list(Finding.model_fields)
    plain = renamed[fields].astype(object).where(renamed[fields].notna(), None)
    plain = plain.replace({"seeds_needed": {float("inf"): None}}) # JSON has no infinity
    return tuple(Finding(**row) for row in plain.to_dict("records"))

def as_json(register: Register) -> Claims:
    "The register as one document."
    return Claims(claims=tuple(
        Entry(id=c.id, place=c.place, says=c.says, quote=c.quote, headline=c.headline, same_as=c.same_as,
              reason="" if c.same_as else c.reason, is_fact=c.fact, outcomes=register.outcomes(c),
              findings=exported(register.rows(c)), controls=exported(register.controls(c)))
        for c in register.claims.values()))

def write(out: Path, gallery: Gallery, register: Register) -> None:
    "Writes the pages, and claims.json with its schema."
    (out / "claims").mkdir(exist_ok=True)
    for claim in register.claims.values():
        if has_page(claim):
            text = missing.page(name(claim), lambda c=claim: page(register, c, gallery), heading(claim))
            (out / f"{name(claim)}.md").write_text(text, encoding="utf-8")
    whole = missing.page("claims/index", lambda: index_page(register), "The paper, claim by claim")
    (out / "claims" / "index.md").write_text(whole, encoding="utf-8")
    static = out / "_static"
    listed_all = missing.made("claims.json", lambda: as_json(register)) or Claims(claims=())
    (static / "claims.json").write_text(listed_all.model_dump_json(indent=1) + "\n", encoding="utf-8")
    schema = json.dumps(Claims.model_json_schema(), indent=1)
    (static / "claims.schema.json").write_text(schema + "\n", encoding="utf-8")
