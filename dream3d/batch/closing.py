"""What is written at the end: failures.csv, the mended catalogue with its table, the page. Hundreds of launchers that end together would
each read every record; the first of them writes for all."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dream3d import __version__, files
from dream3d.batch import tables
from dream3d.batch.library import Library, locked

POLL = 2.0  # seconds between two looks at whether the other has written


def closed(library: Library, failed: Iterable[str], shared: bool = False) -> tuple[Path, Path | None]:
    """The page, and failures.csv where something failed. `shared`: they are not written again where another launcher has done so since the
    catalogue's last line, with all that failed here."""
    page, table, mark = library.path / "gallery.html", library.path / "failures.csv", library.path / ".closed"
    with locked(library.path / ".closing", POLL):
        if not (shared and page.is_file() and _json(mark) == _now(library) and _has(table, failed)):
            tables.failed(library, library.jobs())
            tables.listed(library)
            files.write_json(mark, _now(library))
    return page, table if table.is_file() else None


def _now(library: Library) -> dict[str, Any]:
    """What changes with every line of the catalogue."""
    try:
        told = (library.path / "catalog.jsonl").stat()
        return {"version": __version__, "size": told.st_size, "changed": told.st_mtime_ns}
    except OSError:
        return {"version": __version__, "size": 0}


def _has(table: Path, failed: Iterable[str]) -> bool:
    ids = set(failed)
    return not ids or table.is_file() and ids <= {line.partition(",")[0] for line in table.read_text(encoding="utf-8").splitlines()}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
