"""Lists of what to make: CSV, TSV, JSON lines, Parquet, or one prompt a line. Read without torch; nothing in them is trusted.

Columns are prompt, negative, seed, config, tags (separated by ;), category, image, id, or any setting by its path (guidance.scale). An
empty cell says nothing. Paths stay within the manifest's folder, and where things lie and which code runs is not for a manifest to say.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dream3d.check import DEFAULTS
from dream3d.errors import Mistake, choices

LARGEST = 256 << 20  # bytes of a manifest
CELL = 1 << 16  # characters of a cell
DEEPEST = 16  # lists within lists of a setting
COLUMNS = ("prompt", "negative", "seed", "config", "tags", "category", "image", "id")
REFUSED = ("out", "name", "stages", "extends", "keep", "device")  # of the library, of a recipe, of the machine
SEED = re.compile(r"\d{1,10}")
KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".txt": "txt"}


@dataclass(frozen=True)
class Row:
    """What one line asks for; `seed` and `config` are None where it leaves them to the command. `settings`: path -> value, texts as
    on the command line."""

    line: int
    prompt: str
    negative: str | None = None
    seed: int | None = None
    config: str | None = None
    tags: tuple[str, ...] = ()
    category: str = ""
    image: str | None = None
    id: str | None = None
    settings: tuple[tuple[str, Any], ...] = field(default=())


def read(path: Path) -> tuple[list[Row], list[tuple[int, Mistake]]]:
    """Rows, and what is wrong with others, by line. Raises Mistake where the file as a whole cannot be read."""
    path = Path(path)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise Mistake(f"a list of prompts cannot be a {path.suffix or 'file without a suffix'}", where=str(path), near=", ".join(KINDS))
    rows, wrong = [], []
    for line, cells in (_parquet(path) if kind == "parquet" else READERS[kind](path, _text(path))):
        try:
            if isinstance(cells, Mistake):
                raise cells
            rows.append(_row(line, cells))
        except Mistake as mistake:
            wrong.append((line, mistake))
    if not rows and not wrong:
        raise Mistake("there is no prompt in this file", where=str(path), fix="a column prompt, or one prompt a line")
    return rows, wrong + _twice(rows)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise Mistake(f"this manifest is larger than {LARGEST >> 20} MiB", where=str(path), fix="several files")
        data = path.read_bytes()
    except OSError as error:
        raise Mistake(f"the manifest cannot be read: {error.strerror or error}", where=str(path)) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        line = data[: error.start].count(b"\n") + 1
        raise Mistake(f"this is {'UTF-16' if utf16 else 'no UTF-8'}", where=f"{path}:{line}", fix="save it as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise Mistake("there is a NUL character in it", where=f"{path}:{line}", fix="save it as UTF-8 text")
    return text


def _txt(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if (said := line.strip()) and not said.startswith("#"):
            yield number, {"prompt": said}


def _csv(path: Path, text: str, delimiter: str = ",") -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, dict(zip(header, cells, strict=False)) if len(cells) <= len(header) else _long(cells, header)
            line = reader.line_num + 1
    except csv.Error as error:
        raise Mistake(f"this is no CSV: {error}", where=f"{path}:{line}", fix="double the quotes within a cell, and close them") from None


def _long(cells: list[str], header: list[str]) -> Mistake:
    return Mistake(f"{len(cells)} cells, but the header names {len(header)}", fix="put quotes around a cell with a comma in it")


def _tsv(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    return _csv(path, text, "\t")


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, parse_constant=_no_number, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            yield number, Mistake(f"this is no JSON: {str(error)[:120]}", fix='{"prompt": "a red car"}')
            continue
        yield number, found if isinstance(found, dict) else Mistake("a line has to be an object", fix='{"prompt": "a red car"}')


def _no_number(text: str):
    raise ValueError(f"{text} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise Mistake("Parquet needs pyarrow", where=str(path), fix='pip install "dream3d[batch]", or save it as CSV') from None
    try:
        with parquet.ParquetFile(path) as table:
            _check_header(table.schema_arrow.names, path)
            number = 0
            for part in table.iter_batches(batch_size=4096):
                for cells in part.to_pylist():
                    yield (number := number + 1), cells
    except (OSError, ValueError) as error:  # pyarrow's own errors are these
        raise Mistake(f"this is no Parquet: {str(error)[:120]}", where=str(path)) from None


def _check_header(names: list[str], path: Path) -> None:
    if "prompt" not in names:
        raise Mistake("no column is called prompt", where=f"{path}:1", near=choices("prompt", names or COLUMNS),
                      fix="a first line such as prompt,seed")  # fmt: skip
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Mistake(f"two columns are called {twice!r}", where=f"{path}:1")
    for name in names:
        _check_column(name, f"{path}:1")


def _check_column(name: str, where: str = "") -> None:
    section = name.partition(".")[0]
    if section in REFUSED:
        raise Mistake(f"{name!r} is not for a manifest to say", where=where, fix="leave the column out")
    if name not in COLUMNS and section not in DEFAULTS:
        raise Mistake(f"no column and no setting is called {name[:60]!r}", where=where, near=choices(name, [*COLUMNS, *DEFAULTS]))


def _row(line: int, cells: dict[str, Any]) -> Row:
    said = {name: value for name, value in cells.items() if value is not None and not (isinstance(value, str) and not value.strip())}
    for name in said:
        _check_column(name)
    prompt = said.pop("prompt", None)
    if not isinstance(prompt, str):
        raise Mistake("there is no prompt" if prompt is None else "the prompt is no text", fix='a column prompt: "a red car"')
    _speakable(prompt)
    own = {name: _word(name, said.pop(name)) for name in ("negative", "config", "category", "id") if name in said}
    image = _inside("image", _word("image", said.pop("image"))) if "image" in said else None
    seed, tags = said.pop("seed", None), said.pop("tags", ())
    return Row(line, prompt.strip(), seed=None if seed is None else _seed(seed), tags=_tags(tags), image=image,
               settings=tuple((name, _setting(name, value)) for name, value in sorted(said.items())), **own)  # fmt: skip


def _speakable(text: str, name: str = "prompt") -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Mistake(f"the {name} holds half of a character (a lone surrogate)", fix="save it as UTF-8 again") from None
    if "\0" in text or len(text) > CELL:
        raise Mistake(f"there is a NUL in the {name}" if "\0" in text else f"the {name} has more than {CELL} characters")
    return text


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise Mistake(f"{name} is no text")
    return _speakable(str(value).strip(), name)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not SEED.fullmatch(str(value).strip()) or int(value) >= 1 << 31:
        raise Mistake(f"seed: expected a whole number from 0 to {(1 << 31) - 1}, but it is {str(value)[:40]!r}")
    return int(value)


def _tags(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else str(value).split(";")
    if not all(isinstance(part, str) for part in parts):
        raise Mistake("tags are texts", fix="tags: red;toy")
    return tuple(dict.fromkeys(_speakable(part.strip(), "tags") for part in parts if part.strip()))


def _setting(name: str, value: Any) -> Any:
    for text in _texts(name, value):
        _inside(name, _speakable(text, name))
    return value


def _texts(name: str, value: Any, depth: int = 0) -> Iterator[str]:
    """Those in a value. Raises Mistake for what no setting can be: dates and decimals of Parquet, numbers that are not finite."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list) and depth < DEEPEST:
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(name, part, depth + 1)
    elif not isinstance(value, int | float | None) or isinstance(value, float) and not math.isfinite(value):
        what = value if isinstance(value, float) else "so deep a list" if isinstance(value, dict | list) else type(value).__name__
        raise Mistake(f"{name}: {what} cannot be a setting", fix="a number or a text")


def _inside(name: str, text: str) -> str:
    """The text, where it is no path that leads out of the manifest's folder, on any system."""
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).drive or PureWindowsPath(text).root or text.startswith("~")
    if absolute or ".." in re.split(r"[\\/]", text):
        raise Mistake(f"{name}: {text[:80]!r} leads out of the manifest's folder", fix="a path below it")
    return text


def _twice(rows: list[Row]) -> list[tuple[int, Mistake]]:
    first: dict[str, Row] = {}
    return [(row.line, Mistake(f"the id {row.id[:60]!r} is also that of line {first[row.id].line}", fix="another id, or none"))
            for row in rows if row.id is not None and first.setdefault(row.id, row) is not row]  # fmt: skip


READERS = {"txt": _txt, "csv": _csv, "tsv": _tsv, "jsonl": _jsonl}
