"""quality.html: every run with its pictures, its scores and what the judge said, on one page that needs no network."""

import base64
import io
from html import escape
from pathlib import Path

from dream3d.bench.summary import COLUMNS, cells, words

STYLE = """
:root{color-scheme:light dark;--line:#8884;--bad:#c0392b;--good:#2e8b57}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:0 0 .4rem}ul{padding-left:1.2rem}
section{border-top:1px solid var(--line);padding:1rem 0;display:grid;grid-template-columns:minmax(14rem,22rem) 1fr;gap:1.2rem}
img{width:100%;border-radius:6px}table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}
td,th{padding:.15rem .6rem;text-align:right;border-bottom:1px solid var(--line)}td:first-child,th:first-child{text-align:left}
.wide{overflow-x:auto}.no{color:var(--bad)}.yes{color:var(--good)}small{opacity:.75}
@media(max-width:44rem){section{grid-template-columns:1fr}}
"""
WIDTH = 640  # pixels of a contact sheet on the page


def page(summary: dict, records: list[dict], runs: dict[str, Path]) -> str:
    """The whole page; `runs` says where the folder of each record lies."""
    title = f"Quality of {summary['config']}"
    parts = [f"<h1>{escape(title)}</h1>", "<ul>", *(f"<li>{escape(text)}</li>" for text in words(summary)), "</ul>"]
    body = "\n".join([*parts, *(_run(record, runs[record["name"]]) for record in records)])
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    head = f"<head>{meta}<title>{escape(title)}</title><style>{STYLE}</style></head>"
    return f'<!doctype html>\n<html lang="en">{head}<body>\n{body}\n</body></html>\n'


def _run(record: dict, run: Path) -> str:
    head = f"<h2>{escape(record['prompt'])} <small>seed {record['seed']}</small></h2>"
    if record["state"] != "done":
        return f"<section><div></div><div>{head}<p class=no>failed: {escape(record['reason'])}</p></div></section>"
    return f"<section><div>{_picture(run)}</div><div>{head}{_verdict(record)}{_scores(record)}{_says(record)}</div></section>"


def _verdict(record: dict) -> str:
    marks = (f"<span class={'yes' if passed else 'no'}>{'&#10003;' if passed else '&#10007;'} {escape(name)}</span>"
             for name, passed in record["verdict"].items())  # fmt: skip
    return f"<p>{' &nbsp; '.join(marks)}</p>"


def _scores(record: dict) -> str:
    """The run beside the ends of its scale."""
    scale = record["scale"]
    rows = {"this run": record["score"], "best ellipsoid": scale["floor"], "splats fitted to a true object": scale["ceiling"],
            "another true object": scale["true"]}  # fmt: skip
    head = "".join(f"<th>{title}</th>" for _, title, _ in COLUMNS)
    body = "".join(f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells(score))}</tr>" for name, score in rows.items())
    return f"<div class=wide><table><tr><th></th>{head}</tr>{body}</table></div>"


def _says(record: dict) -> str:
    said = "; ".join(f"{30 * i}&deg; {escape(text)}" for i, text in enumerate(record["score"]["says"]))
    return f"<p><small>The judge, by azimuth: {said}</small></p>"


def _picture(run: Path) -> str:
    from PIL import Image

    path = run / "export" / "contact.png"
    if not path.is_file():
        return "<p>no picture</p>"
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.thumbnail((WIDTH, WIDTH))
        image.convert("RGB").save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="views of the run" src="data:image/jpeg;base64,{data}">'
