"""Whole keys out of several views: the rows of one entity, from streams that need not be in step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feast_fast.cells import joined
from feast_fast.layout import Layout, require_different

logger = logging.getLogger(__name__)
_MUCH = 512 << 20

Rows = tuple[Any, Any]  # keys, and the views' parts of their hashes


def whole_keys(loads: Sequence[tuple[Layout, Iterable[pa.RecordBatch]]]) -> Iterator[tuple[Any, Any, int]]:
    """Keys, listpack entries and their number, a key once, with the parts of all views that have it.

    What a view has and another has not shown yet is held: where the sources are in the same order, that is a batch or two.

    Args:
        loads: views of one entity; each has a key once.

    Raises:
        ValueError: a view shows a key a second time while the first waits for the other views. A later copy is not
            noticed. Or two of the views write the same field.
    """
    require_different([field for layout, _ in loads for field in layout.hash_fields])
    streams = [_encoded(layout, batches) for layout, batches in loads]
    counts = [layout.entry_count for layout, _ in loads]
    nothing = pa.array([], pa.large_binary())
    held: list[Rows] = [(nothing, nothing)] * len(streams)
    running = [True] * len(streams)
    warned = False
    while any(running):
        for view, stream in enumerate(streams):
            if running[view]:
                coming = next(stream, None)
                running[view] = coming is not None
                if coming is not None:
                    held[view] = (
                        pa.concat_arrays([held[view][0], coming[0]]),
                        pa.concat_arrays([held[view][1], coming[1]]),
                    )
                    _require_once(loads[view][0].view, held[view][0])
        every = pc.unique(pa.concat_arrays([keys for keys, _ in held])) if len(held) > 1 else held[0][0]
        places = [
            pc.index_in(every, value_set=keys) if len(keys) else pa.nulls(len(every), pa.int32()) for keys, _ in held
        ]
        found = [place.is_valid().to_numpy(zero_copy_only=False) for place in places]
        ready = np.logical_and.reduce([here | (not more) for here, more in zip(found, running, strict=True)])
        for rows, views in _alike(np.flatnonzero(ready), found):
            parts = [held[view][1].take(places[view].take(rows)) for view in views]
            yield every.take(rows), joined(parts, len(rows)), sum(counts[view] for view in views)
        held = [_without(rows, place, ready) for rows, place in zip(held, places, strict=True)]
        if not warned and sum(entries.nbytes for _, entries in held) > _MUCH:
            warned = True
            names = " and ".join(layout.view for layout, _ in loads)
            logger.warning(
                "The sources of %s are in another order each, so that much of them is held in memory.", names
            )


def _encoded(layout: Layout, batches: Iterable[pa.RecordBatch]) -> Iterator[Rows]:
    for batch in batches:
        yield layout.keys(batch), layout.entries(batch)


def _alike(rows: np.ndarray, found: Sequence[np.ndarray]) -> list[tuple[np.ndarray, list[int]]]:
    """Rows in groups that the same views have, and these views."""
    groups: list[tuple[np.ndarray, list[int]]] = [(rows, [])]
    for view, here in enumerate(found):
        groups = [
            (part, had)
            for rows, views in groups
            for part, had in ((rows[here[rows]], [*views, view]), (rows[~here[rows]], views))
            if len(part)
        ]
    return groups


def _require_once(view: str, keys: Any) -> None:
    if len(pc.unique(keys)) < len(keys):  # four times faster than to count them
        raise ValueError(f"{view} holds a key twice in the window: leave one_row_per_key out of batch_engine.")


def _without(rows: Rows, place: Any, ready: np.ndarray) -> Rows:
    gone = place.filter(pa.array(ready)).drop_null().to_numpy()
    stays = np.ones(len(rows[0]), bool)
    stays[gone] = False
    return rows[0].filter(pa.array(stays)), rows[1].filter(pa.array(stays))
