"""Contact sheets of a library: pages of thumbnails with prompt and seed, as PNG. A page that is as it would be made is left alone."""

import hashlib
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from dream3d import __version__, files
from dream3d.batch.page import inside
from dream3d.errors import Mistake

SIDE, GAP, LINE, LETTERS = 192, 8, 15, 30  # pixels of a picture, between two, of a line; letters of a line
LARGEST = 4096  # pixels of a thumbnail's side
PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (120, 120, 120)


def sheets(library: Path, records: list[dict[str, Any]], to: Path, per: int) -> Iterator[tuple[Path, bool]]:
    """Yields every page and whether it was made now; pages that are no longer needed go. Raises Mistake for `per` that no page holds."""
    if not 1 <= per <= 400:
        raise Mistake(f"a page of {per} pictures", where="--per", near="--per 48", fix="1 to 400")
    pages = [records[at : at + per] for at in range(0, len(records), per)]
    for number, page in enumerate(pages, 1):
        path, key = to / f"sheet-{number:04}.png", _key(library, page, per)
        fresh = _kept(path) != key
        if fresh:
            told = PngImagePlugin.PngInfo()
            told.add_text("dream3d", key)
            with files.replacing(path) as temporary:
                _page(library, page, per, f"sheet {number}").save(temporary, format="PNG", pnginfo=told)
        yield path, fresh
    for path in to.glob("sheet-[0-9]*.png"):
        if path.stem[6:].isdigit() and int(path.stem[6:]) > len(pages) and _kept(path) is not None:  # ours
            path.unlink()


def _key(library: Path, page: list[dict[str, Any]], per: int) -> str:
    """What a page shows."""
    names = ("name", "prompt", "seed", "category")
    told = [[*map(record.get, names), _told(_picture(library, record))] for record in page]
    return hashlib.sha256(json.dumps([__version__, per, told]).encode()).hexdigest()


def _told(picture: Path | None) -> list[int] | None:
    """Size and time of a picture, which change with it."""
    try:
        found = picture.stat() if picture else None
        return [found.st_size, found.st_mtime_ns] if found else None
    except OSError:
        return None


def _kept(path: Path) -> str | None:
    """What the page there shows; None where there is none, or another's."""
    try:
        with Image.open(path, formats=("PNG",)) as page:
            return page.info.get("dream3d")
    except (OSError, ValueError, SyntaxError):
        return None


def _picture(library: Path, record: dict[str, Any]) -> Path | None:
    made = record.get("files") if isinstance(record.get("files"), dict) else {}
    return library / path if (path := inside(made.get("thumbnail"))) else None


def _page(library: Path, page: list[dict[str, Any]], per: int, head: str) -> Image.Image:
    across = max(1, min(per, round((per * 4 / 3) ** 0.5)))
    down, cell = -(-len(page) // across), (SIDE + GAP, SIDE + 3 * LINE + GAP)
    sheet = Image.new("RGB", (across * cell[0] + GAP, down * cell[1] + GAP + LINE), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    draw.text((GAP, 2), head, fill=FAINT, font=font)
    for at, record in enumerate(page):
        left, top = GAP + at % across * cell[0], GAP + LINE + at // across * cell[1]
        picture = _thumbnail(_picture(library, record))
        if picture is None:
            draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), outline=FAINT)
            draw.text((left + GAP, top + SIDE // 2), "no picture", fill=FAINT, font=font)
        else:
            sheet.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
        for row, line in enumerate(_lines(record)):
            draw.text((left, top + SIDE + row * LINE), line, fill=(INK, INK, FAINT)[row], font=font)
    return sheet


def _thumbnail(path: Path | None) -> Image.Image | None:
    """At most SIDE pixels, over white."""
    if path is None:
        return None
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            if max(picture.size) > LARGEST:
                return None
            found = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    found.thumbnail((SIDE, SIDE))
    return Image.alpha_composite(Image.new("RGBA", found.size, (*PAPER, 255)), found).convert("RGB")


def _lines(record: dict[str, Any]) -> list[str]:
    """Two of the prompt, one of seed and category."""
    said = " ".join("".join(c if c.isprintable() else " " for c in str(record.get("prompt", ""))[:300]).split())
    two = textwrap.wrap(said, LETTERS, max_lines=2, placeholder=" ...", break_long_words=True) or [""]
    more = f", {str(record['category'])[:20]}" if record.get("category") else ""
    return [*two, *[""] * (2 - len(two)), f"seed {record.get('seed', '?')}{more}"]
