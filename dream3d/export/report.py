"""report.html: a run on one offline page. It is made from the run's folder alone, whatever state that is in."""

import ast
import io
import re
import shlex
import time
from pathlib import Path
from typing import Any

from dream3d import __version__, build, config
from dream3d.errors import Mistake
from dream3d.export import curves, page, record
from dream3d.export.page import Markup, join, tag
from dream3d.export.record import Record

VIDEO, ASSET = 5 << 20, 32 << 20  # bytes up to which the turntable, and splats with mesh, are inside the page
FRAMES, WIDTH = 24, 480  # previews shown, and their width in pixels
PIXELS = 1 << 24  # of a picture that is opened at all
STATES = {"done": "done", "failed": "failed", "interrupted": "interrupted", "running": "running"}
UNKNOWN = object()


def write_report(run: Path, *, status: dict[str, Any] | None = None) -> Path:
    """Write <run>/export/report.html and return it. `status` stands in for status.json where that is about to be written.
    Raises Mistake where `run` is no run folder and where the disk is full; damaged files are shown as missing."""
    found = record.read(run)
    found.status.update(status or {})
    embedded = {kind: found.exports[kind] for kind in ("splats", "mesh") if kind in found.exports}
    if sum(path.stat().st_size for path in embedded.values()) > ASSET:
        embedded = {}
    bundle, own = page.script("viewer.js") if embedded else "", page.script("report.js")
    prompt = _prompt(found)
    parts = {
        "policy": page.text(page.policy(bundle, own)),
        "version": __version__,
        "title": page.text(prompt[:200]),
        "style": page.web("viewer.css") + page.web("report.css"),
        "body": join(*(section for section in (_head(found, prompt), _hero(found, embedded), 
                                               tag("div", _progress(found), _curves(found), class_="went"),
                                               _reproduce(found), _settings(found), _parts(found), _log(found)))),  # fmt: skip
        "licences": page.text(page.web("LICENSES.txt")),
        "data": page.blocks(embedded),
        "bundle": bundle,
        "script": own,
    }
    return page.write(found.path / "export" / "report.html", page.web("report.html"), parts)


# --- the top ----------------------------------------------------------------------------------------------------------------------


def _prompt(found: Record) -> str:
    prompt = found.values.get("prompt", "")
    return " / ".join(map(str, prompt)) if isinstance(prompt, list) else str(prompt)


def _head(found: Record, prompt: str) -> Markup:
    status = found.status
    state = STATES.get(status.get("state"), "unknown")
    chips = [tag("span", state, class_=f"chip {state}")]
    for name in ("name", "seed"):
        if name in found.values:
            chips.append(tag("span", f"{'recipe' if name == 'name' else name} {found.values[name]}", class_="chip"))
    total = found.values.get("steps")
    if isinstance(status.get("step"), int):
        chips.append(tag("span", f"{status['step']:,}{f' of {total:,}' if isinstance(total, int) else ''} steps", class_="chip"))
    if (seconds := _seconds(status)) is not None:
        chips.append(tag("span", _duration(seconds), class_="chip", title="from the first start to the last file"))
    if "device" in found.environment:
        chips.append(tag("span", f"on {found.environment['device']}", class_="chip"))
    return tag("header", tag("p", f"dream3d {status.get('version', __version__)}", class_="brow"),
               tag("h1", prompt or "(no prompt)", class_="long" if len(prompt) > 90 else None),
               tag("p", *chips, class_="chips"), _trouble(found, state))  # fmt: skip


def _trouble(found: Record, state: str) -> Markup | None:
    """What went wrong and what to do, where the run is not done."""
    if state == "done":
        return None
    reason = str(found.status.get("reason") or "").strip() or "status.json does not say why."
    words = {"failed": "This run failed.", "interrupted": "This run was interrupted.", "running": "This run has not ended."}
    plugins = "".join(f" --plugin {shlex.quote(word)}" for word in _plugins(found.command))
    again = f"python launch.py resume {shlex.quote(found.path.name)}{plugins}"
    return tag("div", tag("b", words.get(state, "The state of this run is unknown.")), tag("pre", reason),
               tag("p", "It continues from its newest checkpoint with"), _command(again), class_=f"trouble {state}")  # fmt: skip


def _seconds(status: dict) -> float | None:
    times = [status.get(key) for key in ("started", "updated")]
    return times[1] - times[0] if all(isinstance(t, int | float) for t in times) and times[1] >= times[0] else None


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _hero(found: Record, embedded: dict[str, Path]) -> Markup:
    """The asset to turn, the turntable, the files, the views around it."""
    poster = _picture(found.exports.get("thumbnail"), "A view of the asset")
    if embedded:
        start = tag("button", "View in 3D", type="button", class_="start", id="start")
    else:
        start = tag("p", "There is no asset to turn yet." if not found.exports else "The asset is shown by viewer.html.", class_="quiet")
    video, contact = _video(found.exports.get("turntable")), _picture(found.exports.get("contact"), "Six views around the asset")
    side = tag("figure", video, tag("figcaption", "Turntable")) if video else None
    stage = tag("div", tag("div", poster, start, class_="poster"), class_="viewer", id="viewer")
    sheet = tag("figure", contact, tag("figcaption", "Around the asset, from the front on"), class_="sheet") if contact else None
    return join(tag("section", stage, tag("div", side, sheet, class_="side"), class_="hero"), _files(found))


def _files(found: Record) -> Markup:
    """Links to what is there, and the names of what is not."""
    rows = [tag("a", tag("b", path.name), tag("span", _size(path.stat().st_size)), href=path.name) for path in found.exports.values()]
    missing = [name for kind, name in record.EXPORTS.items() if kind not in found.exports]
    settings = found.values.get("export")
    off = isinstance(settings, dict) and settings.get("mesh") is False
    reasons = [f"{name} (export.mesh is false)" if name == "mesh.glb" and off else name for name in missing]
    note = tag("p", "Not there: ", ", ".join(reasons), class_="quiet missing") if missing else None
    return tag("section", tag("nav", *rows, class_="files") if rows else None, note)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"


def _video(path: Path | None) -> Markup | None:
    if path is None:
        return None
    source = page.data_uri("video/mp4", path.read_bytes()) if path.stat().st_size <= VIDEO else path.name
    return tag("video", src=source, autoplay=True, loop=True, muted=True, playsinline=True, controls=True, aria_label="Turntable")


def _picture(path: Path | None, words: str, *, width: int | None = None, **more: object) -> Markup | None:
    """A picture inside the page; as a JPEG of at most `width` where that is given. None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path or "") as image:
            if image.width * image.height > PIXELS:
                return None
            size, kind, data = image.size, "image/png", b""
            if width is not None:
                size = min(width, image.width), max(1, round(image.height * min(1, width / image.width)))
                small, buffer = image.convert("RGB").resize(size, Image.Resampling.BOX), io.BytesIO()
                small.save(buffer, "JPEG", quality=85)
                kind, data = "image/jpeg", buffer.getvalue()
            else:
                image.load()
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for damaged files
        return None
    return tag("img", src=page.data_uri(kind, data or path.read_bytes()), alt=words, width=size[0], height=size[1], **more)


# --- how it went ------------------------------------------------------------------------------------------------------------------


def _progress(found: Record) -> Markup | None:
    count = len(found.previews)
    chosen = sorted({round(i * (count - 1) / max(1, min(count, FRAMES) - 1)) for i in range(min(count, FRAMES))})
    frames = []
    for step, path in (found.previews[i] for i in chosen):
        picture = _picture(path, f"Preview at step {step}", width=WIDTH)
        if picture:
            frames.append(tag("figure", picture, tag("figcaption", f"step {step:,}"), data_step=step))
    if not frames:
        return None
    skipped = f" {len(frames)} of {count} previews." if len(frames) < count else ""
    words = f"Columns: the render, what the prior wants to see, the gradient between them (grey is none).{skipped}"
    slider = tag("input", type="range", min=0, max=len(frames) - 1, value=len(frames) - 1, aria_label="Step", hidden=True)
    return _section("Over time", tag("p", words, class_="quiet"), tag("div", slider, tag("div", *frames, class_="strip"), class_="frames"))


def _curves(found: Record) -> Markup | None:
    drawn, still = [], []
    for name, series in sorted(found.curves.items(), key=lambda item: not re.search("loss|gradient|norm", item[0])):
        moves = len(series.points) > 1 and any(p[1:] != (series.last,) * 3 for p in series.points)
        if moves:
            drawn.append(curves.figure(name, series, found.stages))
        else:
            still.append(f"{name} {curves.number(series.last)}")
    if not drawn and not still:
        return None
    constant = tag("p", "Constant: ", " \u00b7 ".join(still), class_="quiet") if still else None
    return _section("Curves", tag("div", *drawn, class_="curves"), constant)


def _section(title: str, *content: object) -> Markup:
    return tag("section", tag("h2", title), *content)


# --- how to do it again -----------------------------------------------------------------------------------------------------------


def _plugins(command: list[str]) -> list[str]:
    pairs = zip(command, command[1:], strict=False)
    return [b for a, b in pairs if a == "--plugin"] + [a.partition("=")[2] for a in command if a.startswith("--plugin=")]


def _command(words: str) -> Markup:
    return tag("div", tag("pre", tag("code", words)), tag("button", "Copy", type="button", class_="copy"), class_="command")


def _reproduce(found: Record) -> Markup:
    plugins = "".join(f" --plugin {shlex.quote(word)}" for word in _plugins(found.command))
    stored = found.path / "config.yaml"
    link = tag("a", "config.yaml", href=page.data_uri("text/yaml", stored.read_bytes()[: 1 << 20]), download="config.yaml")
    exact = tag("p", "The complete configuration, every default written out, is ", link, " (inside this page). On the CPU, with the "
                "versions below, splats.ply and mesh.glb come out byte for byte the same.")  # fmt: skip
    parts = [exact, _command(f"python launch.py --config config.yaml{plugins} out=again")]
    if found.command:
        program = re.split(r"[/\\]", found.command[0])[-1]
        words = (["python"] if program.endswith(".py") else []) + [program, *found.command[1:]]
        parts += [tag("p", "As it was started:"), _command(shlex.join(words))]
    return _section("Reproduce", *parts)


# --- what it was --------------------------------------------------------------------------------------------------------------------


def _settings(found: Record) -> Markup | None:
    """Every value by section; those that are not the default are marked and say what that is."""
    if not found.values:
        return _section("Settings", tag("p", "config.yaml cannot be read.", class_="quiet"))
    groups: dict[str, list] = {}
    for key, name, value in ((key, *leaf) for key, section in found.values.items() for leaf in _leaves(section)):
        default = _default(key, name, found.values[key])
        changed = default is not UNKNOWN and default != value
        note = tag("span", f"default {_written(default)}", class_="quiet") if changed else None
        cells = tag("th", name or key, scope="row"), tag("td", tag("code", _written(value)), note)
        groups.setdefault(key if name else "run", []).append(tag("tr", *cells, class_="changed" if changed else None))
    tables = [tag("table", tag("caption", key), *group) for key, group in groups.items()]
    legend = tag("p", tag("span", "Marked", class_="mark"), " values differ from the defaults of the parts they belong to.", class_="quiet")
    return _section("Settings", legend, tag("div", *tables, class_="tables"))


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """(path, value) below a section; the mapping of a schedule is one value."""
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        value = {str(i): v for i, v in enumerate(value)}
    if not isinstance(value, dict) or not value or path and "start" in value:
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{path}.{key}".strip("."))]


def _default(section: str, name: str, settings: Any) -> Any:
    """The default of one setting, by the classes that dream3d has now; UNKNOWN where there is none."""
    if section in ("prompt", "name", "out", "stages") or section not in config.DEFAULTS:
        return UNKNOWN
    index, _, rest = name.partition(".")
    if isinstance(settings, list) and index.isdigit():
        return _default(section, rest, settings[int(index)])
    try:
        if section in config.PLUGINS:
            kind = settings["type"]
            if name == "type":
                return config.DEFAULTS[section]["type"]
            known = build.signature(config.PLUGINS[section], kind).parameters
            known = {**build.term_parameters(), **known} if section == "guidance" else known
        elif section in build.OPTIONS:
            known = build.option_parameters(build.OPTIONS[section])
        else:
            return UNKNOWN if name else config.DEFAULTS[section]
        default = known[name][1]
    except (Mistake, KeyError, TypeError):
        return UNKNOWN
    return UNKNOWN if default is build.MISSING else config.plain(default)


def _written(value: Any) -> str:
    """A value as YAML would have it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value) or '""'


def _parts(found: Record) -> Markup:
    """What the run was made of, with the papers its files name; versions, hardware, licences."""
    rows = []
    for section, catalogue in config.PLUGINS.items():
        settings = found.values.get(section)
        for one in settings if isinstance(settings, list) else [settings]:
            if isinstance(one, dict) and isinstance(one.get("type"), str):
                rows.append((section, one["type"], *_said(catalogue, one["type"])))
    method = tag("table", tag("caption", "method"), *(
        tag("tr", tag("th", section, scope="row"), tag("td", tag("code", kind), tag("span", " ".join([words, *papers]), class_="quiet")))
        for section, kind, words, papers in rows))  # fmt: skip
    started = found.status.get("started")
    facts = {"started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started)) if isinstance(started, int | float) else None}
    facts |= {key: found.environment.get(key) for key in ("python", "platform", "device", "hardware", "threads")}
    packages = found.environment.get("packages")
    facts |= packages if isinstance(packages, dict) else {}
    licences = {"dream3d": "Apache-2.0", "three.js r187 (the viewer in this page)": "MIT"}
    for model in found.environment.get("models") or []:
        if isinstance(model, dict):
            licences[str(model.get("name"))] = str(model.get("licence", "unknown"))
    return _section("Made with", tag("div", method, _table("where", facts), _table("licences", licences), class_="tables"))


def _table(caption: str, facts: dict) -> Markup:
    rows = (tag("tr", tag("th", k, scope="row"), tag("td", tag("code", v))) for k, v in facts.items() if v is not None)
    return tag("table", tag("caption", caption), *rows)


def _said(catalogue: str, name: str) -> tuple[str, list[str]]:
    """The first sentence of a part's own text, and the papers that text names."""
    try:
        found = build.signature(catalogue, name)
        tree = ast.parse(found.path.read_text(encoding="utf-8"))
    except (Mistake, OSError, SyntaxError):
        return "", []
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == found.name)
    module, own = ast.get_docstring(tree) or "", ast.get_docstring(next(classes)) or ""
    words = own if catalogue in build.MODULES else module
    first = re.split(r"(?<=(?<! al)\.)\s", " ".join(words.split()), maxsplit=1)[0]
    return first, [paper for paper in dict.fromkeys(re.findall(r"arXiv:\d{4}\.\d{5}", words)) if paper not in first]


def _log(found: Record) -> Markup | None:
    if not found.log:
        return None
    return _section("Log", tag("details", tag("summary", f"{found.log.count(chr(10)):,} lines"), tag("pre", found.log, class_="log")))
