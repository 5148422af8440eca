"""The files of claims and the page that is written from them alone."""

import json
from pathlib import Path

import pytest
from filelock import Timeout

from dream3d import files
from dream3d.bench import claims, claims_files, claims_page
from dream3d.bench.claims_core import DISAGREES, judge
from dream3d.bench.claims_list import CLAIMS
from dream3d.errors import Interrupted, Mistake

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_is_what_the_files_say():
    records = sorted((json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "claims").glob("*.json")), key=lambda r: r["order"])
    assert [record["name"] for record in records] == list(CLAIMS)
    assert (DOCS / "claims.md").read_text(encoding="utf-8") == claims_page.page(records)
    for record in records:
        assert claims_files.described(CLAIMS[record["name"]]) == {key: value for key, value in record.items() if key != "results"}
        for prior, found in record["results"].items():
            again = judge(tuple(record["rules"]), found["cells"])
            assert again == {key: found[key] for key in again}, (record["name"], prior)


def test_measuring_keeps_what_others_measured(tmp_path, capsys):
    words = ["csd-part", "nfsd-noise", "--seeds", "1", "--out", str(tmp_path / "claims"), "--runs", str(tmp_path / "runs")]
    assert claims.main([*words, "--prior", "mixture"]) == 0
    path = tmp_path / "claims" / "csd-part.json"
    first = json.loads(path.read_text())
    assert set(first["results"]) == {"mixture"} and first["results"]["mixture"]["command"].endswith("--prior mixture --seeds 1")
    cells = [[{"classifier": 1.0, "generative": 2.0 + 0.1 * p}] for p in range(6)] + [[{"classifier": None, "generative": 1.0}]]
    first["results"]["exact"] = first["results"]["mixture"] | {"cells": cells}
    del first["results"]["exact"]["noise"]
    first["results"]["toybox"] = first["results"]["exact"] | {"cells": [[{"classifier": 1.0}]] * 6}  # of another measure
    path.write_text(json.dumps(first))
    assert claims.main([*words, "--prior", "mixture"]) == 0
    again = json.loads(path.read_text())["results"]
    assert again["exact"]["verdict"] == DISAGREES
    assert again["mixture"] | {"seconds": 0} == first["results"]["mixture"] | {"seconds": 0}
    text = (tmp_path / "claims.md").read_text()
    assert "| agrees | **disagrees** | open |" in text and "Cannot be tested here" in text
    assert text.count("To be measured again") == 1 and text.count(", of 6 cells and 6 prompts |") == 1
    told = capsys.readouterr().out
    assert "csd-part, mixture: agrees" in told and "csd-part, toybox: left out, it was measured without generative" in told
    assert set(again) == {"mixture", "exact"}


def test_files_are_locked_while_they_are_written(tmp_path, monkeypatch):
    """Two processes that measure two priors write the same files; neither loses what the other found."""
    written, real = [], files.write_json

    def write(path, value):
        if path.parent == tmp_path / "runs":
            return real(path, value)
        with pytest.raises(Timeout):
            claims_files.alone(path.parent).acquire(timeout=0)
        written.append(path.name)
        real(path, value)

    monkeypatch.setattr(files, "write_json", write)
    words = ["csd-part", "--seeds", "1", "--prompts", "1", "--prior", "mixture"]
    assert claims.main([*words, "--out", str(tmp_path / "claims"), "--runs", str(tmp_path / "runs")]) == 0
    assert len(written) == 1 + len(CLAIMS) and written[0] == "csd-part.json"
    claims_files.alone(tmp_path / "claims").acquire(timeout=0).lock.release()


def test_what_is_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    """By measure and prompt; numbers of another measure, or other seeds, are not taken."""
    asked, stop = [], [3]

    def measure(world, prompt, seed):
        asked.append(prompt)
        if len(asked) > stop[0]:
            raise Interrupted(15)
        return {"classifier": 1.0 + prompt, "generative": 0.0}

    monkeypatch.setattr(claims, "load", lambda name: measure)
    words = ["csd-part", "--prior", "mixture", "--out", str(tmp_path / "claims"), "--runs", str(tmp_path / "runs"), "--seeds"]
    with pytest.raises(Interrupted):
        claims.main([*words, "1"])
    assert asked == [0, 1, 2, 3] and not (tmp_path / "claims").exists()
    stop[0] = 99
    assert claims.main([*words, "1"]) == 0 and asked[4:] == [3, 4, 5] and not [*(tmp_path / "runs").iterdir()]
    cells = json.loads((tmp_path / "claims" / "csd-part.json").read_text())["results"]["mixture"]["cells"]
    assert [row[0]["classifier"] for row in cells] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    stop[0] = len(asked) + 3
    with pytest.raises(Interrupted):
        claims.main([*words, "1"])
    stop[0] = 99
    assert claims.main([*words, "2"]) == 0 and asked[11:] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_failed_runs_take_nothing_away(tmp_path, monkeypatch, capsys):
    """Where all of a method failed, what was known stays; where some did, the page says how many."""
    good = [[{"nfsd_iou": 0.9, "sds101_iou": 0.8, "nfsd_saturation": 1.1, "sds101_saturation": 1.3 + 0.01 * p}] for p in range(6)]
    words = ["3d-nfsd", "--prior", "exact", "--seeds", "1", "--out", str(tmp_path / "claims"), "--runs", str(tmp_path / "runs")]
    answers = [(good, 0), ([[dict.fromkeys(good[0][0])]] * 6, 12), ([*good[:5], [dict.fromkeys(good[0][0])]], 2)]
    monkeypatch.setattr("dream3d.bench.claims_runs.measure", lambda *asked: answers.pop(0))
    path = tmp_path / "claims" / "3d-nfsd.json"
    assert claims.main(words) == 0
    first = path.read_bytes()
    assert claims.main(words) == 6 and path.read_bytes() == first and "12 runs failed" in capsys.readouterr().err
    assert claims.main(words) == 6 and "2 runs failed, whose numbers are missing." in (tmp_path / "claims.md").read_text()
    note = claims_files.NOTES["3d-nfsd"]["exact"]
    assert f"Of an earlier measurement: {note}" in (tmp_path / "claims.md").read_text()


def test_files_that_are_no_claims_are_named_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "load", None)
    (tmp_path / "notes.json").write_text('{"a": 1}')  # not ours: left alone
    for text in ("{", "[]", '{"results": {"exact": {}}}', '{"results": [1]}'):
        (tmp_path / "csd-part.json").write_text(text)
        for words in (["--page"], ["csd-part", "--prior", "mixture"]):
            with pytest.raises(Mistake, match="holds no claim") as told:
                claims.main([*words, "--out", str(tmp_path)])
            assert told.value.where.endswith("csd-part.json")


def test_the_page_lies_beside_its_folder(tmp_path, monkeypatch):
    (tmp_path / "claims.v1").mkdir()
    monkeypatch.chdir(tmp_path / "claims.v1")
    assert claims.main(["--page", "--out", "."]) == 0 and (tmp_path / "claims.v1.md").is_file()
    with pytest.raises(Mistake, match="empty"):
        claims.main(["--page", "--out", ""])


def test_what_cannot_be_asked_is_told(capsys, tmp_path):
    out = ["--out", str(tmp_path / "claims"), "--runs", str(tmp_path / "runs")]
    assert claims.main(["3d-saturation", "--prior", "mixture", *out]) == 0
    assert "3d-saturation, mixture: cannot be tested here: whole runs need a prior" in capsys.readouterr().out
    with pytest.raises(Mistake, match="no measurement"):
        claims.main(["3d-saturation", "--prior", "exact", "--set", "steps=10"])
    with pytest.raises(Mistake, match="whole runs"):
        claims.main(["csd-part", "--prior", "exact", "--set", "steps=10", *out])
    with pytest.raises(Mistake, match="all claims"):
        claims.main(["csd-part", "--page"])
    with pytest.raises(Mistake, match="no claim"):
        claims.main(["asd-varianze"])
    with pytest.raises(Mistake, match="weights"):
        claims.main(["--prior", "exact", "--model", "somewhere"])
    with pytest.raises(Mistake, match="1 to 6 prompts"):
        claims.main(["--prompts", "7"])
    assert claims.main(["--list", "3d-*"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == sum(c.kind == "runs" for c in CLAIMS.values())
