"Pages of results: what became of every claim, each dataset's findings, tables and figures, and the cards."
import re
import shutil
import tomllib
from pathlib import Path

import pandas as pd
from readme import ITEMS

from collapse_nb import stats
from collapse_nb.results import published
from collapse_nb.show import tables
from website.gallery import FIGURES, ROOT, Gallery
from website.notebooks import docname, fenced, listed, raw, table, title

ROWS = ROOT / "data" / "results"
VERDICTS = ("holds", "does not hold", "cannot tell", "not run here")
# where figures are at home, by the longest beginning of their name
HOMES = {stem: number for number, stem in ITEMS.values() if stem}
HOMES |= {"difference": "06", "regimes": "12",
          "fig7-architecture": "05", "fig-hidden": "05", "encoding": "09"}
TOY = ("The toy of notebook 02, three small tables and random labels, a drawing, "
       "and how fast raw text is encoded")
ORDER = ("06", "12", "00", "01", "02", "03", "04", "05", "09")


def numbered(number: str) -> Path | None:
    return next((f for f in listed() if f.name.startswith(f"{number}_")), None)

def stem(number: str, dataset: str) -> str:
    "The name of a notebook's table of findings; the toy's has no dataset."
    return f"findings-{number}-{dataset}" if dataset else f"findings-{number}"

def findings(number: str, dataset: str) -> pd.DataFrame | None:
    file = ROWS / f"{stem(number, dataset)}.csv"
    return pd.read_csv(file) if file.is_file() else None

def datasets() -> list[str]:
    "Every dataset that has findings; the empty name is the toy's, which has none. Real data come first."
    names = {re.sub(r"^findings-\d\d-?", "", f.stem) for f in ROWS.glob("findings-[0-9][0-9]*.csv")}
    return sorted(names, key=lambda name: (not name, name == "synthetic", name))

def called(dataset: str) -> str: return dataset or "toy"


def scrolling(frame: pd.DataFrame, name: str, index: bool = False) -> str:
    "A frame as a table that scrolls; verdicts are marked by more than a colour."
    markup = frame.to_html(border=0, index=index, escape=True, na_rep="–")
    def mark(cell: re.Match) -> str:
        return f'<td><span class="verdict {cell[1].replace(" ", "-")}">{cell[1]}</span></td>'
    return table(re.sub(rf"<td>({'|'.join(VERDICTS)})</td>", mark, markup), name)

def rows(*stems: str) -> str:
    "Links to the rows behind what is shown."
    links = [f'<a href="../_static/rows/{name}.csv" download>{name}.csv</a>' for name in stems
             if (ROWS / f"{name}.csv").is_file()]
    return raw(f'<p class="kin">Rows: {", ".join(links)}</p>') if links else ""

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
    if not (ROWS / f"runs-{dataset}.csv").is_file(): return []
    runs, drawn = pd.read_csv(ROWS / f"runs-{dataset}.csv"), ROWS / f"resampled-{dataset}.csv"
    parts = [tables.table1(stats.cells(runs)),
             tables.contrast_table(stats.contrasts(runs), pd.read_csv(drawn) if drawn.is_file() else None)]
    first, second = (f"{scrolling(readable(part.frame), name)}\n\n*{part.caption}*"
                     for part, name in zip(parts, ("Table 1", "ME − SE"), strict=True))
    links = rows(f"runs-{dataset}", f"table1-{dataset}", f"differences-{dataset}")
    return ["### Table 1", first, "### ME − SE", second, links]

def claims_table(claims: pd.DataFrame) -> tables.Shown:
    "The findings of a notebook; what was counted has no interval to show."
    if claims["value"].notna().all() and (claims["low"] == claims["high"]).all():
        plain = claims[["claim", "where", "value", "paper", "verdict"]].rename(columns={"value": "ours"})
        return tables.Shown(plain.assign(ours=plain["ours"].map("{:,.10g}".format)),
                            "Counted, so without intervals.")
    return tables.findings_table(claims)

def section(number: str, dataset: str, gallery: Gallery) -> list[str]:
    "What one notebook found on one dataset."
    notebook, claims, names = numbered(number), findings(number, dataset), figures(number, dataset)
    if notebook is None or (claims is None and not names): return []
    parts = [f"## {number} {title(notebook)}", f"From [the notebook](/{docname(notebook)}.md)."]
    if claims is not None:
        listing = claims_table(claims)
        parts += ["### Claims", scrolling(listing.frame, f"Claims of notebook {number}"),
                  f"*{listing.caption}*",
                  rows(stem(number, dataset))]
    if number == "06": parts += scaling(dataset)
    if number == "00" and (file := ROWS / f"table2-{dataset}.csv").is_file():
        parts += ["### Table 2", scrolling(pd.read_csv(file), "Table 2"), rows(file.stem)]
    if names: parts.append("### Figures")
    for name in names:
        head = name.removesuffix(f"-{dataset}").replace("fig", "Fig. ", 1)
        parts += [f"(result-{name})=\n#### {head}", raw(gallery.stored(name, 1))]
    return parts

SCORED = {"recomputed": "Before every scoring the models' batch norm was recomputed on training rows.",
          "running": "These runs were scored with torch's running averages for batch norm, which lag behind "
                     "the weights: [06](/paper/06_scaling.md) shows what that does."}

def scored(dataset: str) -> str:
    "By which batch norm the runs of a dataset were scored; rows that say nothing are from before the choice."
    file = ROWS / f"runs-{dataset}.csv"
    if not file.is_file(): return ""
    return " " + SCORED[pd.read_csv(file).get("batch_norm", pd.Series(["running"])).iloc[0]]

def dataset_page(dataset: str, gallery: Gallery) -> str:
    "Everything that was found on a dataset."
    card = ROOT / "data" / f"{dataset}.toml"
    about = tomllib.loads(card.read_text(encoding="utf-8"))["title"] if card.is_file() else TOY
    name = f"# Results on {dataset}" if dataset else "# Results without a dataset"
    head = (f"{about}. Verdicts: *holds* when the 95 % interval excludes zero or a stated limit in the "
            "claimed direction, *does not hold* when it lies on the other side, or short of what the claim "
            "says would matter, *cannot tell* otherwise." + scored(dataset))
    return "\n\n".join([name, head,
                        *(part for number in ORDER for part in section(number, dataset, gallery))]) + "\n"


def published_page() -> str:
    "The paper's own cells, ours beside them where somebody ran them."
    parts = ["# The published cells",
             "Tables 3 and 4 of the paper's appendix (its Table 1 with more digits): "
             "test AUC of six models on Criteo and Avazu. Ours stands beside each one where it was run."]
    for dataset, number in (("criteo", 3), ("avazu", 4)):
        file = ROWS / f"runs-{dataset}.csv"
        runs = pd.read_csv(file if file.is_file() else next(ROWS.glob("runs-*.csv")),
                           nrows=None if file.is_file() else 0)
        beside = tables.published_table(stats.against_published(runs, published(dataset)))
        parts += [f"## {dataset.capitalize()} (Table {number})",
                  scrolling(readable(beside.frame), f"Table {number}"),
                  f"*{beside.caption}*"]
    return "\n\n".join(parts) + "\n"


def index_page() -> str:
    "Every claim with its verdict on each dataset."
    verdicts: dict[tuple[str, str, str], dict[str, str]] = {} # number, claim, where -> dataset -> verdict
    for dataset in datasets():
        for number in ORDER:
            claims = findings(number, dataset)
            for row in claims.itertuples() if claims is not None else ():
                verdicts.setdefault((number, row.claim, row.where), {})[called(dataset)] = row.verdict
    names = [called(d) for d in datasets()]
    out = ["# Results",
           f"{len(verdicts)} claims, the paper's and ours (*control*), tested on the runs of `data/results`: "
           "the verdict on each dataset. A dash means that the claim was not asked of that dataset; sizes "
           "and datasets that no row names were not run.",
           scrolling(counts(verdicts, names), "Verdicts, counted"),
           "To compare models and sizes yourself, open the [explorer](/explorer.md)."]
    for number in ORDER:
        own = {key: by_dataset for key, by_dataset in verdicts.items() if key[0] == number}
        used = [name for name in names if any(name in by_dataset for by_dataset in own.values())]
        frame = pd.DataFrame([{"claim": claim, "where": where,
                               **{name: by_dataset.get(name, "–") for name in used}}
                              for (_, claim, where), by_dataset in own.items()])
        if own:
            out += [f"## {number} {title(numbered(number))}",
                    scrolling(frame, f"Claims of notebook {number}")]
    toc = "\n".join([*(called(d) for d in datasets()), "published"])
    return "\n\n".join([*out, "```{toctree}\n:hidden:\n\n" + toc + "\n```"]) + "\n"

def counts(verdicts: dict, names: list[str]) -> pd.DataFrame:
    "How often each verdict was given."
    def count(name: str, verdict: str) -> int: return sum(v.get(name) == verdict for v in verdicts.values())
    return pd.DataFrame([{"dataset": name, **{verdict: count(name, verdict) for verdict in VERDICTS}}
                         for name in names])


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

def cards_page() -> str:
    "The dataset cards."
    head = ("# Dataset cards\n\nA card says where a table comes from, which column is the click, and which "
            "columns are fields. These come "
            "with the library: `load_card(\"criteo\")`. A card of your own is a few lines "
            "([how](/guide.md#your-own-table)).")
    return "\n\n".join([head, *(card_section(f) for f in sorted((ROOT / "data").glob("*.toml")))]) + "\n"


def write(out: Path, gallery: Gallery) -> None:
    "Writes every page of results, and the rows themselves."
    pages = {f"results/{called(d)}": dataset_page(d, gallery) for d in datasets()}
    pages |= {"results/index": index_page(), "results/published": published_page(), "cards": cards_page()}
    for name, text in pages.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.md").write_text(text, encoding="utf-8")
    shutil.copytree(ROWS, out / "_static" / "rows")


