"""Gaussians as OpenUSD's ParticleField3DGaussianSplat (since 26.03), still or over time: what Omniverse and its like draw.

Positions, standard deviations in metres, unit quaternions, opacities, and harmonics Gaussian by Gaussian, all 32-bit. What does not
change over time is there once.
"""

from pathlib import Path

from dream3d.clips import SplatClip
from dream3d.errors import Mistake
from dream3d.export.formats import Ask
from dream3d.export.splat import settled
from dream3d.types import Points

FILES = {"splats": "splats.usdc", "splat-clip": "splats.usdc"}
UP = "y"
EXTRA = "usd"
NEEDS = "pxr"
REACH = 3  # standard deviations to the ends of the box


def write(item: Points | SplatClip, path: Path, ask: Ask) -> None:
    """Raises Mistake where there is nothing to write."""
    import numpy as np
    from pxr import UsdVol, Vt

    from dream3d.export.usd_stage import ROOT, Stage, extent, quaternions, vectors

    up, moves = ask.up or UP, isinstance(item, SplatClip)
    frames = [settled(frame, up) for frame in (item.frames if moves else [item])]
    if not len(frames[0].position):
        raise Mistake("there are no Gaussians to write", where=str(path))
    stage = Stage(up, ask.facts, times=item.times.double().numpy() if moves else None)
    prim = UsdVol.ParticleField3DGaussianSplat.Define(stage.stage, f"{ROOT}/splats")
    prim.CreateProjectionModeHintAttr("perspective")
    prim.CreateSortingModeHintAttr("zDepth")
    prim.CreateRadianceSphericalHarmonicsDegreeAttr(int(frames[0].sh.shape[1] ** 0.5) - 1)
    places = [frame.position.numpy() for frame in frames]
    stage.sampled(prim.CreatePositionsAttr(), [vectors(place) for place in places])
    stage.sampled(prim.CreateScalesAttr(), [vectors(frame.scale.numpy()) for frame in frames])
    stage.sampled(prim.CreateOrientationsAttr(), [quaternions(frame.rotation.numpy()) for frame in frames])
    stage.sampled(prim.CreateOpacitiesAttr(), [Vt.FloatArray.FromNumpy(np.ascontiguousarray(frame.opacity.numpy())) for frame in frames])
    harmonics = prim.CreateRadianceSphericalHarmonicsCoefficientsAttr()
    stage.sampled(harmonics, [vectors(frame.sh.reshape(-1, 3).numpy()) for frame in frames])
    reach = [REACH * frame.scale.amax(1, keepdim=True).numpy() for frame in frames]
    stage.sampled(prim.CreateExtentAttr(), [extent(place, around) for place, around in zip(places, reach, strict=True)])
    stage.write(path)
