"""Errors that teach: one problem, where it is, the nearest right thing, the fix. The command line prints them without a traceback."""

import difflib


class Mistake(Exception):
    """Something the user can put right. `code` is the exit code: 2 usage, 3 model, 4 memory, 5 diverged, 6 some jobs failed."""

    def __init__(self, problem: str, *, where: str = "", near: str = "", fix: str = "", code: int = 2):
        super().__init__(problem)
        self.lines = [problem] + [
            f"  {label}: {text}" for label, text in (("at", where), ("try", near), ("fix", fix)) if text
        ]
        self.code = code

    def __str__(self) -> str:
        return "\n".join(self.lines)


def nearest(word: str, known, *, count: int = 3) -> list[str]:
    """The known names closest to `word`, best first; all of them where they are few and none is close."""
    known = [str(name) for name in known]
    return difflib.get_close_matches(str(word), known, n=count, cutoff=0.5) or sorted(known)[:12]
