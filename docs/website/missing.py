"""What a page should show and cannot, because a stored result is not there or is of an older schema.

The place on the page says so, the build goes on, and ends with the list and a code that is not zero.

    missing = Missing()
    frame = missing.rows(ROWS / "runs-hflights.csv", ["model", "test_auc"])
    if frame is None: parts.append(missing.notice(ROWS / "runs-hflights.csv"))
"""
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

# what a build ends with when a page lacks something
INCOMPLETE = 3


class Missing:
    "Collects what is lacking, in the order in which it was noticed; each thing once."
    def __init__(self): self.notes: dict[str, str] = {}

    def note(self, where: str, sentence: str) -> str:
        "Keep what is lacking at a place, a page's name or a file's; Markdown for the place on the page."
        self.notes.setdefault(where, sentence)
        return self.notice(where)

    def notice(self, where: str | Path) -> str:
        "Markdown that says at its place what is lacking there; empty when nothing is."
        sentence = self.notes.get(name(where))
        return f":::{{container}} lacking\n**Not shown.** {sentence}\n:::" if sentence else ""

    def rows(self, file: Path, columns: Iterable[str] = (), optional: bool = False) -> pd.DataFrame | None:
        """A stored table with at least these columns; None, and a note, when it is not there (unless that may
        be), cannot be read or is of an older schema."""
        def read() -> pd.DataFrame:
            frame = pd.read_csv(file)
            if lost := [column for column in columns if column not in frame]:
                plural = "s" * (len(lost) > 1)
                raise KeyError(f"{file.name} is of an older schema, without the column{plural} "
                               f"{', '.join(lost)}: write it again with `make results` or `make verdicts`.")
            return frame
        if optional and not file.is_file(): return None
        return self.made(file, read)

    def made(self, where: str | Path, make: Callable) -> object:
        """What `make()` returns; None, and a note, when stored results that it reads are lacking or do not
        fit. Other errors are the build's own and stop it."""
        try: return make()
        except FileNotFoundError as error:
            lost = Path(error.filename or str(where)).name
            self.note(name(where), f"{lost} is not among the stored results: `make results` writes it.")
        except KeyError as error:
            said = str(error.args[0]) if error.args else ""
            self.note(name(where), said if " " in said else
                      f"{name(where)} is of an older schema, without {said}: write it again with "
                      "`make results` or `make verdicts`.")
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            self.note(name(where), f"{name(where)} cannot be read ({error}): write it again with "
                                   "`make results` or `make verdicts`.")
        return None

    def report(self) -> int:
        "Says what is lacking, a line each; the build's exit code."
        for where, sentence in self.notes.items(): print(f"{where}: {sentence}")
        return INCOMPLETE if self.notes else 0


def name(where: str | Path) -> str: return where.name if isinstance(where, Path) else where

# one build, one list
missing = Missing()
