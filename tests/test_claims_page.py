"""The files of claims and the page that is written from them alone."""

import json
from pathlib import Path

import pytest
from filelock import Timeout

from dream3d import files
from dream3d.bench import claims, claims_page
from dream3d.bench.claims_core import DISAGREES, judge
from dream3d.bench.claims_list import CLAIMS
from dream3d.errors import Mistake

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_is_what_the_files_say():
    records = sorted((json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "claims").glob("*.json")), key=lambda r: r["order"])
    assert [record["name"] for record in records] == list(CLAIMS)
    assert (DOCS / "claims.md").read_text(encoding="utf-8") == claims_page.page(records)
    for record in records:
        assert claims.described(CLAIMS[record["name"]]) == {key: value for key, value in record.items() if key != "results"}
        for prior, found in record["results"].items():
            again = judge(tuple(record["rules"]), found["cells"])
            assert again == {key: found[key] for key in again}, (record["name"], prior)


def test_measuring_keeps_what_others_measured(tmp_path, capsys):
    words = ["csd-part", "nfsd-noise", "--seeds", "1", "--out", str(tmp_path / "claims")]
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
        with pytest.raises(Timeout):
            claims.alone(path.parent).acquire(timeout=0)
        written.append(path.name)
        real(path, value)

    monkeypatch.setattr(files, "write_json", write)
    assert claims.main(["csd-part", "--seeds", "1", "--prompts", "1", "--prior", "mixture", "--out", str(tmp_path / "claims")]) == 0
    assert len(written) == 1 + len(CLAIMS) and written[0] == "csd-part.json"
    claims.alone(tmp_path / "claims").acquire(timeout=0).lock.release()


def test_what_cannot_be_asked_is_told(capsys):
    with pytest.raises(Mistake, match="no claim"):
        claims.main(["asd-varianze"])
    with pytest.raises(Mistake, match="weights"):
        claims.main(["--prior", "exact", "--model", "somewhere"])
    with pytest.raises(Mistake, match="1 to 6 prompts"):
        claims.main(["--prompts", "7"])
    assert claims.main(["--list", "3d-*"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == sum(c.kind == "runs" for c in CLAIMS.values())
