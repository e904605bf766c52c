"""One BLAS thread while many small products run: handing each of them to a pool costs more than it saves."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def _numpy_blas() -> list[Any]:
    """Return handles of the BLAS libraries that NumPy loaded, none if they can't be found."""
    import numpy  # noqa: F401  (loads its BLAS)

    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return []
    return [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Set NumPy's BLAS to one thread inside the block (about 3 us); the earlier number is restored after it."""
    libraries = _numpy_blas()
    before = [library.num_threads for library in libraries]
    for library in libraries:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, number in zip(libraries, before):
            library.set_num_threads(number)
