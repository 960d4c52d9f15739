"""What a page should show and cannot, because a stored result is not there or is of an older schema.

The place on the page says so, the build goes on, and ends with the list and a code that is not zero.

    missing = Missing()
    frame = missing.rows(ROWS / "runs-hflights.csv", ["model", "test_auc"])
    if frame is None: parts.append(missing.notice(ROWS / "runs-hflights.csv"))
"""
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from collapse_nb.records import InputError
from collapse_nb.results import read_table

# what a build ends with when a page lacks something
INCOMPLETE = 3
ROOT = Path(__file__).resolve().parents[2]
AGAIN = "write it again with `make results` or `make verdicts`"


def filled(stem: str, folder: Path) -> pd.DataFrame:
    "A stored table that has rows."
    if len(frame := read_table(stem, folder)): return frame
    raise InputError(f"{stem}.csv has no rows: {AGAIN}.")

def lost_name(error: Exception) -> str | None:
    "The column, or another name, that an error says a stored table has not; None for an error of other kind."
    said = error.args[0] if error.args else ""
    if isinstance(error, KeyError):
        if not isinstance(said, str): return str(said)
        named = re.findall(r"'([^']+)'", re.sub(r"dtype='\w+'", "", said)) if "[" in said else []
        return ", ".join(named) or said
    # of a row as itertuples gives it, or of a query
    of_rows = r"'(?:DataFrame|Series|Pandas)' object has no attribute '(\w+)'|name '(\w+)' is not defined"
    if isinstance(error, AttributeError | pd.errors.UndefinedVariableError):
        if found := re.search(of_rows, str(said)): return found[1] or found[2]
    return None

def lacking(error: Exception, what: str = "a stored table") -> str | None:
    """What an error says is wrong with stored tables, as a sentence that names `what` was read; None for an
    error that is no such thing."""
    if isinstance(error, InputError):
        return str(error) if ".csv" in str(error) else f"{what} does not fit: {error}"
    if isinstance(error, FileNotFoundError):
        file = Path(error.filename or what).name
        return f"{file} is not among the stored results: `make results` writes it."
    if isinstance(error, pd.errors.ParserError | pd.errors.EmptyDataError | UnicodeDecodeError):
        return f"{what} cannot be read ({str(error).strip()}): {AGAIN}."
    if name := lost_name(error): return f"{what} is of an older schema, without {name}: {AGAIN}."
    if isinstance(error, IndexError): return f"{what} lacks rows ({error}): {AGAIN}."
    return None


class Missing:
    "Collects what is lacking, in the order in which it was noticed; each thing once."
    def __init__(self): self.notes: dict[str, str] = {}

    def note(self, where: str, sentence: str) -> str:
        "Keep what is lacking at a place, a page's name or a file's; Markdown for the place on the page."
        # a page is no place for where the project lies on this machine
        self.notes.setdefault(where, sentence.replace(f"{ROOT}/", ""))
        return self.notice(where)

    def notice(self, where: str | Path) -> str:
        "Markdown that says at its place what is lacking there; empty when nothing is."
        sentence = self.notes.get(name(where))
        return f":::{{container}} lacking\n**Not shown.** {sentence}\n:::" if sentence else ""

    def rows(self, file: Path, columns: Iterable[str] = (), optional: bool = False) -> pd.DataFrame | None:
        """A stored table with at least these columns; None, and a note, when it is not there (unless that may
        be), cannot be read or is of an older schema."""
        def read() -> pd.DataFrame:
            frame = filled(file.stem, file.parent)
            if lost := [column for column in columns if column not in frame]:
                plural = "s" * (len(lost) > 1)
                raise InputError(f"{file.name} is of an older schema, without the column{plural} "
                                 f"{', '.join(lost)}: {AGAIN}.")
            return frame
        if optional and not file.is_file(): return None
        return self.made(file, read)

    def made(self, where: str | Path, make: Callable) -> object:
        """What `make()` returns; None, and a note, when stored results that it reads are lacking or do not
        fit. Other errors are the build's own and stop it."""
        try: return make()
        except Exception as error:
            what = where.name if isinstance(where, Path) else "a stored table that is shown here"
            if not (said := lacking(error, what)): raise
            self.note(name(where), said)
        return None

    def page(self, where: str, make: Callable[[], str], title: str = "") -> str:
        "A page's Markdown, or what says in its place that it is not shown."
        text = self.made(where, make)
        return f"# {title or where}\n\n{self.notice(where)}\n" if text is None else text

    def report(self) -> int:
        "Says what is lacking, a line each; the build's exit code."
        for where, sentence in self.notes.items(): print(f"{where}: {sentence}")
        return INCOMPLETE if self.notes else 0


def name(where: str | Path) -> str: return where.name if isinstance(where, Path) else where

# one build, one list
missing = Missing()
