"""The pages of proofs are true of the tests and of the formulas: every test that a table names is there, and every default stands."""

import ast
import re

import yaml

from dream3d import build, check

TESTS = "tests", "tests/theory", "tests/contract"


def tables(page, head):
    """The rows of a page's tables that begin with this head, cell by cell."""
    text = page.read_text(encoding="utf-8")
    for lines in re.findall(rf"^\| {head}.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in lines.splitlines():
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def proofs():
    """Identity and the tests that prove it, of every row."""
    pages = sorted((build.place("docs") / "theory").glob("*.md"))
    return [(page.stem, *row) for page in pages for row in tables(page, r"identity \| test \|")]


def written():
    """The names of all tests by module."""
    files = [file for folder in TESTS for file in (build.place("docs").parent / folder).glob("test_*.py")]
    nodes = {file.stem: ast.walk(ast.parse(file.read_text(encoding="utf-8"))) for file in files}
    return {stem: {n.name for n in walk if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")} for stem, walk in nodes.items()}


def test_every_test_that_a_table_names_is_there():
    """A name may end in ... where it goes on; a module's name stands for all of it."""
    tests = written()
    names = {name.removeprefix("test_") for found in tests.values() for name in found}
    for page, identity, cell in proofs():
        told = [re.sub(r"^tests/(theory/|contract/)?", "", part.strip()) for part in re.split(r", |: |::", re.sub(r"`|\.py", "", cell))]
        assert any(told), (page, identity)
        for part in filter(None, told):
            pattern = re.escape(part.removeprefix("test_")).replace(r"\.\.\.", ".*")
            assert part in tests or any(re.fullmatch(pattern, name) for name in names), (page, identity, part)


def test_no_identity_is_listed_twice_and_there_are_enough():
    listed = [(page, identity) for page, identity, _ in proofs()]
    assert len(set(listed)) == len(listed) >= 120


def test_the_defaults_are_those_of_the_table():
    """Every formula, every setting that has a default."""
    table = {name: yaml.safe_load(cell.strip("`")) for name, cell, _ in tables(build.place("docs") / "theory" / "defaults.md", "formula")}
    assert set(table) == set(build.available("guidance"))
    for name, expected in table.items():
        found = build.signature("guidance", name).parameters
        assert {k: check.plain(v) for k, (_, v) in found.items() if v is not build.MISSING} == expected, name
