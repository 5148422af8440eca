"""One setting as its annotation says, or a Mistake in plain words: what was expected, what came. Imports no torch."""

import functools
import math
from typing import TYPE_CHECKING, Any

from dream3d.errors import Mistake, choices

if TYPE_CHECKING:
    from pydantic import TypeAdapter

EXPECTED = {  # pydantic's kinds of errors in plain words; {} is filled from the error's context
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "dict": "a section of NAME: VALUE",
    "list": "a list", "tuple": "a list", "none": "null", "finite": "a finite number", "too": "a list of another length",
    "greater_than_equal": "at least {ge}", "greater_than": "a number above {gt}", "less_than_equal": "at most {le}",
    "less_than": "a number below {lt}", "multiple_of": "a multiple of {multiple_of}", "literal_error": "{expected}",
    "missing": "a longer list", "unexpected": "a shorter list",
}  # fmt: skip


def typed(value: Any, annotation: Any, path: str, where: str = "") -> Any:
    """`value` as `annotation` says. Raises Mistake naming the path, what was expected and what came."""
    from pydantic import ValidationError

    try:
        result = _adapter(annotation).validate_python(value)
    except ValidationError as error:
        raise _mistake(error.errors(), value, path, where) from None
    if isinstance(value, bool) and not isinstance(result, bool):  # true is no 1
        raise Mistake(f"{path}: expected a number, but it is {short(value)}", where=where)
    if (bounded := _bounded(result)) != "":
        raise Mistake(f"{path}: expected {bounded}, but it is {short(value)}", where=where)
    return result


def _adapter(annotation: Any) -> "TypeAdapter[Any]":
    try:
        return _kept(repr(annotation), annotation)
    except TypeError:  # cannot be hashed: Annotated[float, {"unit": "m"}]
        return _kept.__wrapped__("", annotation)


@functools.lru_cache(maxsize=1024)  # a recipe asks for a hundred, the next one for nearly the same
def _kept(text: str, annotation: Any) -> "TypeAdapter[Any]":
    """text: its repr, since bool | int equals int | bool and reads 1.0 as something else."""
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def written(value: Any) -> str:
    """A plain value as it is written in YAML, on one line."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(v)}" for key, v in value.items()) + "}"
    return f"[{', '.join(map(written, value))}]" if isinstance(value, list | tuple) else str(value)


def short(value: Any) -> str:
    """A value in a message, at most 60 characters."""
    text = "empty (null)" if value is None else written(value) if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _mistake(errors: list[dict], value: Any, path: str, where: str) -> Mistake:
    """Of all that pydantic has tried (each member of a union), what came closest: the errors deepest inside the value."""
    depth = max(len(error["loc"]) for error in errors)
    closest = [error for error in errors if len(error["loc"]) == depth]
    first = closest[0]
    if first["type"] == "value_error":  # in our own words already
        return Mistake(f"{path}: {first['msg'].removeprefix('Value error, ')}, but it is {short(value)}", where=where)
    inner = [part for part in first["loc"] if isinstance(part, int) or isinstance(value, dict) and part in value]
    expected = " or ".join(dict.fromkeys(_expected(error) for error in closest))
    came = first["input"] if inner else value
    if isinstance(came, float) and not math.isfinite(came):
        expected = "a finite number"
    near = _literal(first, came) or _integer(first, came)
    full = ".".join(map(str, [path, *inner]))
    return Mistake(f"{full}: expected {expected}, but it is {short(came)}", where=where, near=near)


def _expected(error: dict) -> str:
    kind = error["type"]
    name = kind if kind in EXPECTED else kind.split("_")[0]
    if name not in EXPECTED:
        return error["msg"].removeprefix("Input should be ")
    return EXPECTED[name].format(**error.get("ctx", {})).replace("'", "")


def _literal(error: dict, value: Any) -> str:
    """The nearest of the words that a Literal allows."""
    if error["type"] != "literal_error":
        return ""
    return choices(str(value), error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))


def _integer(error: dict, value: Any) -> str:
    """1e3 and 3.0 as the whole numbers that were meant."""
    try:
        number = float(value) if error["type"].startswith("int_") else math.nan
    except (TypeError, ValueError, OverflowError):
        return ""
    return str(round(number)) if math.isfinite(number) and abs(number) < 1e15 else ""


def _bounded(value: Any) -> str:
    """What a number, or one inside, should have been; "" where all are finite and countable."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "a finite number"
    if isinstance(value, int):
        return "" if abs(value) < 2**63 else "a smaller number"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next(filter(None, map(_bounded, inner)), "")
