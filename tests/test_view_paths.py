"""Camera paths and films of them."""


import numpy as np
import pytest
import torch
from export_scene import Blocks
from PIL import Image

from dream3d.cameras import look_at
from dream3d.errors import Mistake
from dream3d.export.views import frames
from dream3d.view import path
from dream3d.view.film import film


def orbit(*degrees: float, elevation: float = 15, time: float = 0.0) -> list[path.View]:
    centres = look_at(*torch.deg2rad(torch.tensor([degrees, [elevation] * len(degrees)]))).centre
    return [path.View(tuple(c), time=time) for c in centres.tolist()]


@pytest.mark.parametrize("azimuth, elevation", [(0, 15), (70, -20), (-130, 60), (10, 90), (180, 0)])
def test_a_view_of_a_path_is_a_camera_of_the_house(azimuth, elevation):
    made = path.cameras(orbit(azimuth, elevation=elevation), 1, size=(32, 48))
    true = look_at(*torch.deg2rad(torch.tensor([[float(azimuth)], [float(elevation)]])), size=(32, 48))
    if elevation == 90:  # straight down +y is up, whatever the azimuth
        assert torch.allclose(made.to_world[:, :3, 1:2], torch.tensor([[[0.0], [-1.0], [0.0]]]), atol=1e-3)
        return
    assert torch.allclose(made.to_world, true.to_world, atol=1e-4) and torch.allclose(made.intrinsics, true.intrinsics, atol=1e-3)
    assert torch.allclose(made.azimuth.cos(), true.azimuth.cos(), atol=1e-4) and torch.allclose(made.elevation, true.elevation, atol=1e-3)


def test_a_path_goes_smoothly_through_its_views():
    chosen = orbit(0, 40, 80, 120)
    made = path.cameras(chosen, 31, size=(16, 16)).centre
    assert torch.allclose(made[::10], torch.tensor([v.position for v in chosen]), atol=1e-5)
    speed = (made[1:] - made[:-1]).norm(dim=-1)
    assert (speed[1:] / speed[:-1]).sub(1).abs().max() < 0.2, "no corners at the views"
    around = path.cameras(orbit(0, 90, 180, 270), 40, size=(16, 16), closed=True).centre
    gaps = (around - around.roll(1, 0)).norm(dim=-1)
    assert (gaps / gaps.roll(1)).sub(1).abs().max() < 0.25, "and a closed one ends where it began"


def test_a_path_is_kept_as_json(tmp_path):
    chosen = [*orbit(0, 40), path.View((0.0, -3.0, 1.0), (0.1, 0.0, 0.0), 55.0, 0.5)]
    path.save(chosen, tmp_path / "a.json")
    assert path.load(tmp_path / "a.json") == chosen
    place = '{"views": [{"position": '
    for text in ("{", "{}", '{"views": 3}', '{"views": [{}]}', place + "[0, 0]}]}", place + "[0, 0, NaN]}]}",
                 place + '[0, 0, 1], "fovy": 180}]}', place + '[0, 0, 1], "roll": 3}]}'):  # fmt: skip
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(Mistake, match="a.json is no camera path"):
            path.load(tmp_path / "a.json")
    with pytest.raises(Mistake, match="needs a view"):
        path.cameras([], 3, size=(16, 16))


@pytest.mark.parametrize("kind", ["mp4", "webp"])
def test_a_film_shows_what_our_renderer_shows(tmp_path, kind):
    import imageio.v3 as imageio

    around = path.cameras(orbit(0, 60, 120), 7, size=(48, 64))
    made = film(Blocks(), around, tmp_path / f"a.{kind}", kind=kind)
    true = frames(Blocks(), around).astype(float)
    seen = np.stack([*imageio.imiter(made, plugin="FFMPEG")] if kind == "mp4" else [*_webp(made)]).astype(float)
    assert seen.shape == true.shape and abs(seen - true).mean() < 4
    assert film(Blocks(), around, tmp_path / f"b.{kind}", kind=kind).read_bytes() == made.read_bytes()
    with pytest.raises(Mistake, match="even numbers"):
        film(Blocks(), path.cameras(orbit(0), 2, size=(15, 16)), tmp_path / "c.mp4")
    with pytest.raises(Mistake, match="too large"):
        film(Blocks(), path.cameras(orbit(0), 1000, size=(1024, 1024)), tmp_path / "c.mp4")


def _webp(file):
    with Image.open(file) as image:
        for number in range(image.n_frames):
            image.seek(number)
            yield np.asarray(image.convert("RGB"))
