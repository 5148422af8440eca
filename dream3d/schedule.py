"""Values that change over a run, as pure functions of progress in [0, 1]. Nothing here needs torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf

Count = Annotated[
    int, Ge(1)
]  # names for the settings of catalogues, whose annotations may use only typing and this module
Whole = Annotated[int, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Inside = Annotated[float, Interval(gt=0, lt=1)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NonNegative = Annotated[float, Ge(0), Lt(math.inf)]
Lens = Annotated[float, Gt(0), Lt(180)]  # degrees, as the next two are
Angle = Annotated[float, Interval(ge=-360, le=360)]
Elevation = Annotated[float, Interval(ge=-90, le=90)]
Decay = Annotated[float, Ge(0), Lt(1)]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
Side = Annotated[int, Ge(16), MultipleOf(2)]  # of a video frame
Precision = Literal["auto", "float32", "bfloat16", "float16"]  # of networks


class Ascending:
    """Marks a pair [low, high] whose second number is not below its first."""

    def __get_pydantic_core_schema__(self, source, handler):
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))

    @staticmethod
    def check(pair: tuple[float, float]) -> tuple[float, float]:
        if pair[0] > pair[1]:
            raise ValueError("expected [low, high]")
        return pair


Angles = Annotated[tuple[Angle, Angle], Ascending()]
Elevations = Annotated[tuple[Elevation, Elevation], Ascending()]
Distances = Annotated[tuple[Positive, Positive], Ascending()]
Lenses = Annotated[tuple[Lens, Lens], Ascending()]
Shares = Annotated[tuple[Share, Share], Ascending()]


def dreamtime(p: float, m1: float = 0.8, m2: float = 0.5, s1: float = 0.3, s2: float = 0.1) -> float:
    """How far down the noise levels DreamTime (Huang et al. 2023, arXiv:2306.12422) is at progress p: 1 - t, where t
    has the share p of the weight W above it, and W is 1 between m2 and m1 with Gaussian flanks of widths s1 above and s2 below."""
    above, below = _flank(1 - m1, s1), _flank(m2, s2)
    wanted, low, high = p * (above + m1 - m2 + below), 0.0, 1.0
    for _ in range(52):  # the mass above t falls in t: bisection down to a double's precision
        t = (low + high) / 2
        mass = above - _flank(max(t - m1, 0.0), s1) + m1 - min(max(t, m2), m1) + _flank(m2 - min(t, m2), s2)
        low, high = (t, high) if mass > wanted else (low, t)
    return 1 - (low + high) / 2


def _flank(reach: float, width: float) -> float:
    """The weight under a Gaussian of this width and height 1, from its middle to `reach`."""
    return width * math.sqrt(math.pi / 2) * math.erf(reach / (width * math.sqrt(2)))


SHAPES = {
    "linear": lambda p: p,
    "sqrt": math.sqrt,
    "cosine": lambda p: (1 - math.cos(math.pi * p)) / 2,
    "constant": lambda p: 0.0 if p < 1 else 1.0,
    "dreamtime": dreamtime,
}


@dataclass(frozen=True)
class Ramp:
    """`start` until progress `begin`, `end` from progress `until`, between them along `shape` (linear, sqrt, cosine; constant
    jumps at `until`; exp is linear in the logarithm; dreamtime is for t from 1 to 0, a narrower window squeezes it)."""

    start: float
    end: float | None = None
    begin: float = 0.0
    until: float = 1.0
    shape: str = "linear"

    def __call__(self, progress: float) -> float:
        if self.end is None:
            return self.start
        span = max(self.until - self.begin, 1e-12)
        p = min(max((progress - self.begin) / span, 0.0), 1.0)
        if p == 1.0:
            return self.end
        if self.shape == "exp":
            return self.start * (self.end / self.start) ** p
        return self.start + (self.end - self.start) * SHAPES[self.shape](p)

    @property
    def zero(self) -> bool:
        """Whether it is 0 all along."""
        return self.start == 0 and not self.end

    @staticmethod
    def parse(value: Any) -> "Ramp":
        """From a number, or a mapping with the fields of Ramp. Raises ValueError that says what is wrong."""
        if isinstance(value, Ramp):
            return value
        if isinstance(value, Mapping):
            return Ramp._from_mapping(value)
        return Ramp(_number(value))

    @staticmethod
    def _from_mapping(value: Mapping) -> "Ramp":
        known = tuple(Ramp.__dataclass_fields__)
        if unknown := [str(key) for key in value if key not in known]:
            raise ValueError(f"a schedule has no {unknown[0]!r}; it has {', '.join(known)}")
        if "start" not in value:
            raise ValueError("a schedule needs 'start', for example {start: 1, end: 0}")
        shape = value.get("shape", "linear")
        if shape not in (*SHAPES, "exp"):
            raise ValueError(f"no schedule shape {shape!r}; there are {', '.join((*SHAPES, 'exp'))}")
        numbers = {key: _number(v) for key, v in value.items() if key != "shape" and (v is not None or key == "start")}
        if shape == "exp" and not (numbers["start"] > 0 and numbers.get("end", 1.0) > 0):
            raise ValueError("an exp schedule needs start and end above 0")
        return Ramp(**numbers, shape=shape)

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(cls.parse)


@dataclass(frozen=True)
class Times:
    """A window of noise levels, t in (0, 1) with 1 pure noise: t is uniform in [low, high], both of them schedules."""

    low: Ramp
    high: Ramp

    def window(self, progress: float) -> tuple[float, float]:
        return self.low(progress), self.high(progress)

    def bends(self) -> list[float]:
        """Where the order of low and high may change: about where either begins and ends to move, and in between."""
        moving = [ramp for ramp in (self.low, self.high) if ramp.end is not None]
        ends = [p for ramp in moving for p in (ramp.begin, ramp.until, ramp.until - 1e-9)]
        return [p for p in (*ends, *(i / 32 for i in range(33 if len(moving) else 0))) if 0 <= p <= 1]

    @staticmethod
    def parse(value: Any) -> "Times":
        """[low, high], or one number or schedule for a t that is not random."""
        low, high = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
        times = value if isinstance(value, Times) else Times(Ramp.parse(low), Ramp.parse(high))
        for progress in sorted({0.0, 1.0, *times.bends()}):
            a, b = times.window(progress)
            if not 0 < a <= b < 1:
                raise ValueError(f"t must keep 0 < low <= high < 1 (at progress {progress:g} it is [{a:g}, {b:g}])")
        return times

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(cls.parse)


def at(value, now):
    """The value at a step: of a Ramp, of each Ramp in a mapping, or the value itself."""
    if isinstance(value, Mapping):
        return {key: at(v, now) for key, v in value.items()}
    return value(now.progress) if isinstance(value, Ramp) else value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a number or a schedule {start: .., end: ..}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("expected a smaller number") from None
    except ValueError:
        raise ValueError("expected a number or a schedule {start: .., end: ..}") from None
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number
