"""What the command says of a list before anything is begun."""

import pytest

from dream3d.commands import batch
from dream3d.errors import Mistake


def test_a_dry_run_says_how_many_and_makes_nothing(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("prompt,seed\na red car,\na red car,\na cat,3\n")
    words = [str(tmp_path / "list.csv"), "--seeds", "0-1", "--grid", "guidance.scale=7.5,20", "--out", str(tmp_path / "lib"), "--dry-run"]
    assert batch.main(words) == 0
    said = capsys.readouterr().out
    assert "6 jobs of 2 configurations, 4 asked for more than once" in said and "memory a worker" in said and "disk" in said
    assert not (tmp_path / "lib").exists()


def test_a_dry_run_counts_the_memory_of_all_that_are_made_at_once(tmp_path, capsys):
    """No more than there are alike."""
    (tmp_path / "list.csv").write_text("prompt,config\na red car,\na cat,\na pink mug,\na red car,sds-plane\n")
    said = {}
    for count in (1, 2, 8):
        batch.main([str(tmp_path / "list.csv"), "--together", str(count), "--out", str(tmp_path / "lib"), "--dry-run"])
        line = next(line for line in capsys.readouterr().out.splitlines() if "memory" in line)
        said[count] = float(line.partition(": ")[2].split(" GB")[0])
        assert ("times" in line) == (count > 1)
    assert said[2] == pytest.approx(2 * said[1], abs=0.11) and said[8] == pytest.approx(3 * said[1], abs=0.16)


def test_rows_that_cannot_be_are_told_before_anything_is_begun(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("prompt,seed\na red car,\na red zeppelin,\na cat,x\n")
    with pytest.raises(Mistake, match="2 of 3 rows"):
        batch.main([str(tmp_path / "list.csv"), "--out", str(tmp_path / "lib")])
    said = capsys.readouterr().err
    assert "list.csv:3: " in said and "list.csv:4: " in said and not (tmp_path / "lib").exists()


@pytest.mark.parametrize("words", ["list.csv --workers 0", "list.csv --only ", "list.csv --out ", "list.csv other", "no.csv",
                                   "list.csv --executor dask"])  # fmt: skip
def test_commands_that_cannot_be(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("prompt\na red car\n")
    with pytest.raises(Mistake):
        batch.main(words.split(" "))
