"""3MF for printing: a zip of XML in millimetres, z up, with the colours of the texture or of the vertices.

Core specification 1.3 and its materials extension (texture2dgroup, colorgroup). A metre is 1000 millimetres unless `millimetres` says how
long the longest side is. The item stands on the bed: its transform moves it to where no coordinate is negative.
"""

import io
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

import dream3d
from dream3d.errors import Mistake, one_line
from dream3d.export.formats import Ask
from dream3d.export.solid import bytes_of, charted, line, printed, turned
from dream3d.files import write_bytes
from dream3d.types import Mesh

NAME = "3mf"
FILES = {"mesh": "mesh.3mf"}
UP = "z"
EXTRA = ""
CORE, MATERIAL = (f"http://schemas.microsoft.com/3dmanufacturing/{end}" for end in ("core/2015/02", "material/2015/02"))
PART, PICTURE = (f"http://schemas.microsoft.com/3dmanufacturing/2013/01/3d{end}" for end in ("model", "texture"))
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
TYPES = (f'{XML}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
         'relationships+xml"/><Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>'
         '<Default Extension="png" ContentType="image/png"/></Types>')  # fmt: skip
TEXTURE = "3D/Textures/colour.png"
DATE = (1980, 1, 1, 0, 0, 0)  # the first a zip knows: the same mesh gives the same bytes


def write(item: Mesh, path: Path, ask: Ask) -> None:
    """Raises Mistake for a mesh without triangles, or that is not finite; warns where it is not closed."""
    vertices = turned(printed(item, ask.millimetres, path.name), ask.up or UP)
    whole = _whole(item.faces.numpy())
    if not whole.any():
        raise Mistake("this mesh has no triangles with three corners: there is nothing to print", code=5)
    parts = {"[Content_Types].xml": TYPES.encode(), "_rels/.rels": _relations("/3D/3dmodel.model", PART).encode(),
             "3D/3dmodel.model": _model(item, vertices, whole, ask).encode()}  # fmt: skip
    if _textured(item):
        parts |= {"3D/_rels/3dmodel.model.rels": _relations(f"/{TEXTURE}", PICTURE).encode(), TEXTURE: bytes_of(item.texture)}
    write_bytes(path, _zipped(parts))


def _model(mesh: Mesh, vertices: Float[ndarray, "V 3"], whole: ndarray, ask: Ask) -> str:
    colours, of = _colours(mesh)
    faces = mesh.faces.numpy()[whole]
    if of is None:
        triangles = _rows('<triangle v1="%d" v2="%d" v3="%d"/>', faces)
    else:
        triangles = _rows('<triangle v1="%d" v2="%d" v3="%d" pid="2" p1="%d" p2="%d" p3="%d"/>', np.concatenate([faces, of[whole]], 1))
    first = ' pid="2" pindex="0"' if of is not None else ""
    shift = " ".join("%.7g" % -v for v in vertices[np.unique(faces)].min(0))
    return "\n".join([
        f'{XML}<model unit="millimeter" xml:lang="en-US" xmlns="{CORE}" xmlns:m="{MATERIAL}">', *_metadata(ask), "<resources>", *colours,
        f'<object id="1" type="model" name="object"{first}><mesh>', "<vertices>",
        *_rows('<vertex x="%.9g" y="%.9g" z="%.9g"/>', vertices), "</vertices>", "<triangles>", *triangles, "</triangles>",
        "</mesh></object>", "</resources>", f'<build><item objectid="1" transform="1 0 0 0 1 0 0 0 1 {shift}"/></build>', "</model>", "",
    ])  # fmt: skip


def _metadata(ask: Ask) -> list[str]:
    prompt = ask.facts.get("prompt") or "object"
    title = one_line(prompt if isinstance(prompt, str) else " / ".join(map(str, prompt)))
    told = {"Title": title, "Application": f"dream3d {dream3d.__version__}", "Description": line(ask.facts)}
    return [f"<metadata name={quoteattr(name)}>{escape(text)}</metadata>" for name, text in told.items()]


def _colours(mesh: Mesh) -> tuple[list[str], Int[ndarray, "F 3"] | None]:
    """What stands before the object, and which of it each corner has."""
    if _textured(mesh):
        uv, index = charted(mesh)
        head = [f'<m:texture2d id="3" path="/{TEXTURE}" contenttype="image/png" tilestyleu="clamp" tilestylev="clamp"/>',
                '<m:texture2dgroup id="2" texid="3">']  # fmt: skip
        return [*head, *_rows('<m:tex2coord u="%.9g" v="%.9g"/>', uv), "</m:texture2dgroup>"], index
    if mesh.rgb is None:
        return [], None
    colours, index = np.unique(np.round(255 * mesh.rgb.numpy().clip(0, 1)).astype(int), axis=0, return_inverse=True)
    rows = _rows('<m:color color="#%02X%02X%02X"/>', colours)
    return ['<m:colorgroup id="2">', *rows, "</m:colorgroup>"], index.reshape(-1)[mesh.faces.numpy()]


def _rows(shape: str, values: ndarray) -> list[str]:
    return [shape % tuple(row) for row in values.tolist()]


def _textured(mesh: Mesh) -> bool:
    return mesh.texture is not None and mesh.uv is not None


def _whole(faces: Int[ndarray, "F 3"]) -> ndarray:
    """Faces with three different corners: others are none in 3MF."""
    return (faces != np.roll(faces, 1, axis=1)).all(1)


def _relations(target: str, kind: str) -> str:
    return f'{XML}<Relationships xmlns="{PACKAGE}/relationships"><Relationship Target="{target}" Id="rel0" Type="{kind}"/></Relationships>'


def _zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in parts.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            archive.writestr(entry, data, compresslevel=6)
    return buffer.getvalue()
