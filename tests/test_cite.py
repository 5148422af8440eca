"""Papers: every arXiv id that the documentation names has a sound entry; `cite` prints those of the parts used and no others."""

import re
from pathlib import Path

import pytest

from dream3d import __version__, bibliography, build, catalogue, cli, config

ROOT = Path(config.__file__).parent
SOURCES = [*ROOT.rglob("*.py"), *(path for folder in ("guidance", "renderers", "systems") for path in build.place(folder).rglob("*.py"))]


def ids(text: str) -> set[str]:
    return set(re.findall(r"eprint = \{([\d.]+)\}", text))


def cited(capsys, *words: str) -> set[str]:
    assert cli.main(["cite", *words]) == 0
    out = capsys.readouterr().out
    assert out.count("@software{dream3d,") == 1 and out.startswith("% this software\n@software{dream3d,")
    assert out.count("\n@misc{") == len(ids(out)) == out.count("\n% ")
    return ids(out)


def test_every_paper_that_is_named_has_an_entry():
    named = {found: path.name for path in SOURCES for text in bibliography.docstrings(path) for found in catalogue.papers(text)}
    named |= {found: path.name for path in build.place("configs").glob("*.yaml") for found in catalogue.papers(path.read_text())}
    assert len(named) > 15
    assert not {found: where for found, where in named.items() if found not in bibliography.papers()}


@pytest.mark.parametrize("paper", bibliography.papers().values(), ids=lambda paper: paper.key)
def test_entries_are_sound(paper):
    fields = paper.fields
    assert {"title", "author", "year"} <= fields.keys() and all(fields.values())
    assert paper.text.count("{") == paper.text.count("}") and not re.search(r"[^\x20-\x7e\n]", paper.text)
    if paper.key == bibliography.OWN:
        assert fields["version"] == __version__
    else:
        assert fields["url"] == f"https://arxiv.org/abs/{fields['eprint']}" and fields["archiveprefix"] == "arXiv"
        assert fields["year"] == f"20{fields['eprint'][:2]}"
        assert paper.key.startswith(re.sub(r"\W", "", fields["author"].split(" and ")[0].split()[-1].lower())[:3]) or "Rota" in paper.text


def test_keys_and_papers_are_there_once():
    text = (build.place("assets") / "papers.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{(.+),$", text, re.MULTILINE)
    assert len(keys) == len(set(keys)) == len(bibliography.papers())


@pytest.mark.parametrize("text", ["@misc{a,\n  title = {x\n}", "@misc{a, title = {x}}", "@misc{a,\n  title = {{x}\n}", "misc"])
def test_a_damaged_entry_is_refused(text):
    with pytest.raises(ValueError, match="BibTeX"):
        bibliography._parse(text)


GAUSSIANS = {"2308.04079", "2309.16653", "2409.06765", "2311.16493", "2404.06109", "2404.09591", "2309.16585", "2311.17061"}
EXACT, ADAM, SDS = {"2206.00364", "2112.10752"}, {"1412.6980"}, {"2209.14988", "2305.08891"}


def test_exactly_the_parts_used_are_cited(capsys):
    assert cited(capsys) == set()
    assert cited(capsys, "sds") == SDS and cited(capsys, "renderers/plane") == set() and cited(capsys, "adam") == ADAM
    assert cited(capsys, "gaussians") == GAUSSIANS and cited(capsys, "exact", "sds") == EXACT | SDS
    assert cited(capsys, "sds-gaussian") == GAUSSIANS | EXACT | ADAM | SDS == cited(capsys, "--config", "sds-gaussian.yaml")
    assert cited(capsys, "sds-plane") == EXACT | ADAM | SDS


SWITCHED = {"clip=0.1": "2310.12474", "guidance.clamp=1": "2303.15413", "guidance.sees=grid": "2401.16764",
            "guidance.sees={rgb: 1, rgb+depth: 1}": "2311.17061", "stages=[{}, {clip: {rgb: 1}}]": "2310.12474"}  # fmt: skip


@pytest.mark.parametrize("override", SWITCHED)
def test_what_a_setting_switches_on_is_cited_with_a_run_that_uses_it(override, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(config.load("sds-plane", [override]).text())
    assert cited(capsys, str(tmp_path)) == {SWITCHED[override]} | EXACT | ADAM | SDS
    assert cited(capsys, str(tmp_path / "config.yaml"), "sds") == {SWITCHED[override]} | EXACT | ADAM | SDS


def test_each_entry_says_which_parts_owe_it(capsys):
    cli.main(["cite", "sds-gaussian", "gaussians"])
    out = capsys.readouterr().out
    assert "% renderers/gaussians\n@misc{kerbl2023gaussians," in out and "% guidance/sds\n@misc{poole2022dreamfusion," in out


def test_a_paper_in_one_line():
    assert bibliography.line("2209.14988") == "arXiv:2209.14988  DreamFusion: Text-to-3D using 2D Diffusion (Poole et al., 2022)"
    assert bibliography.line("1412.6980").endswith("(Kingma and Ba, 2014)") and bibliography.line("0000.00000") == "arXiv:0000.00000"
