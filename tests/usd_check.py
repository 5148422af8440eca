"""OpenUSD's own validators (pxr.UsdValidation), all that the wheel has."""

from functools import cache
from pathlib import Path

from pxr import Usd, UsdValidation


@cache
def _validators():
    found = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(found) >= 25, len(found)
    return found


def findings(path: Path) -> list[str]:
    """Names of what they find in a file; also in what is inside a package."""
    stage = Usd.Stage.Open(str(path))
    return [f"{error.GetIdentifier()}: {error.GetMessage()}" for error in UsdValidation.ValidationContext(_validators()).Validate(stage)]
