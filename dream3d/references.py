"""References inside a configuration: ${section.key} stands for another value, resolved by OmegaConf."""

import re
from typing import Any

from dream3d.errors import Mistake, choices
from dream3d.recipe import VERBATIM, Where, join


def resolve(values: dict[str, Any], where: Where) -> dict[str, Any]:
    """Resolve ${section.key} where it is a whole value, everywhere but in what is verbatim."""
    held: list[Any] = []
    hidden = _map_verbatim(values, lambda text: held.append(text) or f"held {len(held) - 1}")
    references = _find(hidden, "", where)
    if not references:
        return values

    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(hidden), resolve=True)
    except OmegaConfBaseException as error:
        path = re.sub(r"\[(\d+)\]", r".\1", str(error.full_key or ""))
        raise _dangling(path, references.get(path, ""), isinstance(error, InterpolationKeyError), hidden, where) from None
    return _map_verbatim(resolved, lambda mark: held[int(mark.split()[1])])


def _dangling(path: str, reference: str, missing: bool, values: dict, where: Where) -> Mistake:
    """A reference that leads nowhere, or back to itself."""
    if not missing:
        return Mistake(f"{path} refers to itself by {reference}", where=where(path), fix="write the value there")
    near = choices(reference[2:-1], [p for p in _paths(values, "") if p != path])
    return Mistake(f"{path} refers to something that is not there: {reference}", where=where(path), near=near,
                   fix="a reference needs a value that is written in the recipe or set by an override")  # fmt: skip


def _paths(tree: Any, path: str) -> list[str]:
    """The paths of all single values."""
    if not isinstance(tree, dict):
        return [path]
    return [leaf for key, value in tree.items() for leaf in _paths(value, join(path, key))]


def _find(tree: Any, path: str, where: Where) -> dict[str, str]:
    """Path -> reference. One names a section and a key: no text around it (which could grow without bound), no environment."""
    found = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        here = join(path, key)
        if isinstance(value, str) and "${" in value:
            if not re.fullmatch(r"\$\{[A-Za-z_][\w.]*\}", value):
                raise Mistake(f"{here}: a reference is a whole value, such as ${{cameras.batch}}", where=where(here),
                              fix="no text around it, nothing of the environment")  # fmt: skip
            found[here] = value
        found |= _find(value, here, where)
    return found


def _map_verbatim(tree: Any, change) -> Any:
    if isinstance(tree, dict):
        return {k: change(v) if k in VERBATIM else _map_verbatim(v, change) for k, v in tree.items()}
    return [_map_verbatim(v, change) for v in tree] if isinstance(tree, list) else tree
