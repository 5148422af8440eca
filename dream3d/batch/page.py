"""gallery.html: a library in any browser, offline, from file://. Thousands of assets: only those that are seen are drawn."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dream3d
from dream3d.export import page

SHOWN = 300  # characters of a prompt


def write_gallery(library: Path, records: list[dict[str, Any]], title: str) -> Path:
    """The page of these records (of the catalogue, and {name, prompt, seed, state: failed, reason} of what failed) beside them: filters,
    search, sorting by prompt and by every number that records share; a click opens an asset's viewer."""
    script, rows = page.script("library.js"), [_row(record) for record in records]
    metrics = sorted({name for row in rows for name in row["metrics"]})
    # pictures lie beside the page, so that it stays small; nothing else is fetched
    policy = page.policy(script).replace("img-src data: blob:", "img-src data: file: 'self'")
    data = json.dumps({"records": rows, "metrics": metrics}, ensure_ascii=False, separators=(",", ":"))
    parts = {
        "policy": page.text(policy), "version": dream3d.__version__, "title": page.text(title[:SHOWN]),
        "style": page.web("report.css") + page.web("library.css"), "records": data.replace("<", "\\u003c"), "script": script,
    }  # fmt: skip
    return page.write(library / "gallery.html", page.web("library.html"), parts)


def _row(record: dict[str, Any]) -> dict[str, Any]:
    """What the page needs of a record; whatever else it holds, and is not what it should be, is left out."""
    made = record.get("files") if isinstance(record.get("files"), dict) else {}
    known = record["metrics"] if isinstance(record.get("metrics"), dict) else {}
    numbers = {**known, "seconds": record.get("seconds"), "memory": record.get("memory")}
    metrics = {name: value for name, value in numbers.items() if _number(value)}
    seed, tags = record.get("seed"), record.get("tags")
    words = {name: str(record.get(name) or "")[:SHOWN] for name in ("name", "prompt", "state", "category", "reason")}
    links = {name: quote(path) for name in ("thumbnail", "viewer") if (path := inside(made.get(name)))}
    tags = [str(tag)[:80] for tag in tags] if isinstance(tags, list) else []
    return {**words, **links, "seed": seed if _number(seed) else 0, "tags": tags, "metrics": metrics}


def _number(value: Any) -> bool:
    """One that JSON has: a page with another would stay empty."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def inside(path: Any) -> str | None:
    """A path of the catalogue; None for what would lead out of the library, or is no path."""
    if not isinstance(path, str) or path.startswith(("/", "\\")) or ":" in path or ".." in path.replace("\\", "/").split("/"):
        return None
    return path
