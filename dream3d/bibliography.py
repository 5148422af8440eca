"""assets/papers.bib, and which of its entries a configuration owes: the arXiv ids in the documentation of the files it uses."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dream3d import build, catalogue
from dream3d.catalogue import ARXIV, Entry

OWN = "dream3d"  # the key of this project's entry
FEATURES = {"clip": ("dream3d.optim", "clip_pixels"), "clamp": ("dream3d.term", "Term")}  # core code that some settings switch on


@dataclass(frozen=True)
class Paper:
    """One entry as it stands in the file, and its fields without braces."""

    key: str
    fields: dict[str, str]
    text: str


def papers() -> dict[str, Paper]:
    """All entries by arXiv id, or by key where they have none."""
    text = (build.place("assets") / "papers.bib").read_text(encoding="utf-8")
    found = [_parse(part) for part in re.split(r"\n(?=@)", text) if part.strip()]
    return {paper.fields.get("eprint", paper.key): paper for paper in found}


def _parse(text: str) -> Paper:
    """An entry whose fields stand one to a line: name = {value}. Raises ValueError for anything else."""
    head = re.fullmatch(r"@\w+\{([\w-]+),\n(.*?)\n\}\s*", text, re.DOTALL)
    if head is None:
        raise ValueError(f"not a BibTeX entry: {text[:60]!r}")
    fields = {}
    for line in head[2].split("\n"):
        one = re.fullmatch(r"  (\w+) = \{(.*)\},?", line)
        if one is None or one[2].count("{") != one[2].count("}"):
            raise ValueError(f"not a BibTeX field: {line!r}")
        fields[one[1]] = re.sub(r"\\.|[{}]", "", one[2])
    return Paper(head[1], fields, text.strip())


def line(identifier: str) -> str:
    """A paper in one line; only its number where it is not in the file."""
    paper = papers().get(identifier)
    if paper is None:
        return f"arXiv:{identifier}"
    names = paper.fields["author"].split(" and ")
    who = names[0].split()[-1] + (" et al." if len(names) > 2 else f" and {names[1].split()[-1]}" if len(names) == 2 else "")
    return f"arXiv:{identifier}  {paper.fields['title']} ({who}, {paper.fields['year']})"


# --- what is owed -------------------------------------------------------------------------------------------------------------------


def of_entry(entry: Entry) -> dict[str, list[str]]:
    """arXiv ids -> the parts that name them, of one catalogue entry and of the private files it imports."""
    if entry.kind in build.FOLDERS:
        texts = [text for path in _files(entry.path) for text in docstrings(path)]
    else:
        texts = [entry.doc]
    return {found: [f"{entry.kind}/{entry.name}"] for text in texts for found in ARXIV.findall(text)}


def of_config(stages: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The same of everything that the complete stages of a configuration use."""
    parts = list(dict.fromkeys(part for stage in stages for part in catalogue.used(stage)))
    owed = [of_entry(catalogue.entry(kind, name)) for kind, name in parts]
    for feature in dict.fromkeys(feature for stage in stages for feature in _features(stage)):
        module, name = FEATURES[feature]
        text = next(text for text in docstrings(catalogue.origin(module), only=name))
        owed.append({found: [feature] for found in ARXIV.findall(text)})
    return merged(owed)


def merged(owed: list[dict[str, list[str]]]) -> dict[str, list[str]]:
    every: dict[str, list[str]] = {}
    for one in owed:
        for found, parts in one.items():
            every.setdefault(found, []).extend(part for part in parts if part not in every.get(found, []))
    return every


def _features(stage: dict[str, Any]) -> Iterator[str]:
    if stage["clip"] is not None:
        yield "clip"
    terms = stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]]
    if any(term["clamp"] is not None for term in terms):
        yield "clamp"


def docstrings(path: Path, only: str | None = None) -> list[str]:
    """Documentation of a file, its classes and functions; `only`: of the one with this name."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(catalogue.tree(path)) if isinstance(node, kinds)]
    chosen = [node for node in nodes if only is None or getattr(node, "name", None) == only]
    return [text for node in chosen if (text := ast.get_docstring(node))]


def _files(path: Path) -> list[Path]:
    """A file of a catalogue and the private ones (_name) beside it that it imports, directly or not."""
    found, todo = [], [path]
    while todo:
        now = todo.pop(0)
        found.append(now)
        todo += [file for file in _private(now) if file not in (*found, *todo)]
    return found


def _private(path: Path) -> Iterator[Path]:
    for node in ast.walk(catalogue.tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dream3d."):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                parts = name.split(".")[2:]
                if any(part.startswith("_") for part in parts):
                    yield from _beside(path, name.split(".")[1], parts)


def _beside(path: Path, catalogue_name: str, parts: list[str]) -> Iterator[Path]:
    """The file of a private module in the catalogue that `path` is part of, whatever the folder is called from outside."""
    root = next((parent for parent in path.parents if parent.name == catalogue_name), None)
    if root is not None and (file := root.joinpath(*parts).with_suffix(".py")).is_file():
        yield file
