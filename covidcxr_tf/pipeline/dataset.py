"""Prepared shards to batches.

The order of an epoch depends on (seed, epoch) alone: any epoch can be made again from scratch. Files are
shuffled first, then films in a window: shuffling after batching or after repeat would mix epochs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from covidcxr_tf.config import AugmentConfig, PatchConfig
from covidcxr_tf.errors import DataError
from covidcxr_tf.pipeline.augment import augment_batch
from covidcxr_tf.pipeline.patching import cut_patches
from covidcxr_tf.pipeline.redraw import Redraw
from covidcxr_tf.prepare import Prepared

#: Threads that parse and augment. Fixed, as tf.data's own tuning starts with one and, on an epoch of seconds, often
#: ends with one: half the films a second.
THREADS = os.cpu_count() or 1
#: Batches ready ahead of the step.
AHEAD = 2


@dataclass(frozen=True)
class Batches:
    """What turns shards into batches.

    Attributes
    ----------
    prepared : Prepared
        The shards.
    groups : sequence of str
        Which groups are read, e.g. ``("train",)``.
    targets : ndarray or None
        By row of the manifest: int32 (rows,) class numbers or float32 (rows, findings). None where the
        target is the mask in the record.
    weights : ndarray or None
        float32 (rows,), a film's weight in the loss; None: all 1.
    batch_size : int
        Films a batch, over all devices.
    seed : int
        Of shuffling and augmentation.
    shuffle_buffer : int
        Films held for shuffling; their bytes are the memory this costs.
    augment : AugmentConfig or None
        None: films as they are.
    patches : PatchConfig or None
        Patches instead of whole films: one a film in training, ``validation_votes`` a film in `plain`.
    only : ndarray or None
        bool (rows,), the films of the groups that are read; None: all.
    redraw : Redraw or None
        Draws `only` anew in each epoch.
    """

    prepared: Prepared
    groups: Sequence[str]
    targets: np.ndarray | None
    weights: np.ndarray | None
    batch_size: int
    seed: int = 0
    shuffle_buffer: int = 128
    augment: AugmentConfig | None = None
    patches: PatchConfig | None = None
    only: np.ndarray | None = None
    redraw: Redraw | None = None

    @property
    def rows(self) -> int:
        """Return the number of films that are read; where films are redrawn, that of epoch 1."""
        if self.redraw is not None:
            return self.for_epoch(1).rows
        if self.only is None:
            return self.prepared.count(*self.groups)
        inside = self.prepared.manifest[self.prepared.group_by].isin(self.groups).to_numpy()
        return int((inside & self.prepared.kept() & self.only).sum())

    def for_epoch(self, epoch: int) -> Batches:
        """Return the batches with the films of an epoch: the same ones, unless films are redrawn."""
        return self if self.redraw is None else replace(self, only=self.redraw.rows(epoch), redraw=None)

    def training(self, epoch: int, skip: int = 0) -> tf.data.Dataset:
        """Return the shuffled, augmented batches of one epoch: dicts image, target, weight, row.

        The first `skip` of them are passed over unparsed; the others are what they are without it.
        """
        if self.redraw is not None:
            return self.for_epoch(epoch).training(epoch, skip)
        files = self._files()
        order = np.random.default_rng([self.seed, epoch]).permutation(len(files))
        records = self._records([files[i] for i in order], interleave=True)
        seed = int(np.random.default_rng([self.seed, epoch, 1]).integers(2**31))
        records = records.shuffle(self.shuffle_buffer, seed=seed, reshuffle_each_iteration=False)
        batches = self._batches(records, skip)
        if self.patches is not None:
            batches = batches.enumerate(skip).map(self._patches(1, seed), num_parallel_calls=THREADS)
        batches = batches.map(_in_unit_range, num_parallel_calls=THREADS)
        if self.augment is not None:
            batches = batches.enumerate(skip).map(self._changed(seed), num_parallel_calls=THREADS)
        return untuned(batches)

    def plain(self) -> tf.data.Dataset:
        """Return the batches in the order of the shards, as they are."""
        if self.redraw is not None:
            return self.for_epoch(1).plain()
        batches = self._batches(self._records(self._files(), interleave=False))
        if self.patches is not None:
            count, seed = self.patches.validation_votes, self.patches.seed
            batches = batches.enumerate().map(self._patches(count, seed), num_parallel_calls=THREADS)
        return untuned(batches.map(_in_unit_range, num_parallel_calls=THREADS))

    def _files(self) -> list[str]:
        files = [str(path) for group in self.groups for path in self.prepared.files.get(group, [])]
        if not files:
            raise DataError(
                f"there is no film in {' and '.join(self.groups)}",
                where=self.prepared.folder,
                expected=f"one of the groups {', '.join(self.prepared.files)}",
            )
        return files

    def _records(self, files: list[str], interleave: bool) -> tf.data.Dataset:
        if not interleave or len(files) == 1:
            return tf.data.TFRecordDataset(files, buffer_size=1 << 18)
        # Deterministic: the speed gained by giving that up is not worth a run that cannot be repeated.
        return tf.data.Dataset.from_tensor_slices(files).interleave(
            lambda name: tf.data.TFRecordDataset(name, buffer_size=1 << 18),
            cycle_length=4,
            num_parallel_calls=2,
            deterministic=True,
        )

    def _batches(self, records: tf.data.Dataset, skip: int = 0) -> tf.data.Dataset:
        if self.only is not None:
            records = records.filter(self._chosen())
        if skip:
            records = records.skip(skip * self.batch_size)
        # Parsing a whole batch at once costs one call instead of one a film.
        return records.batch(self.batch_size).map(self._parsed(), num_parallel_calls=THREADS)

    def _chosen(self) -> Any:
        only = tf.constant(self.only)
        features = {"row": tf.io.FixedLenFeature([], tf.int64)}
        return lambda serialized: tf.gather(only, tf.io.parse_single_example(serialized, features)["row"])

    def _parsed(self) -> Any:
        size, channels = self.prepared.size, self.prepared.channels
        features: dict[str, Any] = {
            "row": tf.io.FixedLenFeature([], tf.int64),
            "image": tf.io.FixedLenFeature([], tf.string),
        }
        if self.targets is None:
            features["mask"] = tf.io.FixedLenFeature([], tf.string)
        targets = None if self.targets is None else tf.constant(self.targets)
        weights = None if self.weights is None else tf.constant(self.weights, tf.float32)

        def parse(serialized: Any) -> dict[str, Any]:
            record = tf.io.parse_example(serialized, features)
            rows = record["row"]
            image = tf.reshape(tf.io.decode_raw(record["image"], tf.uint8), [-1, size, size, channels])
            if targets is None:
                mask = tf.reshape(tf.io.decode_raw(record["mask"], tf.uint8), [-1, size, size, 1])
                target = tf.cast(mask, tf.float32)
            else:
                target = tf.gather(targets, rows)
            weight = tf.ones_like(rows, tf.float32) if weights is None else tf.gather(weights, rows)
            return {"image": image, "target": target, "weight": weight, "row": rows}

        return parse

    def _patches(self, count: int, seed: int) -> Any:
        patches = self.patches
        assert patches is not None

        def cut(number: Any, batch: dict[str, Any]) -> dict[str, Any]:
            draw = tf.stack([tf.constant(seed, tf.int64), number])
            several = {name: tf.repeat(values, count, axis=0) for name, values in batch.items() if name != "image"}
            return {**several, "image": cut_patches(batch["image"], patches.size, count, draw)}

        return cut

    def _changed(self, seed: int) -> Any:
        config = self.augment
        assert config is not None

        def change(number: Any, batch: dict[str, Any]) -> dict[str, Any]:
            masks = batch["target"] if self.targets is None else None
            draw = tf.stack([tf.constant(seed, tf.int64), number])
            images, moved = augment_batch(batch["image"], masks, config, draw)
            return {**batch, "image": images, "target": batch["target"] if moved is None else moved}

        return change


def _in_unit_range(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "image": tf.cast(batch["image"], tf.float32) / 255.0}


def untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return the dataset with a fixed number of batches ahead and tf.data's tuning off."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(AHEAD).with_options(options)
