"""report.html: a run on one offline page. It is made from the run's folder alone, whatever state that is in."""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d import __version__
from dream3d.errors import Mistake
from dream3d.export import curves, facts, page, record
from dream3d.export.held import held
from dream3d.export.moments import Moments, moving
from dream3d.export.page import Markup, join, section, tag
from dream3d.export.record import Record

VIDEO, ASSET = 5 << 20, 32 << 20  # bytes up to which the turntable, and splats with mesh, are inside the page
FRAMES, WIDTH = 24, 480  # previews shown, and their width in pixels
PIXELS = 1 << 24  # of a picture that is opened at all
STATES = ("done", "failed", "interrupted", "running")


def write_report(run: Path, *, status: dict[str, Any] | None = None) -> Path:
    """Write <run>/export/report.html and return it. `status` stands in for status.json where that is about to be written.
    Raises Mistake where `run` is no run folder and where the disk is full; damaged files are shown as missing."""
    found = record.read(run)
    found.status.update(status or {})
    embedded = {kind: found.exports[kind] for kind in ("splats", "mesh") if kind in found.exports}
    room = ASSET - sum(path.stat().st_size for path in embedded.values())
    embedded = embedded if room >= 0 else {}
    bundle, own = page.script("viewer.js") if embedded else "", page.script("report.js")
    body = (_head(found), _hero(found, embedded), tag("div", _progress(found), _curves(found), class_="went"),
            _reproduce(found), facts.settings(found), facts.parts(found), _log(found))  # fmt: skip
    parts = {
        "policy": page.text(page.policy(bundle, own)),
        "version": __version__,
        "title": page.text(found.prompt[:200]),
        "style": page.web("viewer.css") + page.web("report.css"),
        "body": join(*body),
        "licences": page.text(page.web("LICENSES.txt")),
        "data": _data(found, embedded, room),
        "bundle": bundle,
        "script": own,
    }
    return page.write(found.path / "export" / "report.html", page.web("report.html"), parts)


def _data(found: Record, embedded: dict[str, Path], room: int) -> Iterator[str]:
    """The asset's files, and its moments where they fit into as many bytes and can be read: fewer than viewer.html has, if need be."""
    still = embedded.get("splats"), embedded.get("mesh")
    played = moving(found.path / "export" / "sequence" / "sequence.json", still[0]) if embedded else Moments()
    fits = played.frames and 2 * played.frames[0].stat().st_size < room
    try:
        return held(*still, played if fits else Moments(), room)
    except Mistake:
        return held(*still)


# --- the top ----------------------------------------------------------------------------------------------------------------------


def _head(found: Record) -> Markup:
    status, prompt = found.status, found.prompt
    state = status.get("state") if status.get("state") in STATES else "unknown"
    chips = [tag("span", state, class_=f"chip {state}")]
    for name in ("name", "seed"):
        if name in found.values:
            chips.append(tag("span", f"{'recipe' if name == 'name' else name} {found.values[name]}", class_="chip"))
    total = found.values.get("steps")
    if isinstance(status.get("step"), int):
        chips.append(
            tag("span", f"{status['step']:,}{f' of {total:,}' if isinstance(total, int) else ''} steps", class_="chip")
        )
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
    words = {
        "failed": "This run failed.",
        "interrupted": "This run was interrupted.",
        "running": "This run has not ended.",
    }
    plugins = "".join(f" --plugin {shlex.quote(word)}" for word in _plugins(found.command))
    again = f"python launch.py resume {shlex.quote(str(found.path))}{plugins}"
    return tag("div", tag("b", words.get(state, "The state of this run is unknown.")), tag("pre", reason),
               tag("p", "It continues from its newest checkpoint with"), _command(again), class_=f"trouble {state}")  # fmt: skip


def _seconds(status: dict) -> float | None:
    started, updated = (status.get(key) for key in ("started", "updated"))
    known = record.is_number(started) and record.is_number(updated) and updated >= started
    return float(updated - started) if known else None


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _hero(found: Record, embedded: dict[str, Path]) -> Markup:
    """The asset to turn, the turntable, the views around it, the files; of all that only what is there."""
    poster, stage = _picture(found.exports.get("thumbnail"), "A view of the asset"), None
    if embedded:
        start = tag("button", "View in 3D", type="button", class_="start", id="start")
    else:
        start = tag("p", "The asset is too large for this page; viewer.html shows it.")
    if found.exports.keys() & {"splats", "mesh"}:
        stage = tag("div", tag("div", poster, start, class_="poster"), class_="viewer", id="viewer")
    figures = ((_video(found.exports.get("turntable")), "Turntable"),
               (_picture(found.exports.get("contact"), "Six views around the asset"), "Around the asset, from the front on"))  # fmt: skip
    side = [tag("figure", picture, tag("figcaption", words)) for picture, words in figures if picture]
    parts = [stage, tag("div", *side, class_="side") if side else None]
    return join(tag("section", *parts, class_="hero") if any(parts) else None, _files(found), _health(found))


def _files(found: Record) -> Markup:
    """Links to what is there, and the names of what is not."""
    rows = [
        tag("a", tag("b", path.name), tag("span", _size(path.stat().st_size)), href=path.name)
        for path in found.exports.values()
    ]
    missing = [name for kind, name in record.EXPORTS.items() if kind not in found.exports]
    settings = found.values.get("export")
    off = isinstance(settings, dict) and settings.get("mesh") is False
    reasons = [f"{name} (export.mesh is false)" if name == "mesh.glb" and off else name for name in missing]
    note = tag("p", "Not there: ", ", ".join(reasons), class_="quiet missing") if missing else None
    return tag("section", tag("nav", *rows, class_="files") if rows else None, note)


def _health(found: Record) -> Markup | None:
    """What the mesh is fit for, as its export found it."""
    told = found.path / "export" / "mesh.json"
    if "mesh" not in found.exports or not told.is_file():
        return None
    from dream3d.export import health  # which knows meshes, and so torch

    known = health.read(told)
    if known is None:
        return None
    of = "" if not known.files or "mesh.glb" in known.files else f" ({', '.join(known.files)})"
    return section(f"Mesh{of}", *(tag("p", line) for line in known.told()))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"


def _video(path: Path | None) -> Markup | None:
    if path is None:
        return None
    source = page.data_uri("video/mp4", path.read_bytes()) if path.stat().st_size <= VIDEO else path.name
    return tag(
        "video",
        src=source,
        autoplay=True,
        loop=True,
        muted=True,
        playsinline=True,
        controls=True,
        aria_label="Turntable",
    )


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
    return tag(
        "img", src=page.data_uri(kind, data or path.read_bytes()), alt=words, width=size[0], height=size[1], **more
    )


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
    slider = tag(
        "input", type="range", min=0, max=len(frames) - 1, value=len(frames) - 1, aria_label="Step", hidden=True
    )
    return section(
        "Over time",
        tag("p", words, class_="quiet"),
        tag("div", slider, tag("div", *frames, class_="strip"), class_="frames"),
    )


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
    return section("Curves", tag("div", *drawn, class_="curves"), constant)


# --- how to do it again -----------------------------------------------------------------------------------------------------------


def _plugins(command: list[str]) -> list[str]:
    pairs = zip(command, command[1:], strict=False)
    return [b for a, b in pairs if a == "--plugin"] + [
        a.partition("=")[2] for a in command if a.startswith("--plugin=")
    ]


def _command(words: str) -> Markup:
    return tag(
        "div", tag("pre", tag("code", words)), tag("button", "Copy", type="button", class_="copy"), class_="command"
    )


def _reproduce(found: Record) -> Markup:
    plugins = "".join(f" --plugin {shlex.quote(word)}" for word in _plugins(found.command))
    stored = found.path / "config.yaml"
    link = tag(
        "a", "config.yaml", href=page.data_uri("text/yaml", stored.read_bytes()[: 1 << 20]), download="config.yaml"
    )
    exact = tag("p", "The complete configuration, every default written out, is ", link, " (inside this page). On the CPU, with the "
                "versions below, splats.ply and mesh.glb come out byte for byte the same.")  # fmt: skip
    changed = [f"guidance.scale {_scale(entry)} from step {entry.get('step')}" for entry in _changes(found.status)]
    if changed:
        exact = tag("p", "The complete configuration is ", link, ", but somebody changed the run while it went (", "; ".join(changed),
                    "): from it alone another asset comes out.")  # fmt: skip
    parts = [exact, _command(f"python launch.py --config config.yaml{plugins} out=again")]
    if found.command:
        program = re.split(r"[/\\]", found.command[0])[-1]
        words = (["python"] if program.endswith(".py") else []) + [program, *found.command[1:]]
        parts += [tag("p", "As it was started:"), _command(shlex.join(words))]
    return section("Reproduce", *parts)


def _changes(status: dict) -> list[dict]:
    """What was asked in control.json, by status.json."""
    changed = status.get("changed")
    return [entry for entry in changed if isinstance(entry, dict)] if isinstance(changed, list) else []


def _scale(entry: dict) -> str:
    scale = entry.get("guidance.scale")
    return f"{scale:g}" if record.is_number(scale) else "as configured"


def _log(found: Record) -> Markup | None:
    if not found.log:
        return None
    count = found.log.count("\n")
    lines = f"{count:,} {'line' if count == 1 else 'lines'}"
    return section("Log", tag("details", tag("summary", lines), tag("pre", found.log, class_="log")))
