"""Films, masks and an image config to cached TFRecord shards: each film is read and enhanced once.

A shard holds pixels and row numbers only. Labels, splits and weights stay in the manifest, so that a run with
other classes, and every fold, repeat and level of a recipe, shares the same shards.

Shards are written one group at a time (a split, or a fold): whoever trains picks files, and filters nothing. Within
a group films lie in a drawn order.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.manifest import film_path, write_manifest
from covidcxr_tf.errors import DataError, ImageError, RunFailed
from covidcxr_tf.files import write_json
from covidcxr_tf.imaging.histogram import histogram
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.imaging.stack import model_input
from covidcxr_tf.lungs.drawn_masks import check_classes, drawn_mask, small_mask
from covidcxr_tf.lungs.region import box_around, lung_region
from covidcxr_tf.parallel import in_order
from covidcxr_tf.progress import Progress
from covidcxr_tf.shards import Bad, Finished, Workshop, take_place, write_shards, written

#: Changes when the bytes in a shard change their meaning, so that old caches are not read.
LAYOUT = 2
#: Threads that read and enhance films: what they wait for and compute lies outside of Python.
THREADS = os.cpu_count() or 1
#: Manifests come sorted by label and source. Films are laid into shards in a drawn order, the same for the same
#: manifest: a shuffle window of any size then sees all classes. (Sorted shards made whole runs of batches hold one
#: class, and a DenseNet from scratch learned nothing.)
ORDER_SEED = 0


@dataclass(frozen=True)
class Prepared:
    """A folder of shards.

    Attributes
    ----------
    folder : Path
        Where the shards, ``manifest.csv`` and ``prepared.json`` lie.
    manifest : DataFrame
        The caller's rows; a record's ``row`` is the index here. Shards hold pixels only: labels are always those of
        the manifest at hand, never those of the run that filled the cache.
    files : dict
        Group (``train``, ``fold_1``...) -> shard files.
    size, channels : int
        Shape of an image: (size, size, channels), uint8.
    masks : bool
        Whether each record holds a mask.
    quarantine : tuple of str
        ``path`` of the films that could not be read; they are in no shard.
    """

    folder: Path
    manifest: pd.DataFrame
    files: dict[str, list[Path]]
    size: int
    channels: int
    masks: bool
    quarantine: tuple[str, ...] = ()
    group_by: str = "split"

    def kept(self) -> np.ndarray:
        """Return for each row of the manifest whether its film is in a shard, bool (rows,)."""
        return ~self.manifest["path"].isin(self.quarantine).to_numpy()

    def count(self, *groups: str) -> int:
        """Return the number of films in some groups' shards."""
        return int((self.manifest[self.group_by].isin(groups).to_numpy() & self.kept()).sum())


def cache_folder() -> Path:
    """Return where prepared films are kept: ``$COVIDCXR_CACHE``, or ``~/.cache/covidcxr``."""
    return Path(os.environ.get("COVIDCXR_CACHE") or Path.home() / ".cache" / "covidcxr")


def prepare(
    manifest: pd.DataFrame,
    image: ImageConfig,
    *,
    masks: bool = False,
    mask_classes: Sequence[str] = (),
    lungs: Callable[[np.ndarray], np.ndarray] | None = None,
    lungs_key: str = "",
    group_by: str = "split",
    out: Path | None = None,
    skip_bad: int = 0,
) -> Prepared:
    """Return prepared shards, made now or found in the cache.

    Parameters
    ----------
    manifest : DataFrame
        From `load_manifest`, with the column named by `group_by`.
    image : ImageConfig
        Size, channels and lung handling.
    masks : bool
        Store each film's mask, resized with it (segmentation): uint8 0 or 1, the lungs.
    mask_classes : sequence of str
        Empty, or `covidcxr_tf.lungs.anatomy.CLASSES`: masks then hold the number of each pixel's class, from the masks
        of lungs and heart.
    lungs : callable, optional
        Film -> probability of lung, float32 of any resolution; needed where ``image.lungs`` is not ``none``.
    lungs_key : str
        Identity (hash) of whatever finds the lungs; part of the cache key.
    group_by : str
        Column whose values become groups of shards.
    out : Path, optional
        Folder to write to; by default the cache, under the key of config, films and lung network.
    skip_bad : int
        So many unreadable films are set aside in ``quarantine.csv``; one more is an error.

    Raises
    ------
    ImageError
        For an unreadable film beyond `skip_bad`.
    DataError
        If nothing is left, or lungs are wanted and no `lungs` given.
    ConfigError
        If `mask_classes` are others than heart and lungs.
    """
    check_classes(mask_classes)
    if image.lungs != "none" and lungs is None:
        raise DataError("the config wants lungs, but there is nothing to find them with", expected="a lung model")
    reference = reference_histogram(image)
    key = _key(manifest, image, masks, mask_classes, lungs_key, group_by, reference)
    folder = (out if out is not None else cache_folder() / "prepared" / key[:24]).resolve()
    workshop = Workshop(folder, key)
    found = _open(folder, key, manifest, group_by)
    if found is not None and len(found.quarantine) <= skip_bad:
        workshop.tidy()
        return found

    written(folder)  # refuses a folder with anything else in it before the work, not after

    def work(row: int) -> tuple[int, bytes, bytes] | tuple[int, ImageError]:
        try:
            return _one_film(manifest, row, image, masks, mask_classes, lungs, reference)
        except ImageError as bad:
            return row, bad

    workshop.remove_older()
    with workshop.held():
        made = _open(folder, key, manifest, group_by)  # by another process, which was waited for
        if made is None or len(made.quarantine) > skip_bad:
            _write(manifest, workshop, work, key, image, masks, group_by, skip_bad)
            made = _open(folder, key, manifest, group_by)
    if made is None:
        raise RunFailed("prepared films cannot be read back", where=folder, remedy="check the disk and run again")
    return made


def _one_film(
    manifest: pd.DataFrame,
    row: int,
    image: ImageConfig,
    masks: bool,
    mask_classes: Sequence[str],
    lungs: Callable[[np.ndarray], np.ndarray] | None,
    reference: np.ndarray | None,
) -> tuple[int, bytes, bytes]:
    film = read_image(film_path(manifest, row))
    region, box = None, None
    if lungs is not None and image.lungs != "none":
        found = lungs(film)
        region = lung_region(found)
        box = box_around(region, found, image.lung_edges, image.lung_margin)
    pixels = model_input(film, image, box=box, region=region, reference_histogram=reference)
    if not masks:
        return row, pixels.tobytes(), b""
    mask = small_mask(drawn_mask(manifest, row, film.shape, mask_classes), image.size, mask_classes)
    return row, pixels.tobytes(), mask.tobytes()


class _Kept:
    """The films of a group that could be read, in its drawn order, with a count of the places taken."""

    def __init__(self, work: Callable[[int], Any], rows: list[int], places: int, bad: list[Bad]) -> None:
        self.places, self.bad = places, bad
        self._results = in_order(work, rows[places:], THREADS, 4 * THREADS)

    def close(self) -> None:
        """Let go of the films that were begun and are not wanted any more."""
        self._results.close()

    def films(self, manifest: pd.DataFrame, allowed: int, progress: Progress) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield row, pixels and mask; raise for the film beyond the `allowed` bad ones of this group."""
        for result in self._results:
            progress.advance()
            self.places += 1
            if not isinstance(result[1], ImageError):
                yield result
                continue
            row, fault = result
            self.bad.append(Bad(str(manifest.at[row, "path"]), str(fault)))
            if len(self.bad) > allowed:
                raise fault


def _write(
    manifest: pd.DataFrame,
    workshop: Workshop,
    work: Callable[[int], Any],
    key: str,
    image: ImageConfig,
    masks: bool,
    group_by: str,
    skip_bad: int,
) -> None:
    # The index is 0..n-1: places are rows.
    groups = {str(group): np.asarray(rows) for group, rows in manifest.groupby(group_by, sort=True).indices.items()}
    found = workshop.begin(groups)
    there = sum(shards[-1].places for shards in found.values() if shards)
    if there:
        print(f"prepare: {there} of {len(manifest)} films are there already", file=sys.stderr)
    bad: list[Bad] = []
    files: dict[str, list[str]] = {}
    progress = Progress(len(manifest) - there, "prepare")
    for group, rows in groups.items():
        order = rows[np.random.default_rng(ORDER_SEED).permutation(len(rows))].tolist()
        done = _allowed(found[group], skip_bad - len(bad))
        kept = _Kept(work, order, done[-1].places if done else 0, list(done[-1].bad) if done else [])
        try:
            names = [shard.name for shard in done]
            films = kept.films(manifest, skip_bad - len(bad), progress)
            for name in write_shards(workshop.shards, group, films, len(done)):
                workshop.finished(group, name, kept.places, kept.bad)
                names.append(name)
        except ImageError as fault:
            raise _with_remedy(fault, skip_bad) from fault
        finally:
            kept.close()
        files[group] = names
        bad += kept.bad
    progress.close(f"{len(bad)} set aside" if bad else "")
    if not any(files.values()):
        raise DataError("no film could be prepared", where=manifest.attrs.get("manifest"))
    write_manifest(manifest, workshop.shards / "manifest.csv")
    for film in bad:
        print(f"set aside: {film.reason}", file=sys.stderr)
    if bad:
        listed = pd.DataFrame([(film.path, film.reason) for film in bad], columns=["path", "reason"])
        listed.to_csv(workshop.shards / "quarantine.csv", index=False)
    shape = {"size": image.size, "channels": len(image.channels)}
    facts = {"schema_version": 1, "key": key, "files": files, "masks": masks, **shape}
    write_json(workshop.shards / "prepared.json", facts)
    take_place(workshop.shards, workshop.folder, key)


def _allowed(shards: list[Finished], bad: int) -> list[Finished]:
    """Return the first shards, as long as no more than `bad` films were set aside for them."""
    return [shard for shard in shards if len(shard.bad) <= bad]


def _with_remedy(fault: ImageError, skip_bad: int) -> ImageError:
    return ImageError(
        fault.problem,
        where=fault.where,
        expected=fault.expected,
        remedy=f"{fault.remedy or 'mend it'}, or set bad films aside with --skip-bad N (now {skip_bad})",
    )


def _write_shards(folder: Path, group: str, films: Iterable[tuple[int, bytes, bytes]]) -> list[str]:
    return list(write_shards(folder, group, films))


def _open(folder: Path, key: str, manifest: pd.DataFrame, group_by: str) -> Prepared | None:
    try:
        facts = json.loads((folder / "prepared.json").read_text())
        if facts["key"] != key:
            return None
    except (OSError, ValueError, KeyError):
        return None
    files = {group: [folder / name for name in names] for group, names in facts["files"].items()}
    if not all(path.is_file() for paths in files.values() for path in paths):
        return None
    listed = folder / "quarantine.csv"
    quarantine = tuple(pd.read_csv(listed, dtype=str)["path"]) if listed.is_file() else ()
    shape = (facts["size"], facts["channels"])
    return Prepared(folder, manifest, files, *shape, facts["masks"], quarantine, group_by)


def reference_histogram(image: ImageConfig) -> np.ndarray | None:
    """Return the pixel counts (256,) that films are matched to, or None.

    The reference film is taken through the same resizing as every film, but whole: its lungs need not be found.
    """
    if not image.histogram_reference:
        return None
    film = read_image(image.histogram_reference)
    return histogram(to_uint8(resize(film, (image.size, image.size))))


def _key(
    manifest: pd.DataFrame,
    image: ImageConfig,
    masks: bool,
    mask_classes: Sequence[str],
    lungs_key: str,
    group_by: str,
    reference: np.ndarray | None,
) -> str:
    """Return a digest of all that decides the bytes of the shards."""
    digest = hashlib.sha256(b"" if reference is None else reference.tobytes())
    settings = [LAYOUT, image.model_dump(mode="json"), masks, lungs_key, *mask_classes]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    columns = ["path"] + ["mask_path"] * masks + ["heart_mask_path"] * bool(masks and mask_classes)
    for row in range(len(manifest)):
        for column in columns:
            path = film_path(manifest, row, column=column)
            # Size and time of change stand for the content: hashing 10^6 films would cost as much as reading them.
            stat = path.stat() if path.is_file() else None
            digest.update(f"{path}|{stat.st_size if stat else ''}|{stat.st_mtime_ns if stat else ''}".encode())
        digest.update(str(manifest.at[row, group_by]).encode())
    return digest.hexdigest()
