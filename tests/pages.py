"""Strict reading of the pages that a run ends with, and a run to make them of."""

import base64
import hashlib
import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import torch
from PIL import Image

from dream3d import config
from dream3d.export.glb import write_glb
from dream3d.export.splat import write_ply
from dream3d.types import Mesh, Points

EVIL = """</title></script><script>alert(1)</script>"'><img src=x onerror=alert(1)> {{bundle}} <!-- ]]> \u202e \U0001f697 &amp;"""
VOID = {"meta", "img", "input", "br", "source"}
PIECES = {"text/plain", "application/octet-stream"}  # types of script elements that no browser runs


class Page(HTMLParser):
    """Strict reading: every element closed in order, no attribute or id twice, no handler in an attribute."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert text.startswith("<!doctype html>\n") and not self.open, self.open
        ids = [a["id"] for _, a in self.elements if "id" in a]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs) and not [k for k, _ in attrs if k.startswith("on") or k == "style"], attrs
        self.elements.append((tag, dict(attrs)))
        self.text.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.text[tag][-1] += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data[:80]}")

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def scripts(self) -> list[tuple[dict, str]]:
        return list(zip(self.all("script"), self.text.get("script", []), strict=True))


def check(path: Path) -> Page:
    """A page is well formed, loads nothing, and its policy allows exactly the scripts that it runs."""
    page = Page(path.read_text(encoding="utf-8"))
    for tag, attributes in page.elements:
        for key in ("src", "href", "action", "poster", "data", "srcset", "xlink:href"):
            value = attributes.get(key, "data:")
            assert value.startswith("data:") or re.fullmatch(r"[\w-]+\.\w+", value), (tag, key, value[:80])
        assert tag not in ("link", "base", "iframe", "object", "embed", "form") or attributes == {"method": "dialog"}
    code = "\n".join(text for _, text in page.scripts()) + "\n".join(page.text["style"])
    assert not re.search(r"@import|url\(|\bimport\s*\(|importScripts|sendBeacon|new WebSocket|new EventSource", code)
    assert not re.search(r"""(fetch|open|src|href)\s*[=(]\s*["'`](https?:)?//""", code)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and not re.search(r"https?:|\*|unsafe-eval", policy)
    assert "script-src 'unsafe" not in policy and policy.count("'unsafe-inline'") == 1
    run = [text for attributes, text in page.scripts() if attributes.get("type") not in PIECES]
    run += [text for attributes, text in page.scripts() if attributes.get("id") == "bundle"]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run}
    assert hashes == set(re.findall(r"'sha256-[^']+'", policy)) and len(page.scripts()) <= 5
    return page


def blocks(page: Page) -> dict[str, bytes]:
    return {
        a["id"]: base64.b64decode(text) for a, text in page.scripts() if a.get("type") == "application/octet-stream"
    }


def prose(path: Path) -> str:
    """What a reader sees, without the code."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.S)
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


def finished(folder: Path) -> Path:
    """A finished run, written by hand: files as the framework writes them, numbers that a test can know."""
    (folder / "export").mkdir(parents=True)
    (folder / "previews").mkdir()
    found = config.load(
        "sds-gaussian", ["prompt=a red car", "steps=300", "guidance.scale=20", "penalties.opacity=0.1", f"out={folder}"]
    )
    (folder / "config.yaml").write_text(found.text(), encoding="utf-8")
    (folder / "command.txt").write_text(
        "/some/where/launch.py --config sds-gaussian.yaml 'prompt=a red car' --plugin my.sds\n"
    )
    environment = {"python": "3.11.7", "device": "cpu", "packages": {"torch": "2.13.0"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    status = {"state": "done", "step": 300, "reason": "", "started": 1.7e9, "updated": 1.7e9 + 64, "version": "0.1.0"}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "log.txt").write_text("10:00:00 stage 1 of 1\n10:01:04 done\n")
    write_metrics(folder, 300)
    for step in (0, 200, 300):
        Image.new("RGB", (60, 80), (step // 2, 0, 0)).save(folder / "previews" / f"step_{step:06d}.png")
    for name in ("thumbnail.png", "contact.png"):
        Image.new("RGB", (32, 32), (200, 30, 20)).save(folder / "export" / name)
    (folder / "export" / "turntable.mp4").write_bytes(bytes(range(256)) * 20)
    position = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    turn = torch.eye(4)[:1].expand(50, 4)
    points = Points(position, position.sigmoid(), position.exp(), turn, position[:, 0].sigmoid())
    write_ply(points, folder / "export" / "splats.ply")
    write_glb(Mesh(position[:4], torch.tensor([[0, 1, 2], [0, 2, 3]])), folder / "export" / "mesh.glb", {})
    return folder


def value(step: int) -> float:
    return 10 * math.exp(-step / 50) + 0.1 * (step % 7)


def write_metrics(folder: Path, count: int) -> None:
    lines = ({"step": i, "stage": int(i >= count // 2), "loss": value(i), "evaluations": 8.0} for i in range(count))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
