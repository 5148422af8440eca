"""Prompts and names that want to be code, or a path: in folders, configurations, pages, tables and files they are text."""

# ruff: noqa: F401, F811

import csv
import io
import json
import re
import struct
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from foreign_files import FACES, TETRA
from pages import EVIL, Page, check
from test_hostile import own, quickly

from dream3d import config
from dream3d.batch.page import write_gallery
from dream3d.batch.tables import table
from dream3d.commands import parser
from dream3d.errors import Mistake
from dream3d.export.formats import Ask, named
from dream3d.export.report import write_report
from dream3d.export.viewer import write_viewer
from dream3d.folder import Folder, slug
from dream3d.types import Mesh
from dream3d.ui import shown
from dream3d.ui.jobs import Job

PROMPTS = {
    "markup": EVIL, "an element": "<svg/onload=alert(1)>", "an entity": "&lt;script&gt;alert(1)&lt;/script&gt;",
    "a template": "{{data}}${x}<%= 1 %>",
    "end of comment": "--> ]]> */ </style></script>", "an attribute": "\" onmouseover=alert(1) x='",
    "a link": "javascript:alert(1)",
    "a formula": "=cmd|' /C calc'!A0", "plus": "+1+1", "minus": "-2+3", "at": "@SUM(A1)", "tab": "\t=1+1", "carriage": "\r=1+1",
    "lines": "a car\nv 9 9 9\nf 1 1 1\nmtllib /etc/passwd", "separators": "a\u2028b\u2029c\x85d",
    "control": "a\x07\x08\x1b[31mred\x1b[0m\x7f",
    "right to left": "a \u202egpj.exe\u202c \u2066x\u2069 \u200f", "very long": "a red car " * 5000,
    "one long word": "\u00e9" * 50_000,
    "CON": "CON", "NUL": "NUL.txt", "COM1": "com1", "dots": "..", "up": "../../../etc/passwd", "a drive": "C:\\Windows\\x",
    "trailing": "car. . .",
    "hidden": ".ssh", "yaml": "a: [b, *c, &d", "formatting": "%s%n {0} {x!r}", "emoji": "\U0001f697\ufe0f\u200d",
    "combining": "e" + "\u0301" * 500,
}  # fmt: skip
RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(10))}


@pytest.mark.parametrize("name", PROMPTS)
def test_folders_are_named_safely(name, own, monkeypatch):
    monkeypatch.chdir(own)
    for text in (PROMPTS[name], [PROMPTS[name]] * 3):
        made = quickly(own, lambda text=text: slug(text))
        assert re.fullmatch(r"[a-z0-9](-?[a-z0-9]){0,47}-?", made) and made.rstrip("-") and made not in RESERVED
    values = {"out": None, "name": PROMPTS[name], "prompt": PROMPTS[name]}
    place = quickly(own, lambda: Folder.place(config.Config(values)))
    assert len(place.parts) == 3 and place.parts[0] == "runs" and not RESERVED & set(place.parts) and max(map(len, place.parts)) < 80


@pytest.mark.parametrize("name", PROMPTS)
def test_configurations_hold_prompts_as_they_are(name, own):
    prompt = PROMPTS[name]
    text = quickly(own, lambda: config.load("sds-gaussian", settings={"prompt": prompt}).text())
    if isinstance(text, Mistake):
        assert not prompt.strip() or len(prompt) > 10_000
        return
    assert yaml.safe_load(text)["prompt"] == prompt
    (own / "config.yaml").write_text(text, encoding="utf-8")
    assert len(text) > (1 << 20) or parser.stored(own).values["prompt"] == prompt


def tame(prompt: str) -> str:
    """As HTML can hold it."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", prompt)


def scripts(page: str) -> int:
    return len(re.findall(r"<script\b", page))


@pytest.mark.parametrize("name", PROMPTS)
def test_pages_show_prompts_as_text(name, own):
    prompt = PROMPTS[name]
    made = quickly(own, lambda: write_viewer(own / "viewer.html", splats=None, mesh=None, title=prompt)).read_text(encoding="utf-8")
    plain = write_viewer(own / "plain.html", splats=None, mesh=None, title="a red car").read_text(encoding="utf-8")
    assert scripts(made) == scripts(plain) and len(re.findall("<[a-z]", made)) == len(re.findall("<[a-z]", plain))
    record = {"name": prompt, "prompt": prompt, "category": prompt, "tags": [prompt], "files": {"viewer": prompt, "thumbnail": prompt}}
    page = quickly(own, lambda: write_gallery(own, [record], prompt)).read_text(encoding="utf-8")
    Page(page)
    assert scripts(page) == scripts(write_gallery(own, [], "").read_text(encoding="utf-8"))
    job = Job(1, prompt, [], own)
    job.said.append(prompt)
    for html in (quickly(own, lambda: shown.progress(job)), quickly(own, lambda: shown.queue([job]))):
        assert not re.search(r"<(?!/?(div|h3|p|pre|table|tr|td|th)\b)", html) and not re.search(r"<\w+ [^>]*on\w+=", html)


@pytest.mark.parametrize("name", [name for name in PROMPTS if "long" not in name])
def test_reports_show_prompts_as_text(name, own):
    values = {"prompt": PROMPTS[name], "negative": PROMPTS[name], "name": PROMPTS[name]}
    (own / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (own / "status.json").write_text(json.dumps({"state": "failed", "reason": PROMPTS[name], "step": 3}))
    page = check(quickly(own, lambda: write_report(own)))
    assert page.text["h1"][0].split() == tame(PROMPTS[name]).split()


@pytest.mark.parametrize("name", PROMPTS)
def test_tables_hold_no_formulas(name, own):
    text = quickly(own, lambda: table([{"prompt": PROMPTS[name], "name": f" {PROMPTS[name]}"}], ("prompt", "name")))
    (_, cells) = csv.reader(io.StringIO(text, newline=""))
    assert cells[0].removeprefix("'") == PROMPTS[name] and not cells[0].startswith(("=", "+", "-", "@", "\t", "\r"))


SOLID = Mesh(torch.from_numpy(TETRA.copy()), torch.from_numpy(FACES.astype(np.int64)), rgb=torch.full((4, 3), 0.5))


def parts(path: Path) -> list:
    """What a file is made of besides its facts."""
    if path.suffix == ".glb":
        data = path.read_bytes()
        found = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
        return [sorted(found), len(found["meshes"]), len(found["nodes"])]
    if path.suffix == ".3mf":
        with zipfile.ZipFile(path) as archive:
            return [(name, [e.tag for e in ElementTree.fromstring(archive.read(name)).iter()]) for name in archive.namelist()
                    if name.endswith((".model", ".rels", ".xml"))]  # fmt: skip
    return [line for line in path.read_text(encoding="utf-8").split("\n") if not line.startswith("#")]


@pytest.mark.parametrize("kind", ["glb", "obj", "3mf"])
@pytest.mark.parametrize("name", PROMPTS)
def test_files_hold_prompts_as_facts_alone(name, kind, own):
    made, plain = own / f"a.{kind}", own / f"b.{kind}"
    quickly(own, lambda: named(kind).write(SOLID, made, Ask(facts={"prompt": PROMPTS[name], "seed": 1})))
    named(kind).write(SOLID, plain, Ask(facts={"prompt": "a red car", "seed": 1}))
    found, wanted = parts(made), parts(plain)
    assert found == (wanted if kind != "obj" else [line.replace(plain.stem, made.stem) if "mtllib" in line else line for line in wanted])


@pytest.mark.parametrize("out", ["..", ".", "../own", "sub/..", "../x/../own", ""])
def test_a_folder_with_other_things_is_no_run_folder(out, own, monkeypatch):
    monkeypatch.chdir(own)
    found = config.load("sds-gaussian", ["prompt=a red car", f"out={out}"])
    if out:
        assert isinstance(quickly(own, lambda: Folder(Folder.place(found), found)), Mistake)
    assert not (own / "config.yaml").exists() and not (own.parent / "config.yaml").exists() and not (own / ".lock").exists()


@pytest.mark.parametrize("name", ["..", ".", "", "/", "\0", "x" * 5000, "../own", "nul", "~root", "runs/../..", "-rf", "a\nb"])
def test_what_is_no_run_is_told(name, own, monkeypatch):
    monkeypatch.chdir(own)
    assert isinstance(quickly(own, lambda: parser.stored(Path(name))), Mistake)

