"""What is installed, what every part will run on and why, what is missing. Survives a Python without any of it; asks no network."""

import importlib
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dream3d import __version__, build
from dream3d.errors import Mistake

IMPORTS = {"pyyaml": "yaml", "scikit-image": "skimage", "pillow": "PIL"}  # distributions whose module has another name
OPTIONAL = {  # distribution -> (what for, how to install it)
    "gsplat": ("splats on CUDA", "pip install 'gsplat>=1.5,<1.6'"),
    "nerfacc": ("light along rays on CUDA", "pip install 'nerfacc>=0.5.3,<0.6'"),
    "nvdiffrast": ("meshes on CUDA", "pip install git+https://github.com/NVlabs/nvdiffrast --no-build-isolation"),
    "tinycudann": ("hash grids on CUDA", "pip install 'git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch'"),
    "diffusers": ("full-size diffusion models", "pip install -e \".[diffusion]\""),
    "transformers": ("their text encoders", "pip install transformers"),
    "peft": ("LoRA on them", "pip install peft"),
    "bpy": ("FBX, .blend and checks by Blender", 'pip install -e ".[blender]", or blender on the PATH'),
    "pytest": ("the tests", 'pip install -c constraints.txt -e ".[test]"'),
    "beartype": ("shapes checked in tests", 'pip install -c constraints.txt -e ".[test]"'),
    "jsonschema": ("the tests of config schema", 'pip install -c constraints.txt -e ".[test]"'),
}  # fmt: skip
NEEDED_GB = {"disk": 0.2, "memory": 1.3}  # of the default job, measured
SPIN = 100_000  # turns that a thread may wait awake, about half a millisecond; more slows a busy machine


@dataclass(frozen=True)
class Check:
    """One row. state: ok, missing, broken, or note (no harm); `fix` is what to do; `vital` ones must be ok for the default job."""

    group: str
    name: str
    state: str
    detail: str
    fix: str = ""
    vital: bool = False


def examine() -> list[Check]:
    """Everything, in the order of printing."""
    packages = list(_required())
    torch = _torch()
    return [*_system(), *packages, *_optional(), *_ffmpeg(), *_places(), *(_devices(torch) if torch else []),
            *(_backends(torch) if torch else [])]  # fmt: skip


def lacking(checks: list[Check]) -> list[Check]:
    """What keeps the default job from running."""
    return [check for check in checks if check.vital and check.state not in ("ok", "note")]


# --- the machine --------------------------------------------------------------------------------------------------------------------


def _system() -> Iterator[Check]:
    version = platform.python_version()
    good = sys.version_info[:2] >= (3, 11)
    yield Check("system", "dream3d", "ok", f"{__version__} in {Path(build.__file__).parent}")
    yield Check("system", "python", "ok" if good else "broken", f"{version} ({platform.python_implementation()})",
                "" if good else "use Python 3.11 to 3.13", vital=True)  # fmt: skip
    yield Check("system", "platform", "ok", f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} cores")
    policy = os.environ.get("OMP_WAIT_POLICY", "not set")
    spin = os.environ.get("GOMP_SPINCOUNT", "0")
    calm = policy.upper() == "PASSIVE" and spin.isdecimal() and int(spin) <= SPIN
    yield Check("system", "OMP_WAIT_POLICY", "ok" if calm else "note",
                f"{policy}, spin {spin}" + ("" if calm else ": spinning threads slow a busy machine"),
                "" if calm else "unset it, and GOMP_SPINCOUNT: dream3d sets both")  # fmt: skip
    size = shutil.get_terminal_size()
    shown = f"{size.columns} x {size.lines}, {sys.stdout.encoding}" if sys.stdout.isatty() else f"none, {sys.stdout.encoding}"
    yield Check("system", "terminal", "ok", f"{shown} ({'a live bar' if sys.stderr.isatty() else 'plain lines'} for progress)")


def _places() -> Iterator[Check]:
    free = shutil.disk_usage(".").free / 1e9
    yield _enough("free disk here", free, NEEDED_GB["disk"], "give out= on another disk, or make room")
    available = _available_memory()
    if available is None:
        yield Check("system", "free memory", "note", "unknown on this platform")
    else:
        yield _enough("free memory", available, NEEDED_GB["memory"], "close programs, or lower prior.renders and prior.size")
    places = [os.environ.get("NUMBA_CACHE_DIR"), Path(build.__file__).parent / "__pycache__", Path.home() / ".cache" / "numba"]
    cache = next((place for place in map(Path, filter(None, places)) if _writable(place)), None)
    yield Check("system", "numba cache", "ok" if cache else "note", str(cache or "nowhere: kernels compile at every start"),
                "" if cache else f"export NUMBA_CACHE_DIR={tempfile.gettempdir()}/numba")  # fmt: skip


def _enough(name: str, has: float, needs: float, fix: str) -> Check:
    good = has >= needs
    return Check("system", name, "ok" if good else "broken", f"{has:.1f} GB ({needs:g} GB needed by the default job)", "" if good else fix,
                 vital=True)  # fmt: skip


def _available_memory() -> float | None:
    """GB that may be had without swapping, within a container's limit."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text()) - int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # "max" is no limit
        limit = found
    return min(found, limit) / 1e9


def _writable(folder: Path) -> bool:
    """Whether files can be made where they would be made: in the folder, or in what it would be made in."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


# --- packages -----------------------------------------------------------------------------------------------------------------------


def requirements() -> dict[str, str]:
    """Required distributions and the least version of each, from pyproject.toml of a checkout, else from what is installed."""
    project = Path(build.__file__).parent.parent / "pyproject.toml"
    if project.is_file():
        texts = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        texts = [text for text in metadata.requires("dream3d") or [] if "extra" not in text]
    pairs = (re.match(r"([\w.-]+)(?:\[[\w,]+\])?\s*(?:>=\s*([\d.]+))?", text) for text in texts)
    return {pair[1].lower(): pair[2] or "0" for pair in pairs}


def _required() -> Iterator[Check]:
    """Each is imported: what is installed may still be broken."""
    for name, least in requirements().items():
        found = version(name)
        if found is None:
            yield Check("required", name, "missing", f"{least} or newer is needed", install(name), vital=True)
        elif _numbers(found) < _numbers(least):
            yield Check("required", name, "broken", f"{found}, but {least} is needed", install(name) + " --upgrade", vital=True)
        elif problem := _import_problem(IMPORTS.get(name, name.replace("-", "_"))):
            yield Check("required", name, "broken", f"{found}: {problem}", install(name) + " --force-reinstall", vital=True)
        else:
            yield Check("required", name, "ok", found, vital=True)


def install(name: str) -> str:
    """The pip line for a required package, at the tested version where a checkout says which."""
    pinned = Path(build.__file__).parent.parent / "constraints.txt"
    return f"pip install -c constraints.txt {name}" if pinned.is_file() else f"pip install {name}"


def _optional() -> Iterator[Check]:
    for name, (what, how) in OPTIONAL.items():
        found = version(name)
        yield Check("optional", name, "ok" if found else "missing", f"{found or '-'}  {what}", "" if found else how)


def _ffmpeg() -> Iterator[Check]:
    try:
        import imageio_ffmpeg

        yield Check("required", "ffmpeg", "ok", f"{imageio_ffmpeg.get_ffmpeg_version()}, {imageio_ffmpeg.get_ffmpeg_exe()}", vital=True)
    except Exception as error:  # neither the package nor a binary
        yield Check("required", "ffmpeg", "missing", _one_line(error), install("imageio[ffmpeg]"), vital=True)


def version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+")[0])[:3])


def _import_problem(module: str) -> str:
    """Why a module cannot be imported; "" where it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken installation does
        return _one_line(error)
    return ""


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error) or '-').splitlines()[0][:120]}"


# --- what runs on what --------------------------------------------------------------------------------------------------------------


def _torch():
    """torch, where it works."""
    return None if _import_problem("torch") else importlib.import_module("torch")


def _devices(torch) -> Iterator[Check]:
    yield Check("runs on", "device auto", "ok", *_device(torch)[1:])
    yield Check("runs on", "threads", "ok", f"{torch.get_num_threads()} of torch on {os.cpu_count()} cores")


def _device(torch) -> tuple[str, str, str]:
    """Device, why, and what would change it."""
    if torch.cuda.is_available():
        return "cuda", f"cuda: {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}", ""
    if torch.version.cuda is None:
        return "cpu", f"cpu: this torch ({torch.__version__}) is built without CUDA", "for a CUDA card: pip install torch"
    return "cpu", f"cpu: torch is built for CUDA {torch.version.cuda}, but there is no driver or no card", "see nvidia-smi"


def _backends(torch) -> Iterator[Check]:
    """Every renderer is asked what draws it there; the toybox and the video writer follow their own rule."""
    device = _device(torch)[0]
    for name in build.available("renderers"):
        try:
            scene = build.make("renderers", {"type": name}, torch.Generator().manual_seed(0)).to(device)
            yield Check("runs on", f"renderer {name}", "ok", scene.about if ":" in scene.about else f"{scene.about}: {_where(scene)}")
        except Exception as error:
            what = str(error) if isinstance(error, Mistake) else _one_line(error)
            yield Check("runs on", f"renderer {name}", "broken", what.splitlines()[0], vital=name == "gaussians")
    toybox = "numba: on the CPU" if device == "cpu" else "torch: on the device"
    yield Check("runs on", "toybox renderer", "ok", toybox)
    yield Check("runs on", "turntable video", "ok", "ffmpeg, libx264, one thread: the same bytes everywhere")


def _where(scene) -> str:
    """Precision and device of a scene: what its choice follows from."""
    tensor = next(scene.parameters())
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}"
