"""References inside a configuration: ${section.key} stands for another value, resolved by OmegaConf."""

import re
from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dream3d.errors import Mistake
from dream3d.recipe import VERBATIM, join

Where = Callable[[str], str]  # a path in the configuration to where it was written


def resolve(values: dict[str, Any], where: Where) -> dict[str, Any]:
    """Resolve ${section.key} where it is a whole value, everywhere but in what is verbatim."""
    held: list[Any] = []
    hidden = _map_verbatim(values, lambda text: held.append(text) or f"held {len(held) - 1}")
    _check(hidden, "", where)
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(hidden), resolve=True)
    except OmegaConfBaseException as error:
        raise Mistake(f"a value refers to something that is not there: {str(error).splitlines()[0]}") from None
    return _map_verbatim(resolved, lambda mark: held[int(mark.split()[1])])


def _check(tree: Any, path: str, where: Where) -> None:
    """A reference names a section and a key: no text around it (which could grow without bound), no environment."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if isinstance(value, str) and "${" in value and not re.fullmatch(r"\$\{[A-Za-z_][\w.]*\}", value):
            raise Mistake(f"{join(path, key)}: a reference is a whole value, such as ${{cameras.batch}}",
                          where=where(join(path, key)))  # fmt: skip
        _check(value, join(path, key), where)


def _map_verbatim(tree: Any, change) -> Any:
    if isinstance(tree, dict):
        return {k: change(v) if k in VERBATIM else _map_verbatim(v, change) for k, v in tree.items()}
    return [_map_verbatim(v, change) for v in tree] if isinstance(tree, list) else tree
