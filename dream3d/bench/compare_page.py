"""compare.html: the grid of turntables that turn together, and the table of scores, on one page that needs no network."""

import base64
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from dream3d.bench.compare_summary import ENOUGH, Measure, best, differs, most, shown, texts
from dream3d.bench.compare_summary import value as measured
from dream3d.export import page as web
from dream3d.export.page import Markup, join, section, tag

REPORT = Path("export") / "report.html"


def write(out: Path, summary: dict[str, Any], records: list[dict]) -> Path:
    """Write <out>/compare.html; turntables and runs lie in `out`, and what is not there is left out."""
    script = web.script("compare.js")
    body = (_head(summary), _bar(summary["seeds"]), _grid(summary, records, out), _scores(summary), _methods(summary), _columns(summary),
            _again(summary))  # fmt: skip
    parts = {
        "policy": web.text(web.policy(script)),
        "version": summary["version"],
        "title": web.text(_title(summary)),
        "style": web.web("report.css") + web.web("compare.css"),
        "body": join(*body),
        "turntables": json.dumps(dict(_turntables(records, out))).replace("<", "\\u003c"),
        "script": script,
    }
    return web.write(out / "compare.html", web.web("compare.html"), parts)


def _turntables(records: list[dict], out: Path) -> Iterator[tuple[str, str]]:
    """Runs and their pictures in base64."""
    for record in records:
        path = out / "turntables" / f"{record['name']}.jpg"
        if record["state"] == "done" and path.is_file():
            yield record["name"], base64.b64encode(path.read_bytes()).decode()


def _title(summary: dict) -> str:
    return ", ".join(method["name"] for method in summary["methods"])


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _head(summary: dict) -> Markup:
    planned, done, failed = (sum(method[key] for method in summary["methods"]) for key in ("planned", "done", "failed"))
    words = [f"prior {' or '.join(summary['priors'])}", *([f"base {summary['base']}"] if summary["base"] else []),
             f"{' or '.join(map(str, summary['steps']))} steps",
             *(_many(len(summary[f"{what}s"]), what) for what in ("prompt", "seed"))]  # fmt: skip
    state = f"{done} of {planned} runs" if done + failed < planned else _many(done, "run")
    chips = [*(tag("span", text, class_="chip") for text in words),
             tag("span", state, class_=f"chip {'done' if done == planned else 'running'}"),
             *([tag("span", f"{failed} failed", class_="chip failed")] if failed else [])]  # fmt: skip
    title = tag("h1", _title(summary), class_="long" if len(_title(summary)) > 60 else None)
    return tag("header", tag("p", f"dream3d {summary['version']}: a comparison", class_="brow"), title, tag("p", *chips, class_="chips"))


def _bar(seeds: list[int]) -> Markup:
    turn = tag("button", "Stop", type="button", id="turn")
    angle = tag("input", type="range", id="angle", min=0, max=11, step=1, value=1, aria_label="Where all are seen from")
    chosen = [tag("button", seed, type="button", data_seed=seed, aria_pressed=str(seed == seeds[0]).lower()) for seed in seeds]
    several = [tag("span", "seed ", *chosen, class_="seeds", role="group", aria_label="Seed")] if len(seeds) > 1 else []
    return tag("div", turn, tag("label", angle), tag("output", "30\u00b0", id="degrees"), *several, class_="bar")


def _grid(summary: dict, records: list[dict], out: Path) -> Markup:
    by = {(r["method"], r["prompt"], r["seed"]): r for r in records}
    head = tag("tr", tag("td"), *(tag("th", tag("span", prompt, title=prompt), scope="col") for prompt in summary["prompts"]))
    rows = [tag("tr", tag("th", method["name"], scope="row"),
                *(tag("td", *(_cell(by.get((method["name"], prompt, seed)), seed, seed != summary["seeds"][0], out)
                              for seed in summary["seeds"])) for prompt in summary["prompts"]))
            for method in summary["methods"]]  # fmt: skip
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows), class_="cells"), class_="wide tall", tabindex=0,
               role="region", aria_label="Turntables")  # fmt: skip


def _cell(record: dict | None, seed: int, hidden: bool, out: Path) -> Markup:
    more = {"class_": "run", "data_seed": seed, "hidden": True if hidden else None}
    if record is None:
        return tag("div", tag("p", "not yet", class_="none"), **more)
    link = (out / "runs" / record["name"] / REPORT).is_file()
    where = {"href": f"runs/{quote(record['name'])}/{REPORT.as_posix()}", "title": "the run's report"} if link else {}
    if record["state"] != "done":
        return tag("a" if link else "div", tag("p", tag("b", "failed"), " ", record["reason"], class_="none failed"), **more, **where)
    words = f"{record['prompt']}, seed {seed}, turning"
    short = f"{measured(record, 'score.recognised'):.0%} \u00b7 IoU {measured(record, 'score.iou'):.2f}"
    fronts = measured(record, "score.janus")
    short += f" \u00b7 {fronts} fronts" if fronts is not None and fronts != 1 else ""
    if not (out / "turntables" / f"{record['name']}.jpg").is_file():
        picture = tag("p", "its picture is missing", class_="none")
    else:
        picture = tag("i", role="img", aria_label=words, data_run=record["name"])
    return tag("a" if link else "div", picture, tag("small", short), **more, **where)


def _scores(summary: dict) -> Markup:
    columns = shown(summary)
    tops = {m.key: best(summary, m) for m in columns}
    heads = [("method", None, None), ("runs", None, "finished, of those there shall be"), *((m.title, _arrow(m), m.what) for m in columns)]
    head = tag("tr", *(tag("th", tag("button", text, arrow, type="button"), scope="col", title=what) for text, arrow, what in heads))
    rows = [tag("tr", tag("th", method["name"], scope="row", data_value=method["name"]),
                tag("td", f"{method['done']}/{method['planned']}", data_value=method["done"]),
                *(_score(m, method["measures"][m.key], method["name"] in tops[m.key], most(summary, m)) for m in columns))
            for method in summary["methods"]]  # fmt: skip
    sure = f"\u25b2 and \u25bc: the paired difference from {summary['methods'][0]['name']} has an interval without 0."
    unsure = f"With fewer than {ENOUGH} prompts intervals are too narrow, and differences are not marked."
    note = ("Means over prompts of means over seeds; below, 95 % intervals (cluster bootstrap: prompts, then seeds within). "
            "Bold is best of those that lack no run (fronts and saturation: run by run nearest to 1). "
            f"{unsure if len(summary['prompts']) < ENOUGH else sure} A heading sorts.")  # fmt: skip
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="scores")
    wide = tag("div", table, class_="wide", tabindex=0, role="region", aria_label="Scores")
    return section("Scores", tag("p", note, class_="quiet"), wide)


def _arrow(measure: Measure) -> Markup | None:
    return {"high": tag("span", "\u2191", title="more is better"), "low": tag("span", "\u2193", title="less is better")}.get(
        measure.good if isinstance(measure.good, str) else "")  # fmt: skip


def _score(measure: Measure, found: dict | None, top: bool, whole: int) -> Markup:
    mean, ends = texts(measure, found)
    if found is None:
        return tag("td", mean)
    few = tag("small", f"of {_many(found['runs'], 'run')}, others {whole}") if found["runs"] < whole else None
    bold = tag("b", mean) if top else mean
    return tag("td", bold, _mark(measure, found), tag("small", ends) if ends else None, few, data_value=f"{found['mean']:.9g}")


def _mark(measure: Measure, found: dict) -> Markup | None:
    """More or less than the first method, where that is sure."""
    if not differs(found):
        return None
    against = found["against"]
    more, good = against["mean"] > 0, {"high": True, "low": False}.get(measure.good if isinstance(measure.good, str) else "")
    kind = "mark-none" if good is None else "mark-good" if more == good else "mark-bad"
    plus = "+" if more else ""
    words = f"{plus}{against['mean']:.3g} against the first method ({against['low']:.3g} to {against['high']:.3g})"
    return tag("span", "\u25b2" if more else "\u25bc", class_=kind, title=words)


def _methods(summary: dict) -> Markup:
    rows = []
    for method in summary["methods"]:
        said = yaml.safe_dump(method["guidance"], default_flow_style=True, sort_keys=False, width=1 << 20).strip()
        notes = [tag("p", "Its own recipe has ", note, " here.", class_="quiet") for note in method["notes"]]
        notes += [tag("p", "It has ", note, ".", class_="quiet") for note in method["unlike"]]
        rows.append(tag("details", tag("summary", tag("b", method["name"]), f" from {method['recipe']}"), tag("pre", said), *notes))
    return section("Methods", *rows)


def _columns(summary: dict) -> Markup:
    rows = (join(tag("dt", m.title), tag("dd", m.what)) for m in shown(summary))
    return section("What the columns mean", tag("dl", *rows, class_="means"))


def _again(summary: dict) -> Markup:
    command = shlex.join(["python", "launch.py", "compare", *summary["command"]])
    files = [tag("a", tag("b", f"compare.{kind}"), href=f"compare.{kind}") for kind in ("json", "csv", "tex")]
    return section("The same again", tag("pre", command, class_="again"), tag("nav", *files, class_="files"))
