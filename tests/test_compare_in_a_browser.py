"""compare.html in a real browser, from file://: it opens at once, turns all together, sorts, and fits a phone."""

import re
import time

import browser
import numpy as np
import pytest
from compare_records import failed, written

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.executable(), reason="no Chromium here: apt install chromium"),
]
METHODS = ["sds", "vsd", "csd", "esd", "ism", "asd", "cds", "nfsd", "sdi", "tsm", "bsd", "sjc"]
PROMPTS = ["a red ball", "a brown castle", "a striped green cone next to a yellow cylinder", "a white rocket", "a blue mug", "a cat"]
READY = "document.documentElement.dataset.state === 'ready'"
DRAWN = "document.querySelectorAll('i[data-drawn]').length"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    found = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """12 methods, 6 prompts, 3 seeds; one run has failed, one is still to come."""

    def spoil(one):
        if one.method == "sdi" and one.prompt == "a red ball" and one.seed == 0:
            return failed(one, "the run diverged: 10 steps in a row had non-finite gradients (step 120)")
        return False if one.method == "sjc" and one.prompt == "a cat" and one.seed == 0 else None

    return written(tmp_path_factory.mktemp("grid"), METHODS, PROMPTS, 3, spoil)[0]


def click(chromium, where: str) -> None:
    chromium.ask(f"document.querySelector({where!r}).click()")


def names(chromium) -> list[str]:
    return chromium.ask("[...document.querySelectorAll('.scores tbody th')].map((head) => head.textContent)")


def test_the_report_of_a_large_grid_opens_in_three_seconds_and_draws_only_what_is_seen(chromium, page):
    chromium.open(page)  # the browser itself has started
    began = time.monotonic()
    chromium.open(page, size=(1280, 900))
    chromium.wait(READY)
    chromium.wait(f"{DRAWN} > 0")
    assert time.monotonic() - began < 3 and not chromium.complaints
    assert chromium.ask("document.querySelectorAll('i[data-run]').length") == 214
    assert chromium.ask(DRAWN) <= 72 and all(re.match("file:|data:", url) for url in chromium.requests)


def test_all_turn_together_and_seeds_are_switched(chromium, page):
    chromium.open(page, size=(1280, 900))
    chromium.wait(f"{READY} && {DRAWN} > 0")
    before = chromium.ask("document.getElementById('angle').value")
    chromium.wait(f"document.getElementById('angle').value !== '{before}'")
    click(chromium, "#turn")
    chromium.ask("{const a = document.getElementById('angle'); a.value = 10; a.dispatchEvent(new Event('input'))}")
    assert chromium.ask("document.getElementById('degrees').textContent") == "300\u00b0"
    row = "[...document.querySelectorAll('.cells tbody tr:first-child .run:not([hidden]) i')]"
    assert len(set(chromium.ask(f"{row}.map((i) => getComputedStyle(i).backgroundPosition)"))) == 1
    seen = chromium.picture().astype(float)
    box = chromium.ask(f"(() => {{const b = {row}[0].getBoundingClientRect(); return [b.left, b.top, b.width]}})()")
    middle = seen[int(box[1] + box[2] / 2) - 8 :, int(box[0] + box[2] / 2) - 8 :][:16, :16].mean((0, 1))
    assert np.abs(middle - [200, 120, 60]).max() < 12, "the colour of frame 10"
    click(chromium, ".seeds [data-seed='2']")
    shown = "[...new Set([...document.querySelectorAll('.run:not([hidden])')].map((run) => run.dataset.seed))].join()"
    assert chromium.ask(shown) == "2"
    chromium.wait(f"{row}[0].dataset.drawn === ''")


def test_headings_sort_and_what_is_missing_says_why(chromium, page):
    chromium.open(page, size=(1280, 900))
    chromium.wait(READY)
    assert names(chromium) == METHODS
    click(chromium, ".scores thead th:nth-child(4) button")
    values = "[...document.querySelectorAll('.scores tbody td:nth-child(4)')].map((cell) => Number(cell.dataset.value))"
    assert chromium.ask(values) == sorted(chromium.ask(values), reverse=True)
    click(chromium, ".scores thead th:nth-child(4) button")
    assert chromium.ask(values) == sorted(chromium.ask(values))
    click(chromium, ".scores thead th:first-child button")
    assert names(chromium) == sorted(METHODS)
    assert chromium.ask("document.querySelector('.scores thead th').getAttribute('aria-sort')") == "ascending"
    assert "the run diverged" in chromium.ask("document.querySelector('.failed.none').textContent")
    assert chromium.ask("[...document.querySelectorAll('.run:not([hidden]) .none')].map((p) => p.textContent).join()").endswith("not yet")


def test_long_prompts_and_reasons_leave_room(chromium, tmp_path):
    """A prompt takes six lines at most; a reason begins where it can be read, and scrolls."""
    prompt = "a striped green cone next to a yellow cylinder " * 8
    page, _ = written(tmp_path, ["sds", "sdi"], [prompt, "a cat"], 1, lambda one: failed(one, "x " * 400) if one.method == "sdi" else None)
    chromium.open(page, size=(1280, 900))
    chromium.wait(READY)
    assert chromium.ask("document.querySelector('.cells thead').getBoundingClientRect().height") < 140
    top = "document.querySelector('.failed.none{}').getBoundingClientRect().top"
    assert chromium.ask(f"{top.format(' b')} - {top.format('')}") > 0


@pytest.mark.parametrize("scheme, dark", [("light", False), ("dark", True)])
def test_it_fits_a_phone_in_both_colour_schemes(chromium, page, scheme, dark):
    chromium.open(page, size=(390, 844), scheme=scheme)
    chromium.wait(f"{READY} && {DRAWN} > 0")
    assert chromium.ask("document.documentElement.scrollWidth") == 390 and not chromium.complaints
    assert (np.median(chromium.picture()) < 60) == dark
    for table in (".cells", ".scores"):
        chromium.ask(f"document.querySelector('{table}').parentElement.scrollLeft = 200")
        left = f"document.querySelector('{table} tbody th').getBoundingClientRect().left"
        edge = f"document.querySelector('{table}').parentElement.getBoundingClientRect().left"
        assert abs(chromium.ask(f"{left} - {edge}")) <= 1, "the first column stays"
