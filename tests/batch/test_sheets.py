"""Contact sheets: what is on a page, and that only pages that changed are made; the command's words."""

import os

import numpy as np
import pytest
from PIL import Image

from dream3d.batch.sheets import GAP, LINE, SIDE, sheets
from dream3d.commands import batch
from dream3d.errors import Mistake


def record(folder, i, **more):
    path = folder / f"jobs/{i}/thumbnail.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (64, 64), (250, 10, 10, 255) if i % 2 else (10, 10, 250, 255)).save(path)
    return {"name": f"n{i}", "prompt": f"a red car {i}", "seed": i, "files": {"thumbnail": f"jobs/{i}/thumbnail.png"}} | more


def test_pages_show_pictures_in_order_and_only_changed_ones_are_made(tmp_path):
    rows, to = [record(tmp_path, i) for i in range(5)], tmp_path / "sheets"
    assert [(path.name, fresh) for path, fresh in sheets(tmp_path, rows, to, 2)] == [(f"sheet-000{n}.png", True) for n in (1, 2, 3)]
    assert not any(fresh for _, fresh in sheets(tmp_path, rows, to, 2))
    page = np.asarray(Image.open(to / "sheet-0001.png"))
    middle = GAP + LINE + SIDE // 2
    assert tuple(page[middle, GAP + SIDE // 2]) == (10, 10, 250) and tuple(page[middle, 2 * GAP + SIDE + SIDE // 2]) == (250, 10, 10)
    assert page[GAP + LINE + SIDE :, GAP : GAP + SIDE].min() < 100  # words below
    os.utime(tmp_path / "jobs/3/thumbnail.png", (1, 1))
    assert [fresh for _, fresh in sheets(tmp_path, rows, to, 2)] == [False, True, False]
    Image.new("RGB", (9, 9)).save(to / "sheet-0009.png")  # not ours
    assert [fresh for _, fresh in sheets(tmp_path, rows[:3], to, 2)][1:] == [True] and sorted(p.name for p in to.iterdir()) == [
        "sheet-0001.png", "sheet-0002.png", "sheet-0009.png"]  # fmt: skip


def test_a_page_changes_with_its_category_and_not_with_how_many_there_are(tmp_path):
    rows, to = [record(tmp_path, i) for i in range(5)], tmp_path / "sheets"
    list(sheets(tmp_path, rows[:2], to, 2))
    before = (to / "sheet-0001.png").read_bytes()
    assert [fresh for _, fresh in sheets(tmp_path, rows, to, 2)] == [False, True, True]
    list(sheets(tmp_path, rows, tmp_path / "all", 2))
    assert (tmp_path / "all" / "sheet-0001.png").read_bytes() == before  # nothing on it is of when it was made
    rows[3]["category"] = "cars"
    assert [fresh for _, fresh in sheets(tmp_path, rows, to, 2)] == [False, True, False]


HOSTILE = ["../x.png", "/etc/passwd", None, 3, "gone.png", "text.png", "huge.png"]


def test_what_is_no_picture_is_said_to_be_none(tmp_path):
    (tmp_path / "text.png").write_text("<svg>")
    Image.new("1", (5000, 10)).save(tmp_path / "huge.png")
    prompt = "\x1b[31m猫" + "x" * 5000
    rows = [{"name": f"n{i}", "prompt": prompt, "seed": None, "files": {"thumbnail": path}} for i, path in enumerate(HOSTILE)]
    ((path, fresh),) = sheets(tmp_path, [*rows, {"files": 3}], tmp_path / "s", 48)
    assert fresh and Image.open(path).size[0] == 8 * (SIDE + GAP) + GAP


@pytest.mark.parametrize("per", [0, -1, 401])
def test_a_page_holds_some(tmp_path, per):
    with pytest.raises(Mistake, match="a page of"):
        list(sheets(tmp_path, [record(tmp_path, 0)], tmp_path, per))


@pytest.mark.parametrize("word", ["status", "sheets", "blender", "push"])
def test_words_are_about_libraries_there_are(tmp_path, word):
    with pytest.raises(Mistake, match="no library"):
        batch.main([word, str(tmp_path), *(["memory://x"] if word == "push" else [])])
