"""Shards that cannot be read in the middle of an epoch: which one, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from covidcxr_tf.errors import DataError
from covidcxr_tf.prepare import Prepared
from covidcxr_tf.train.stopping import AGAIN

FAULTS = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnknownError,
)


def readable(batches: Iterable[Any], prepared: Prepared, groups: Iterable[str]) -> Iterator[Any]:
    """Yield batches; a shard that is missing, cut short or damaged becomes a `DataError` that names it.

    Raises
    ------
    DataError
    """
    try:
        yield from batches
    except FAULTS as fault:
        found = damaged_shard(prepared, groups)
        if found is None:  # every record can be read: it is not the shards
            raise
        raise bad_shard(prepared, *found) from fault


def damaged_shard(prepared: Prepared, groups: Iterable[str]) -> tuple[Path, str] | None:
    """Return the first shard of some groups that cannot be read to its end, and why; None where all can."""
    pixels = prepared.size * prepared.size * prepared.channels
    for path in (path for group in groups for path in prepared.files.get(group, [])):
        try:
            for record in tf.data.TFRecordDataset(str(path)):
                example = tf.train.Example.FromString(record.numpy())
                image = example.features.feature["image"].bytes_list.value
                if len(image) != 1 or len(image[0]) != pixels:
                    return path, "a record holds no film of the right size"
        except tf.errors.NotFoundError:
            return path, "is not there any more"
        except (tf.errors.OpError, ValueError) as fault:
            return path, getattr(fault, "message", str(fault)).splitlines()[0].split(" [Op:")[0]
        except Exception as fault:  # protobuf's DecodeError has no common base over its versions
            return path, str(fault)
    return None


def bad_shard(prepared: Prepared, path: Path | None, why: str) -> DataError:
    """Return the error that names a shard, and what mends it."""
    return DataError(
        f"a shard of prepared films cannot be read: {why}",
        where=path or prepared.folder,
        remedy=f"remove the folder {prepared.folder}, so that the films are prepared anew, then {AGAIN}",
    )
