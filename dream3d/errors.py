"""Errors that teach: one problem, where it is, the nearest right thing, the fix. The command line prints them without a traceback."""

import difflib
import re
import signal

WIDTH = 180  # characters of a line; what is longer loses its middle


class Mistake(Exception):
    """Something the user can put right. `code` is the exit code: 2 usage, 3 model, 4 memory, 5 diverged, 6 some jobs failed.

    Each part becomes one line; `str()` is all of them, ready to be printed after "error: "."""

    def __init__(self, problem: str, *, where: str = "", near: str = "", fix: str = "", code: int = 2):
        super().__init__(problem)
        self.problem, self.where, self.near, self.fix, self.code = problem, where, near, fix, code

    @property
    def lines(self) -> list[str]:
        """The problem, then the parts that there are; control characters escaped, none longer than WIDTH."""
        parts = (("at", self.where), ("try", self.near), ("fix", self.fix))
        return [one_line(self.problem)] + [f"  {label}: {one_line(text)}" for label, text in parts if text]

    def completed(self, *, where: str = "", near: str = "", fix: str = "", within: str = "") -> "Mistake":
        """The same mistake with what it did not say yet, by someone who knows more; `within` comes before the problem."""
        return Mistake(f"{within}{self.problem}", where=self.where or where, near=self.near or near,
                       fix=self.fix or fix, code=self.code)  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Interrupted(Exception):
    """SIGINT or SIGTERM (`number`) arrived; the run has been saved."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def one_line(text: str, width: int = WIDTH) -> str:
    """Text that stays on one line of a terminal: control characters escaped, the middle left out where it is long."""
    head, tail = width * 2 // 3, width // 3 - 5
    text = text if len(text) <= 4 * width else f"{text[: 2 * width]} ... {text[-2 * width :]}"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= width else f"{shown[:head]} ... {shown[-tail:]}"


def nearest(word: str, known, *, count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known names that `word` may have meant, best first; none where none is close."""
    word, names = _bare(str(word)[:80]), {}
    for name in map(str, known):
        names.setdefault(_bare(name), name)
    close = difflib.get_close_matches(word, names, n=count, cutoff=cutoff)
    alike = [other for other in close if _ratio(word, other) > _ratio(word, close[0]) - 0.15]
    parts = [other for other in names if len(word) > 2 and (other.startswith(word) or word in other.split())]
    return [names[other] for other in alike or parts[:count]]


def choices(word: str, known, *, width: int = 150) -> str:
    """The nearest of the known names, or where none is close as many of them as fit one line, in their order."""
    names = nearest(word, known) or list(map(str, known))
    line = ", ".join(names)
    if len(line) <= width:
        return line
    return line[: line.rindex(", ", 0, width - 4)] + ", ..."


def _bare(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.casefold())) or name


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, b, a).ratio()
