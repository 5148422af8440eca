"""Lists of prompts: what is read, what is refused and where."""

import csv
import io
import json
import re

import pytest

from dream3d.batch import manifest
from dream3d.errors import Mistake


def read(tmp_path, text, suffix="csv"):
    path = tmp_path / f"list.{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return manifest.read(path)


def test_every_kind_of_list_says_the_same(tmp_path):
    rows = [
        read(tmp_path, "prompt,seed,guidance.scale,tags\na red car,3,7.5,toy; red\n")[0][0],
        read(tmp_path, "\ufeffprompt\tseed\tguidance.scale\ttags\r\na red car\t3\t7.5\ttoy;red\r\n", "tsv")[0][0],
        read(tmp_path, json.dumps({"prompt": "a red car", "seed": 3, "guidance.scale": "7.5", "tags": ["toy", "red"]}), "jsonl")[0][0],
    ]
    for row in rows:
        assert (row.prompt, row.seed, row.settings, row.tags) == ("a red car", 3, (("guidance.scale", "7.5"),), ("toy", "red"))
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install dream3d[batch]")
    import pyarrow

    parquet.write_table(pyarrow.table({"prompt": ["a red car"], "seed": [3], "guidance.scale": [7.5]}), tmp_path / "list.parquet")
    assert manifest.read(tmp_path / "list.parquet")[0][0].settings == (("guidance.scale", 7.5),)


def test_plain_lines_are_prompts(tmp_path):
    rows, wrong = read(tmp_path, "# my list\n\na red car\n  a blue duck  \n", "txt")
    assert [(row.line, row.prompt) for row in rows] == [(3, "a red car"), (4, "a blue duck")] and not wrong


def test_lines_are_those_of_the_file(tmp_path):
    text = 'prompt,seed\n"a red\ncar",1\n\na blue duck,x\na cat,1,2\n'
    rows, wrong = read(tmp_path, text)
    assert [(row.line, row.prompt) for row in rows] == [(2, "a red\ncar")]
    assert [(line, mistake.problem[:4]) for line, mistake in wrong] == [(5, "seed"), (6, "3 ce")]


def test_empty_cells_say_nothing(tmp_path):
    rows, wrong = read(tmp_path, "prompt,seed,negative,config,guidance.scale\na red car,,,,\n")
    assert rows == [manifest.Row(2, "a red car")] and not wrong


@pytest.mark.parametrize(
    ("text", "suffix", "says"),
    [
        (b"prompt\na red c\xe9r\n", "csv", "no UTF-8"),
        ("prompt\na red car\n".encode("utf-16"), "csv", "UTF-16"),
        ("prompt\na \0 car\n", "csv", "NUL"),
        ("promt\na red car\n", "csv", "no column is called prompt"),
        ("prompt,prompt\na,b\n", "csv", "two columns"),
        ("prompt,guidnace.scale\na,1\n", "csv", "no setting is called"),
        ("prompt,out\na,/tmp\n", "csv", "not for a manifest"),
        ("prompt,device\na,cuda\n", "csv", "not for a manifest"),
        ('prompt\n"a red\n', "csv", "no CSV"),
        ("", "csv", "no column"),
        ("prompt\n", "csv", "no prompt in this file"),
        ("# nothing\n", "txt", "no prompt in this file"),
        ("a red car", "doc", "cannot be a .doc"),
        ("PAR1", "parquet", "Parquet"),
    ],
)
def test_what_is_no_list_is_refused_as_a_whole(tmp_path, text, suffix, says):
    with pytest.raises(Mistake, match=says):
        read(tmp_path, text, suffix)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"seed": 1}, "there is no prompt"),
        ({"prompt": 3}, "no text"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"prompt": "\ud800"}, "surrogate"),
        ({"prompt": "a" * 70_000}, "more than"),
        ({"prompt": "a car", "seed": -1}, "seed"),
        ({"prompt": "a car", "seed": 1.5}, "seed"),
        ({"prompt": "a car", "seed": True}, "seed"),
        ({"prompt": "a car", "seed": 1 << 40}, "seed"),
        ({"prompt": "a car", "tags": [1]}, "tags"),
        ({"prompt": "a car", "tags": ["\ud800"]}, "tags holds half"),
        ({"prompt": "a car", "category": "\ud800"}, "category holds half"),
        ({"prompt": "a car", "negative": "a\0b"}, "NUL in the negative"),
        ({"prompt": "a car", "prior": {"\ud800": 1}}, "prior holds half"),
        ({"prompt": "a car", "image": "/etc/passwd"}, "leads out"),
        ({"prompt": "a car", "image": "..\\cat.png"}, "leads out"),
        ({"prompt": "a car", "image": "C:cat.png"}, "leads out"),
        ({"prompt": "a car", "init.file": "~/cat.glb"}, "leads out"),
        ({"prompt": "a car", "prior": {"type": "toybox", "model": "../../weights"}}, "leads out"),
        ({"prompt": "a car", "plugin": "os"}, "no setting is called"),
        ({"prompt": "a car", "stages": []}, "not for a manifest"),
    ],
)
def test_a_row_that_cannot_be_is_told_by_its_line(tmp_path, cells, says):
    rows, wrong = read(tmp_path, json.dumps({"prompt": "a duck"}) + "\n" + json.dumps(cells), "jsonl")
    assert [row.prompt for row in rows] == ["a duck"]
    assert [line for line, _ in wrong] == [2] and re.search(says, wrong[0][1].problem)


def test_settings_are_numbers_texts_and_what_is_made_of_them(tmp_path):
    import datetime
    import decimal

    deep = "[" * 800 + "]" * 800
    lines = '{"prompt": "a", "steps": 1e999}', f'{{"prompt": "a", "steps": {deep}}}', '{"prompt": "a", "clip": {"rgb": [0.1, true, null]}}'
    rows, wrong = read(tmp_path, "\n".join(lines), "jsonl")
    assert [row.line for row in rows] == [3] and [line for line, _ in wrong] == [1, 2]
    for value in (decimal.Decimal(3), datetime.date(2020, 1, 1), b"x", float("nan")):
        with pytest.raises(Mistake, match="cannot be a setting"):
            manifest._row(1, {"prompt": "a car", "guidance.scale": value})


def test_plain_lines_end_where_an_editor_ends_them(tmp_path):
    rows, _ = read(tmp_path, "a red\u2028car\r\na cat\x0c\rthe end\n", "txt")
    assert [(row.line, row.prompt) for row in rows] == [(1, "a red\u2028car"), (2, "a cat"), (3, "the end")]


@pytest.mark.parametrize("line", ["{", "[1]", '{"prompt": NaN}', '{"prompt": "a", "prompt": "b"}', "[" * 100_000, '"a"'])
def test_json_lines_that_are_none(tmp_path, line):
    rows, wrong = read(tmp_path, f"{line}\n" + '{"prompt": "a duck"}', "jsonl")
    assert [row.line for row in rows] == [2] and [line for line, _ in wrong] == [1]


def test_ids_that_come_twice(tmp_path):
    _, wrong = read(tmp_path, "prompt,id\na cat,x\na duck,x\na car,\na bus,\n")
    assert [(line, "that of line 2" in mistake.problem) for line, mistake in wrong] == [(3, True)]


def test_no_list_makes_it_stumble(tmp_path):
    """Any text as a prompt, in any place, comes back as it was, or its line is told; nothing else is raised."""
    given = pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install dream3d[test]")
    text = given.strategies.text(max_size=40)

    @given.settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(given.HealthCheck))
    @given.given(prompts=given.strategies.lists(text, min_size=1, max_size=5), seed=text, name=text)
    def holds(prompts, seed, name):
        out = io.StringIO(newline="")
        csv.writer(out).writerows([["prompt", "seed", "image"], *([prompt, "", ""] for prompt in prompts), ["a car", seed, name]])
        try:
            rows, wrong = read(tmp_path, out.getvalue().encode("utf-8", "surrogatepass"))
        except Mistake:
            return
        kept = [prompt.strip() for prompt in prompts if prompt.strip()]
        assert {row.prompt for row in rows} <= {*kept, "a car"}
        assert len(rows) + len(wrong) >= len(kept)
        for row in rows:
            assert row.image is None or not (row.image.startswith(("/", "~", "\\")) or ".." in re.split(r"[\\/]", row.image))

    @given.settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(given.HealthCheck))
    @given.given(data=given.strategies.binary(max_size=200), suffix=given.strategies.sampled_from(["csv", "tsv", "jsonl", "txt"]))
    def stands(data, suffix):
        try:
            read(tmp_path, data, suffix)
        except Mistake:
            pass

    holds()
    stands()
