"""The page in a headless browser, from the prompt to the files, with a run that is stopped and continued; no request leaves the machine."""

import os
import time

import pytest
from browser import Browser, executable
from pages import EVIL
from test_run import QUICK
from test_ui import a_run
from test_ui_served import served

from dream3d.api import execute
from dream3d.folder import Folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(executable() is None, reason="no Chromium here")]
PATIENCE = 240.0  # seconds: a run compiles, on a machine that may be busy


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run, and one whose prompt is markup."""
    from dream3d import config

    made = tmp_path_factory.mktemp("ui")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        found = config.load("sds-gaussian", [*QUICK, "steps=4"])
        execute(Folder(Folder.place(found), found), quiet=True)
        a_run(made / "runs", "sds/evil", EVIL)
        (made / "runs/sds/evil/export/thumbnail.png").write_bytes(next(made.glob("runs/*/*/export/thumbnail.png")).read_bytes())
        yield made


@pytest.fixture(scope="module")
def chromium(place, tmp_path_factory):
    address, close = served(place)
    browser = Browser(tmp_path_factory.mktemp("profile"))
    browser.call("Emulation.setDeviceMetricsOverride", width=1400, height=1000, deviceScaleFactor=1, mobile=False)
    browser.call("Page.navigate", url=address)
    browser.address = address.rstrip("/")
    browser.wait("document.querySelector('#make') !== null", PATIENCE)
    yield browser
    browser.close()
    close()


@pytest.fixture(autouse=True)
def nothing_leaves(chromium):
    yield
    assert not [url for url in chromium.requests if not url.startswith((chromium.address, "data:", "blob:", "about:"))]
    assert not [words for words in chromium.complaints if "WebGPU" not in words and "adapters" not in words]  # then WebGL draws


def press(chromium, where: str) -> None:
    chromium.wait(f"document.querySelector('{where}') !== null", PATIENCE)
    chromium.ask(f"document.querySelector('{where}').click()")


def shows(chromium, where: str, words: str) -> None:
    """Whatever stands between the words: names of files are in two parts."""
    told = f"((document.querySelector('{where}') || {{}}).textContent || '').replace(/\\s/g, '')"
    chromium.wait(f"{told}.includes({''.join(words.split())!r})", PATIENCE)


def pictured(chromium, name: str) -> None:
    """A picture for the eye, where DREAM3D_PICTURES names a folder."""
    if folder := os.environ.get("DREAM3D_PICTURES"):
        from PIL import Image

        Image.fromarray(chromium.picture()).save(f"{folder}/{name}.png")


def test_a_run_is_made_watched_stopped_and_continued(chromium, place):
    press(chromium, "#make")
    shows(chromium, "#going", "of 800 steps")
    chromium.wait("document.querySelector('#going img') !== null && document.querySelector('#going img').naturalWidth > 0", PATIENCE)
    pictured(chromium, "going")
    press(chromium, "#stop")
    shows(chromium, "#queue", "stopped")
    (run,) = place.glob("runs/sds-gaussian/*-a-red-car-*")
    kept = max(path.name for path in (run / "checkpoints").glob("step_*"))
    press(chromium, "#continue")
    shows(chromium, "#queue", "running")
    end = time.monotonic() + PATIENCE
    while "continuing from step" not in (run / "log.txt").read_text():
        assert time.monotonic() < end
        time.sleep(0.5)
    assert f"continuing from step {int(kept[5:])}" in (run / "log.txt").read_text()
    press(chromium, "#stop")
    chromium.wait("document.querySelector('#queue').innerText.split('stopped').length === 3", PATIENCE)


def test_past_runs_are_shown_and_written_in_other_formats(chromium, place):
    chromium.ask("[...document.querySelectorAll('button[role=tab]')].find(tab => tab.innerText === 'Runs').click()")
    chromium.wait("document.querySelectorAll('#gallery img').length === 2", PATIENCE)
    assert chromium.ask("document.querySelector('#gallery').innerText.includes('<script>alert(1)')"), "a caption is text"
    pictured(chromium, "gallery")
    chromium.ask("[...document.querySelectorAll('#gallery button')].find(one => one.innerText.trim().startsWith('0 (done)')).click()")
    shows(chromium, "#facts", "done, 4 steps")
    shows(chromium, "#files", "splats.ply")
    chromium.wait("document.querySelector('#model canvas') !== null", PATIENCE)
    chromium.ask("document.querySelector('#model').scrollIntoView()")
    time.sleep(5)
    pictured(chromium, "chosen")
    (run,) = place.glob("runs/sds-gaussian/*-0-*")
    assert not (run / "export" / "mesh.obj").exists()
    chromium.ask("document.querySelector('#format input').dispatchEvent(new FocusEvent('focus'))")  # a window without focus hears none
    option = "document.querySelector('[role=option][aria-label=obj]')"
    chromium.wait(f"{option} !== null", PATIENCE)
    chromium.ask(f"{option}.dispatchEvent(new MouseEvent('mousedown', {{bubbles: true}}))")
    press(chromium, "#write")
    shows(chromium, "#said", "of the queue")
    end = time.monotonic() + PATIENCE
    while not (run / "export" / "mesh.obj").is_file():
        assert time.monotonic() < end
        time.sleep(0.5)
    chromium.wait("document.querySelector('#queue').textContent.includes('as obj')", PATIENCE)
    press(chromium, "#look")
    shows(chromium, "#files", "mesh.obj")
