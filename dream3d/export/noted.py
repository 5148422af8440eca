"""What writers of files warn of, told as notes: on the terminal, in a run's log."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def noted(tell: Callable[[str], None]) -> Iterator[None]:
    """`tell` hears every UserWarning of the block once, at its end, however it ends."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for text in dict.fromkeys(str(warning.message) for warning in heard if warning.category is UserWarning):
                tell(f"note: {text}")
