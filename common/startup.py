"""How a process starts soon."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """The collector of garbage rests while a process imports what it needs, and never looks through it again: all of it
    stays. Measured on a gateway: a tenth of the time until it listens, and of that of each later full collection."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
