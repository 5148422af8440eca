"""What the pages say of the catalogue is true of it."""

import re

from dream3d import build


def test_every_formula_is_on_a_page_of_proofs_and_every_link_leads_somewhere():
    docs = build.place("docs")
    text = (docs / "theory.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[a-z_]+", text.split("|---|---|")[1].split("\n\n")[0]))
    assert set(build.available("guidance")) <= named
    links = re.findall(r"\]\((theory/[a-z-]+\.md)\)", text)
    assert links and all((docs / link).is_file() for link in links)
    pages = "".join((docs / link).read_text(encoding="utf-8").lower() for link in links)
    missing = [name for name in build.available("guidance") if name not in pages and name.replace("_", "-") not in pages]
    assert not missing


def test_every_formula_has_a_recipe():
    recipes = {path.stem.partition("-")[0] for path in build.place("configs").glob("*.yaml")}
    assert set(build.available("guidance")) <= recipes
