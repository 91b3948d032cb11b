"""One thing is made while another is used: a batch read, one encoded, one sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Makes each item in another thread while the one before it is in use."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming: Any = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item
