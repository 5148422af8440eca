"""Self-contained HTML pages: templates of assets/web, files as data blocks, and a policy under which nothing is ever fetched.

Scripts run only by their hash, so text of a user that slipped past escaping would still not be a script.
"""

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dream3d import build, files

CHUNK = 3 << 18  # bytes read at once
VOID = ("img", "input", "br", "source")
CONTROL = {code: "\ufffd" for code in (*range(9), 11, 12, *range(14, 32), 127, *range(0xD800, 0xE000))}


def web(name: str) -> str:
    """A file of assets/web."""
    return (build.place("assets") / "web" / name).read_text(encoding="utf-8")


def script(name: str) -> str:
    """A script of assets/web that can stand inside <script>: nothing in it ends the element or opens a comment."""
    return web(name).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def policy(*scripts: str) -> str:
    """The Content-Security-Policy of a page that runs exactly these inline scripts and loads nothing but itself."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src data: file: 'self'; connect-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def text(value: object) -> str:
    """Any text as HTML, for content and for quoted attributes; what HTML cannot hold becomes U+FFFD."""
    return html.escape(str(value).translate(CONTROL))


class Markup(str):
    """Text that is HTML already; everything else is escaped when it becomes part of a page."""


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element. Children and attributes are escaped unless they are Markup; None leaves one out, True is an attribute
    without a value, a trailing underscore is dropped and others become dashes."""
    pairs = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    head = "".join(f" {key}" if value is True else f' {key}="{text(value)}"' for key, value in pairs.items())
    if name in VOID:
        return Markup(f"<{name}{head}>")
    return Markup(f"<{name}{head}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Children one after the other."""
    return Markup("".join(c if isinstance(c, Markup) else text(c) for c in children if c is not None))


def section(title: str, *content: object) -> Markup:
    return tag("section", tag("h2", title), *content)


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def bytes_of(path: Path, begin: int = 0) -> Iterator[bytes]:
    """A file, a piece at a time, from a place on."""
    with path.open("rb") as file:
        file.seek(begin)
        yield from iter(lambda: file.read(CHUNK), b"")


def block(name: str, file: str, pieces: Iterable[bytes]) -> Iterator[str]:
    """Bytes as base64 in an inert script element with this id, said to be of a file of that name."""
    yield f'<script type="application/octet-stream" id="{name}" data-file="{text(file)}">'
    rest = b""
    for piece in pieces:
        whole = rest + piece
        cut = len(whole) - len(whole) % 3  # pieces of base64 join without padding
        rest = whole[cut:]
        yield base64.b64encode(memoryview(whole)[:cut]).decode()
    yield base64.b64encode(rest).decode() + "</script>\n"


def write(path: Path, template: str, parts: dict[str, str | Iterable[str]]) -> Path:
    """Fill each {{name}} of the template, once: what stands in a part is never looked at. Replaces `path` whole."""
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for index, piece in enumerate(re.split(r"\{\{(\w+)\}\}", template)):
            part = parts[piece] if index % 2 else piece
            out.writelines([part] if isinstance(part, str) else part)
    return path
