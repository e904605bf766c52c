"""One BLAS thread for many small products, and a thread for each core over runs of samples instead.

Handing a product of some microseconds to a pool of threads costs more than it saves, and on a busy machine a hundred
times more; runs of samples are independent, and large enough.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


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
def one_blas_thread(needless: bool = False) -> Iterator[None]:
    """Set NumPy's BLAS to one thread inside the block; the earlier number is restored after it.

    `needless` says that the products inside are too small to be shared among threads anyway.
    """
    if needless:
        yield
        return
    before = [(library, number) for library in _numpy_blas() if (number := library.num_threads) != 1]
    for library, _ in before:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, number in before:
            library.set_num_threads(number)


@lru_cache(maxsize=1)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="exact")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads don't survive a fork (of a data loader, say)


def for_each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return the results of all items, worked on in as many threads as torch may use."""
    workers = torch.get_num_threads()
    if len(items) < 2 or workers < 2:
        return [work(item) for item in items]
    return list(_pool(workers).map(work, items))
