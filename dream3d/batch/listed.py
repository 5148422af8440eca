"""Which jobs the catalogue lists, for launchers that share a library: one file that grows, instead of a question for every job's folder.

What it says is good enough to leave a job to whoever made it, and for nothing else: the folders are the truth.
"""

import json
import os
from pathlib import Path


class Listed:
    """Ids of the jobs that catalog.jsonl has. Only what was appended since is read again."""

    def __init__(self, library: Path):
        self.path = Path(library) / "catalog.jsonl"
        self.file, self.at = None, 0
        self.known: set[str] = set()

    def ids(self) -> set[str]:
        """Those that it lists now; those that it listed before where it cannot be read."""
        try:
            with open(self.path, "rb") as file:
                told = os.fstat(file.fileno())
                if told.st_ino != self.file or told.st_size < self.at:  # another file: it was mended
                    self.file, self.at, self.known = told.st_ino, 0, set()
                file.seek(self.at)
                whole, _, _ = file.read().rpartition(b"\n")
        except OSError:
            return self.known
        self.at += len(whole) + bool(whole)
        for line in whole.splitlines():
            self._hear(line)
        return self.known

    def _hear(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            (self.known.discard if row.get("state") == "again" else self.known.add)(row["id"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return


def parted(jobs: list, part: tuple[int, int]) -> tuple[list, list]:
    """Of many launchers' jobs those that the launcher `part[0]` of `part[1]` begins with, and the others, from where these end: so they do
    not all ask for the same job at once."""
    place, count = part
    size = -(-len(jobs) // count)
    low, high = min(place * size, len(jobs)), min((place + 1) * size, len(jobs))
    return jobs[low:high], [*jobs[high:], *jobs[:low]]
