"Pages of results: the headlines, each dataset's findings, tables and figures, and the cards."
import re
import shutil
import tomllib
from pathlib import Path

import pandas as pd
from readme import ITEMS
from register import CALLED, NEEDED, POOLED, SIGNS, TOY, Claim, Register, as_markdown, matrix, sentence

from collapse_nb import stats
from collapse_nb.results import published
from collapse_nb.show import tables
from website import claims
from website.gallery import FIGURES, ROOT, Gallery
from website.missing import filled, missing
from website.notebooks import docname, fenced, listed, raw, table, title

ROWS = ROOT / "data" / "results"
# what a results page begins with
LEAD = ("5.2.5", "1.2", "3.6", "1.5", "4.1.9", "ours.1")
# where figures are at home, by the longest beginning of their name
HOMES = {stem: number for number, stem in ITEMS.values() if stem}
HOMES |= {"fig3-general": "19", "difference": "06", "cost": "06", "regimes": "12", "ladder": "15",
          "prediction": "16", "rivals": "17", "cuts": "18", "truths": "20", "forest": "06",
          "spectrum": "01",
          "fig7-architecture": "05", "fig-hidden": "05", "encoding": "09", "grid-plan": "06"}
TOY_PAGE = ("The toy of notebook 02, three small tables and random labels, a drawing, "
            "and how fast raw text is encoded")
# columns of a table of runs that a comparison takes
RUN = {**dict.fromkeys(("dataset", "model", "design", "variant", "status"), str), "scale": int, "seed": int,
       "test_auc": float}
RULES = ("✓ holds, ✗ does not hold, ? cannot tell; the rules are those of [Intervals and "
         "verdicts](/library/stats.md). *Known to ±x*: half the width of the interval. *5 seeds would have "
         "seen x*: the smallest effect that these runs would have found with probability .8; *x needs n*: "
         "the seeds that it takes to see x. *Not among n tests*: the interval decides, and after Holm's "
         "correction for all the notebook's tests it does not.")
ORDER = ("06", "15", "17", "18", "20", "16", "12", "00", "01", "02", "03", "19", "04", "05", "09")


def numbered(number: str) -> Path | None:
    return next((f for f in listed() if f.name.startswith(f"{number}_")), None)

def stem(number: str, dataset: str) -> str:
    "The name of a notebook's table of findings; the toy's has no dataset."
    return f"findings-{number}-{dataset}" if dataset else f"findings-{number}"

def was_run(number: str, dataset: str) -> bool:
    "Whether a full run of a notebook on a dataset is noted, so that its tables should be there."
    runs = {(run[:2], run.partition(" ")[2]) for run in claims.commands()} | {("02", "")}
    return (number, dataset) in runs

def findings(number: str, dataset: str) -> pd.DataFrame | None:
    file = ROWS / f"{stem(number, dataset)}.csv"
    return missing.rows(file, NEEDED, optional=not was_run(number, dataset))

def datasets() -> list[str]:
    """Every dataset that has findings, or should; the empty name is the toy's, which has none. Real data come
    first."""
    names = {re.sub(r"^findings-\d\d-?", "", f.stem) for f in ROWS.glob("findings-[0-9][0-9]*.csv")}
    names |= {"", *(run.partition(" ")[2] for run in claims.commands())}
    return sorted(names, key=lambda name: (not name, name == "synthetic", name))

def called(dataset: str) -> str: return dataset or TOY


def scrolling(frame: pd.DataFrame, name: str, index: bool = False) -> str:
    "A frame as a table that scrolls."
    return table(frame.to_html(border=0, index=index, escape=True, na_rep="–"), name)

def rows(*stems: str) -> str:
    "Links to the rows behind what is shown; it says which of them are not there."
    files = [ROWS / f"{name}.csv" for name in stems]
    lost = [missing.note(f.name, f"{f.name} is not among the stored results: `make results` writes it.")
            for f in files if not f.is_file()]
    links = [f'<a href="../_static/rows/{name}.csv" download>{name}.csv</a>' for name in stems
             if (ROWS / f"{name}.csv").is_file()]
    shown = [raw(f'<p class="kin">Rows: {", ".join(links)}</p>')] if links else []
    return "\n\n".join([*shown, *lost])

def readable(frame: pd.DataFrame) -> pd.DataFrame:
    "A frame with a MultiIndex as plain columns."
    return frame.reset_index() if any(frame.index.names) else frame


def home(name: str) -> str:
    "The notebook that a figure belongs to."
    return HOMES[max((h for h in HOMES if name.startswith(h)), key=len)]

def figures(number: str, dataset: str) -> list[str]:
    "Names of the figures of a notebook on a dataset."
    names = [f.stem for f in sorted(FIGURES.glob("*.json")) if home(f.stem) == number]
    ending = {n: next((d for d in datasets() if d and n.endswith(f"-{d}")), "") for n in names}
    return sorted((n for n in names if ending[n] == dataset), key=lambda n: n.removesuffix(f"-{dataset}"))

def scaling(dataset: str) -> list[str]:
    "Table 1 and the differences, as notebook 06 shows them."
    file, drawn = ROWS / f"runs-{dataset}.csv", f"resampled-{dataset}"
    if not was_run("06", dataset) and not file.is_file(): return []
    def made() -> list[tables.Shown]:
        runs = filled(file.stem, ROWS)
        resampled = filled(drawn, ROWS) if (ROWS / f"{drawn}.csv").is_file() else None
        return [tables.table1(stats.cells(runs)), tables.contrast_table(stats.contrasts(runs), resampled)]
    parts = missing.made(file, made)
    if parts is None: return ["### Table 1 and ME − SE", missing.notice(file)]
    first, second = (f"{scrolling(readable(part.frame), name)}\n\n*{part.caption}*"
                     for part, name in zip(parts, ("Table 1", "ME − SE"), strict=True))
    links = rows(f"runs-{dataset}", f"table1-{dataset}", f"differences-{dataset}")
    return ["### Table 1", first, "### ME − SE", second, links]

def claims_table(found: pd.DataFrame) -> tables.Shown:
    "The findings of a notebook; what was counted has no interval to show."
    if found["value"].notna().all() and (found["low"] == found["high"]).all():
        plain = found[["verdict", "claim", "where", "value"]].rename(columns={"value": "ours"})
        return tables.Shown(plain.assign(ours=plain["ours"].map("{:,.10g}".format)),
                            "Counted, so without intervals.")
    return tables.findings_table(found)

def folded(summary: str, *parts: str) -> list[str]:
    "Parts that are shown on demand."
    return [raw(f"<details><summary>{summary}</summary>"), *parts, raw("</details>")]

def section(number: str, dataset: str, gallery: Gallery) -> list[str]:
    "What one notebook found on one dataset: the paper's claims, ours folded, and the figures."
    notebook, found, names = numbered(number), findings(number, dataset), figures(number, dataset)
    if number == "00" and found is not None: # facts about the cards of Criteo and Avazu are no results
        found = found[[claim.split(":")[0] == dataset for claim in found["claim"]]]
    lost = missing.notice(ROWS / f"{stem(number, dataset)}.csv") if found is None else ""
    if notebook is None or not (found is not None or names or lost): return []
    parts = [f"## {number} {title(notebook)}", f"From [the notebook](/{docname(notebook)}.md).", lost]
    if found is not None and len(found):
        listing = claims_table(found)
        ours = found["where"].str.startswith("control").to_numpy()
        if not ours.all():
            parts.append(scrolling(listing.frame[~ours], f"Claims of notebook {number}", index=True))
        if ours.any():
            parts += folded(f"{ours.sum()} control{'s' if ours.sum() > 1 else ''} of ours",
                            scrolling(listing.frame[ours], f"Controls of notebook {number}", index=True))
        parts += [f"*{listing.caption}*", rows(stem(number, dataset))]
    if number == "06": parts += scaling(dataset)
    for name in names:
        head = name.removesuffix(f"-{dataset}").replace("fig", "Fig. ", 1)
        parts += [f"(result-{name})=\n### {head}", raw(gallery.stored(name, 1))]
    return parts

# the day from which on runs were scored with recomputed batch norm
RECOMPUTED = "2026-11-29"

def scored(dataset: str) -> str:
    "By which batch norm the runs of a dataset were scored: commands.csv says when they were made."
    ran = missing.rows(ROWS / "commands.csv", ["run", "finished"], optional=True)
    if ran is None: return ""
    own = ran[ran["run"].str.endswith(f" {dataset}") & ~ran["run"].str.startswith("00")]
    lagging = sorted(own["run"][own["finished"] < RECOMPUTED].str[:2])
    told = "Before every scoring the models' batch norm was recomputed on training rows."
    if not lagging: return f" {told}" * bool(len(own))
    others = f" {told}" if len(lagging) < len(own) else ""
    return (f"{others} The runs of {' and '.join(filter(None, [', '.join(lagging[:-1]), lagging[-1]]))} are "
            "from before that, and were scored with torch's running averages, which lag behind the weights: "
            "[06](/paper/06_scaling.md) shows what that does.")

def headline(claim: Claim) -> str: return f"[{claim.headline}](/{claims.name(claim)}.md)"

def lead(register: Register, dataset: str) -> str:
    "The headlines of a dataset, with the sentence of each finding."
    lines = []
    for name in LEAD:
        claim = register.claims[name]
        own = register.rows(claim).query("dataset == @dataset")
        if len(own):
            sign = SIGNS[register.outcomes(claim)[dataset]]
            told = "; ".join(sentence(row) for _, row in own.iterrows())
            lines.append(f"- {sign} {headline(claim)}. {told}.")
    return "\n".join(lines)

def dataset_page(dataset: str, gallery: Gallery, register: Register) -> str:
    "Everything that was found on a dataset, its headlines first."
    card = ROOT / "data" / f"{dataset}.toml"
    about = (tomllib.loads(card.read_text(encoding="utf-8"))["title"] if card.is_file() else
             "What the tables of data say together" if dataset == POOLED else TOY_PAGE)
    name = f"# Results on {CALLED.get(dataset, dataset)}" if dataset else "# Results of the toy"
    return "\n\n".join(part for part in [
        name, f"{about}.{scored(dataset)}", lead(register, called(dataset)),
        RULES,
        *(part for number in ORDER for part in section(number, dataset, gallery))] if part) + "\n"


def published_page() -> str:
    "The paper's own cells, ours beside them where somebody ran them."
    parts = ["# The published cells",
             "Tables 3 and 4 of the paper's appendix (its Table 1 with more digits): "
             "test AUC of six models on Criteo and Avazu. Ours stands beside each one where it was run."]
    for dataset, number in (("criteo", 3), ("avazu", 4)):
        file = ROWS / f"runs-{dataset}.csv"
        runs = filled(file.stem, ROWS) if file.is_file() else pd.DataFrame(columns=RUN).astype(RUN)
        beside = tables.published_table(stats.against_published(runs, published(dataset)))
        parts += [f"## {dataset.capitalize()} (Table {number})",
                  scrolling(readable(beside.frame), f"Table {number}"),
                  f"*{beside.caption}*"]
    return "\n\n".join(parts) + "\n"


def counted(register: Register) -> pd.DataFrame:
    "How many claims have which outcome, by dataset; cards are no results, and controls are no claims."
    lines = []
    for dataset in register.datasets:
        outcomes = [register.outcomes(c).get(dataset) for c in register.claims.values()
                    if not (c.fact or c.same_as or c.is_ours)]
        lines.append({"dataset": CALLED.get(dataset, dataset), **{v: outcomes.count(v) for v in SIGNS}})
    return pd.DataFrame(lines)

def index_page(register: Register) -> str:
    "Headlines, the matrix of claims, and how many have which outcome."
    links = "\n".join(f"- [{CALLED.get(called(d), called(d))}](/results/{called(d)}.md)" for d in datasets())
    toc = "\n".join([*(called(d) for d in datasets()), "published"])
    first = register.datasets[0]
    return "\n\n".join([
        "# Results", f"On {CALLED.get(first, first)}:", lead(register, first),
        RULES, "## By table", "✓ holds, ✗ does not hold, ? cannot tell, – not run.",
        f":::{{container}} headlines\n{as_markdown(matrix(register, headline))}\n:::",
        "[All claims](/claims/index.md) of the paper are listed in its order. To compare models and sizes "
        "yourself, open the [explorer](/explorer.md).",
        "## Claims, counted", "The paper's claims that were tested; facts about dataset cards are no "
        "results, and controls of ours stand on the pages of claims.",
        scrolling(counted(register), "Claims, counted"), "## Pages", links,
        "```{toctree}\n:hidden:\n\n" + toc + "\n```"]) + "\n"


def card_section(file: Path) -> str:
    "A dataset card: what it says, and what the paper published of it."
    text = file.read_text(encoding="utf-8")
    card = tomllib.loads(text)
    # names, as a list or a table has them
    fields = [f if isinstance(f, str) else next(iter(f)) for f in card.get("fields", [])]
    source = re.sub(r"(https?://\S+)", r"<\1>", card["source"])
    facts = {"source": source, "licence": card["licence"], "label": f"`{card['label']}`"
             if "label" in card else "generated",
             "fields": f"{len(fields)}: {', '.join(f'`{f}`' for f in fields)}" if fields else "generated"}
    facts |= {name: f"`{card[name]}`" for name in ("where", "min_count", "vocabulary", "split")
              if name in card}
    if sizes := card.get("published", {}).get("cardinalities"):
        ids = f"{sum(sizes):,} ids in {len(sizes)} fields, from {min(sizes)} to {max(sizes):,}"
        facts["published"] = f"{card['published']['rows']:,} rows, {ids}"
    listing = "\n".join(f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in facts.items())
    return (f"## {file.stem}\n\n{card['title']}\n\n| | |\n|---|---|\n{listing}\n\n"
            f"{raw(f'<details><summary>{file.name}</summary>')}\n\n{fenced(text.strip(), 'toml')}\n\n"
            f"{raw('</details>')}")

def cards_page(register: Register) -> str:
    "The dataset cards, and how they were checked against what the paper says of them."
    head = ("# Dataset cards\n\nA card says where a table comes from, which column is the click, and which "
            "columns are fields. These come "
            "with the library: `load_card(\"criteo\")`. A card of your own is a few lines "
            "([how](/guide.md#your-own-table)).")
    checks = register.of(tuple(p for c in register.claims.values() if c.fact for p in (*c.rows, *c.controls)))
    checks = checks[checks["claim"].str.match("(criteo|avazu)")].drop_duplicates("claim")
    checked = checks.assign(card=checks["claim"].str.extract("^([a-z]+)", expand=False))
    frame = checked[["verdict", "card", "claim", "value", "paper"]].rename(columns={"value": "counted"})
    return "\n\n".join([head, *(card_section(f) for f in sorted((ROOT / "data").glob("*.toml"))),
                        "## Checks of cards", "What notebook [00](/paper/00_preliminaries.md) counts in the "
                        "cards of Criteo and Avazu beside what the paper says. These are facts about cards, "
                        "no results of runs.", scrolling(frame, "Checks of cards")]) + "\n"


def write(out: Path, gallery: Gallery, register: Register) -> None:
    "Writes every page of results, and the rows themselves."
    made = {f"results/{called(d)}": (lambda d=d: dataset_page(d, gallery, register)) for d in datasets()}
    made |= {"results/index": lambda: index_page(register), "results/published": published_page,
             "cards": lambda: cards_page(register)}
    for name, make in made.items():
        text = missing.page(name, make)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.md").write_text(text, encoding="utf-8")
    shutil.copytree(ROWS, out / "_static" / "rows")
