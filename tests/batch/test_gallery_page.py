"""gallery.html: what is in it, that nothing in it is a script or leads elsewhere; in a browser: thousands of assets at once."""

import json
import re
import time

import pytest
from PIL import Image

from dream3d.batch.page import write_gallery

HOSTILE = '</script><script>document.title = "pwned"</script><img src=x onerror=alert(1)>'


def record(i, **more):
    files = {"thumbnail": f"jobs/{i % 7}.png", "viewer": f"jobs/{i}/viewer.html"}
    return {"name": f"n{i}", "prompt": f"a red car {i}", "seed": i, "state": "done", "seconds": 10.0 + i % 13,
            "category": ("cars", "pets")[i % 2], "tags": ["toy"], "files": files,
            "metrics": {"recognition": (i * 7 % 100) / 100, "label": "x"}} | more  # fmt: skip


def read(path):
    text = path.read_text(encoding="utf-8")
    return text, json.loads(re.search(r'id="records">(.*?)</script>', text, re.DOTALL)[1])


def test_it_holds_what_people_look_for_and_nothing_else(tmp_path):
    failed = {"name": "f", "prompt": "a cat", "seed": 0, "state": "failed", "reason": "it diverged"}
    _, data = read(write_gallery(tmp_path, [record(3), failed], "toys"))
    assert data["metrics"] == ["recognition", "seconds"]
    assert data["records"][0]["viewer"] == "jobs/3/viewer.html" and data["records"][0]["metrics"] == {"recognition": 0.21, "seconds": 13.0}
    assert data["records"][1]["reason"] == "it diverged" and "viewer" not in data["records"][1]


OUTSIDE = ["/etc/passwd", "../x.png", "a/../../x", "javascript:alert(1)", "file:///x", "\\\\host\\x", "C:\\x", 3, None]


@pytest.mark.parametrize("path", OUTSIDE)
def test_links_stay_in_the_library(tmp_path, path):
    _, data = read(write_gallery(tmp_path, [record(0, files={"thumbnail": path, "viewer": path})], "toys"))
    assert not {"thumbnail", "viewer"} & set(data["records"][0])


def test_nothing_of_a_user_is_a_script(tmp_path):
    text, data = read(write_gallery(tmp_path, [record(0, prompt=HOSTILE, tags=[HOSTILE], category=HOSTILE)], HOSTILE))
    assert text.count("<script") == 2 and "<img" not in text.partition("<script")[0] and data["records"][0]["prompt"] == HOSTILE
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src &#x27;none&#x27;" in policy and "unsafe-inline" not in policy.partition("style-src")[0]


@pytest.mark.slow
def test_five_thousand_are_there_in_two_seconds(tmp_path):
    browser = pytest.importorskip("browser")
    if not browser.executable():
        pytest.skip("no Chromium here: apt install chromium")
    (tmp_path / "jobs").mkdir()
    for i in range(7):
        Image.new("RGB", (256, 256), (30 * i, 80, 200)).save(tmp_path / "jobs" / f"{i}.png")
    page = write_gallery(tmp_path, [record(i) for i in range(5000)] + [record(5000, prompt=HOSTILE, state="failed", reason="x")], "toys")
    ready, cards = "document.documentElement.dataset.state === 'ready'", "document.querySelectorAll('#grid > *').length"
    chromium = browser.Browser(tmp_path / "profile")
    try:
        chromium.open(page)  # the browser itself has started
        began = time.monotonic()
        chromium.open(page, size=(1280, 900))
        chromium.wait(ready)
        chromium.wait("[...document.querySelectorAll('#grid img')].some((picture) => picture.complete && picture.naturalWidth)")
        seconds = time.monotonic() - began
        assert seconds < 2 and not chromium.complaints, (seconds, chromium.complaints)
        assert 20 < chromium.ask(cards) < 120 and chromium.ask("document.title").endswith("dream3d library")
        chromium.ask("scrollTo(0, document.body.scrollHeight / 2)")
        chromium.wait(f"{cards} > 20 && [...document.querySelectorAll('#grid b')].some((name) => /car 2[456]/.test(name.textContent))")
        chromium.ask("(at => { at.value = 'car 4999'; at.dispatchEvent(new Event('input')); })(document.getElementById('words'))")
        assert chromium.ask("document.getElementById('count').textContent") == "1 of 5001" and chromium.ask(cards) == 1
        chromium.ask("(at => { at.value = ''; at.dispatchEvent(new Event('input')); })(document.getElementById('words'))")
        chromium.ask("(at => { at.value = 'metric:recognition'; at.dispatchEvent(new Event('change')); })(document.getElementById('key'))")
        chromium.ask("document.getElementById('way').click()")
        assert chromium.ask("document.querySelector('#grid small').textContent") == "recognition 0.99"
        chromium.ask("(at => { at.value = 'state:failed'; at.dispatchEvent(new Event('change')); })(document.getElementById('group'))")
        assert chromium.ask(cards) == 1 and chromium.ask("document.querySelectorAll('#grid script, #grid b img').length") == 0
        assert all(url.startswith(("file:", "data:")) for url in chromium.requests)
    finally:
        chromium.close()
