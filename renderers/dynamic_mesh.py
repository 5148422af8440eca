"""A mesh that moves: a still one, and a field of position and time that shifts and colours its vertices.

The same field as of dynamic_gaussians (HexPlane, Cao and Johnson 2023, arXiv:2301.09632, or a perceptron), read at the vertices at rest:
what it answers is a velocity, so the scene at time 0 is exactly the still mesh. Triangles stay joined as they are.
"""

import dataclasses
from typing import ClassVar, Literal

import torch
from dream3d.renderers._appearance import Appearance
from dream3d.renderers._atlas import between
from dream3d.renderers._backends.unit import unit
from dream3d.renderers._latent import shown
from dream3d.renderers._moving import Moving
from dream3d.renderers._shading import Material
from dream3d.renderers.mesh import TriangleMesh
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.clips import MeshClip
from dream3d.interfaces import Representation
from dream3d.schedule import Count, NonNegative, Positive, Ramp, Share, Whole
from dream3d.types import Cameras, Render, Step


class DynamicMesh(Moving, Representation):
    """The still mesh: its settings are those of mesh, but that it is never remeshed; `max_faces` and `decimate` say how many faces it
    takes over. A field of colours spans [-bound, bound]^3 as that of motion does, and is read where a place rests."""

    memory: ClassVar[str] = (
        "max(faces, max_faces) * (1500 + 4 * views * (6 * channels * levels + 16 * octaves + 4 * hidden + 100))"
        " + 135 * texture**2 * (appearance == 'texture') + 320 * views * side**2 + 48 * channels * 4**levels * texels**2"
    )

    offers: ClassVar[dict[str, str]] = {"normal": "True", "motion": "True", "features": "features > 0"}
    gives: ClassVar[dict[str, str]] = {"mesh-clip": "True"}

    def __init__(
        self,
        rng: torch.Generator,
        *,
        faces: Count = 1280,
        radii: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5),
        threshold: Positive | Literal["auto"] = "auto",
        settle: Whole = 60,
        decimate: Count | None = None,
        appearance: Literal["vertex", "texture", "field"] = "vertex",
        texture: Count = 512,
        features: Whole = 0,
        shading: Literal["albedo", "lambert", "textureless", "pbr"]
        | dict[Literal["albedo", "lambert", "textureless", "pbr"], Share] = "albedo",
        ambient: Share = 0.3,
        environment: str = "studio",
        turning: bool = True,
        smooth: bool = True,
        stiffness: NonNegative = 4.0,
        max_faces: Count = 20000,
        lr_vertices: Ramp = Ramp(2e-3, 5e-4),
        lr_colour: Ramp = Ramp(1e-2, 2e-3),
        backend: Literal["auto", "numba", "torch", "nvdiffrast"] = "auto",
        bound: Positive = 0.8,
        **motion,
    ):
        still = TriangleMesh(
            rng, faces=faces, radii=radii, threshold=threshold, settle=settle, decimate=decimate, appearance=appearance, texture=texture,
            bound=bound, features=features, shading=shading, ambient=ambient, environment=environment, turning=turning, smooth=smooth,
            stiffness=stiffness, remesh_every=0.0, max_faces=max_faces, lr_vertices=lr_vertices, lr_colour=lr_colour, backend=backend,
        )  # fmt: skip
        super().__init__(rng, still, 3 + (features or 3), bound=bound, **motion)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def rest(self) -> Float[Tensor, "V 3"]:
        return self.still.vertices()

    def drawn(
        self, rest: Float[Tensor, "V 3"], time: Float[Tensor, ""], cameras: Cameras, now: Step | None
    ) -> Render:
        if time == 0:  # the still mesh, to the bit: colours need not be sums
            return self.still.shown(rest, self.still.look, cameras, now)
        vertices, colour = self.moved(rest, time)
        return self.still.shown(vertices, Tinted(self.still.look, rest, colour), cameras, now)

    def extras(self, rest: Float[Tensor, "V 3"], parts: list[Render], share: list[float]) -> dict[str, Tensor]:
        """vertices (V 3, metres) and faces (F 3) of the still mesh."""
        return {"vertices": rest, "faces": self.still.faces}

    def moved(self, rest: Float[Tensor, "V 3"], time: Float[Tensor, ""]) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "V K"]]:
        """Where the vertices are at this time, and what is added to the colours (or latents) there."""
        shift, colour = self.change(rest, time).split([3, self.still.look.features or 3], -1)
        return self.carried(rest + shift, time), colour

    @torch.no_grad()
    def clip(self, times: Float[Tensor, " T"]) -> MeshClip:
        """Vertices over time. Colours stay those of time 0: no file has room for what the field adds to them."""
        rest = self.rest()
        places = torch.stack([self.moved(rest, time)[0].cpu() for time in times.to(rest)])
        return MeshClip(dataclasses.replace(self.handover(), vertices=places[0]), places, times)


class Tinted(nn.Module):
    """An appearance whose colours, or latents, have something added that is given at the vertices. What lies in space is asked where a
    place rests."""

    def __init__(self, look: Appearance, rest: Float[Tensor, "V 3"], tint: Float[Tensor, "V K"]):
        super().__init__()
        self.look, self.rest, self.tint, self.features = look, rest, tint, look.features

    def at(
        self, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"], vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
    ) -> Material:
        """The surface at places of it."""
        found = self.look.at(face, weights, vertices if self.look.bumps else self.rest, faces)
        more = between(self.tint, faces[face], weights)
        if self.features:
            return Material(shown(found.features + more), features=found.features + more)
        return dataclasses.replace(found, rgb=unit(found.rgb + more))
