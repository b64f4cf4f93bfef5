"""TFRecord shards under way: each written whole, so that a preparation goes on after a kill with the same bytes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covidcxr_tf import ledger
from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import replacing
from covidcxr_tf.ledger import Ledger

#: Films a shard: about 40 MB at 320 x 320 x 3, enough to read in long runs, small enough to shuffle by file.
FILMS_PER_SHARD = 128


@dataclass(frozen=True)
class Bad:
    """A film that could not be read: its path in the manifest, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Finished:
    """A shard that is there: name, the places of its group's order taken when it was full, bad films among them."""

    name: str
    places: int
    bad: tuple[Bad, ...]


class Workshop:
    """The folder beside the one to be, in which shards are made: ``.NAME.KEY.parts``.

    Parameters
    ----------
    folder : path
        The folder that there will be.
    key : str
        Of films and settings: shards are only gone on with under the same.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.place = folder.parent / f".{folder.name}.{key[:12]}.parts"
        self.shards = self.place / "shards"
        self.ledger = Ledger(self.place)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the workshop; another process that prepares the same films is waited for.

        What holds no finished shard goes at the end; shards stay when the work ended before its time.
        """
        with _waiting(self.place):
            try:
                yield
            finally:
                if self.folder.is_dir() and not self.shards.is_dir():
                    self.ledger.path.unlink(missing_ok=True)
                elif not self.ledger.lines():
                    shutil.rmtree(self.shards, ignore_errors=True)
                    self.ledger.path.unlink(missing_ok=True)

    def begin(self, group_names: Iterable[str]) -> dict[str, list[Finished]]:
        """Return group -> the whole shards of an interrupted preparation, first to last; the rest is removed."""
        self.shards.mkdir(parents=True, exist_ok=True)
        found: dict[str, list[Finished]] = {str(group): [] for group in group_names}
        for line in self.ledger.lines():
            with contextlib.suppress(KeyError, TypeError, ValueError):
                done = found.get(str(line["group"]))
                name = shard_name(str(line["group"]), len(done or ()))
                if done is None or line["name"] != name or ledger.sha256(self.shards / name) != line["sha256"]:
                    continue
                bad = tuple(Bad(str(path), str(reason)) for path, reason in line["bad"])
                done.append(Finished(name, int(line["places"]), bad))
        whole = {shard.name for shards in found.values() for shard in shards}
        for path in self.shards.iterdir():
            if path.name not in whole:
                path.unlink()
        return found

    def finished(self, group: str, name: str, places: int, bad: Iterable[Bad]) -> None:
        """Say in the ledger that a shard is there; `bad` are the group's bad films so far."""
        listed = [(film.path, film.reason) for film in bad]
        self.ledger.add(group=group, name=name, places=places, bad=listed, sha256=ledger.sha256(self.shards / name))

    def tidy(self) -> None:
        """Remove what a process left that was killed after its shards had taken their place."""
        if self.place.is_dir():
            with self.held():
                pass

    def remove_older(self) -> None:
        """Remove what interrupted preparations of the same folder with other films or settings left."""
        for path in self.folder.parent.glob(f".{self.folder.name}.*.parts"):
            if path != self.place and path.is_dir():
                with contextlib.suppress(BlockingIOError), ledger.held(path):
                    shutil.rmtree(path / "shards", ignore_errors=True)
                    Ledger(path).path.unlink(missing_ok=True)


@contextlib.contextmanager
def _waiting(place: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ledger.held(place))
        except BlockingIOError:
            print("prepare: another process prepares these films; waiting for it", file=sys.stderr)
            stack.enter_context(ledger.held(place, wait=True))
        yield


def shard_name(group: str, number: int) -> str:
    """Return the file name of a group's shard."""
    return f"{group}-{number:05d}.tfrecord"


def write_shards(folder: Path, group: str, films: Iterable[tuple[int, bytes, bytes]], done: int = 0) -> Iterator[str]:
    """Write films (row, pixels, mask or nothing) into shards and yield each one's name when it is whole.

    `done` shards of the group are there already. Films are taken as they are needed: one is in memory.
    """
    left = iter(films)
    for number in itertools.count(done):
        first = next(left, None)
        if first is None:
            return
        name = shard_name(group, number)
        _write_shard(folder / name, itertools.chain([first], itertools.islice(left, FILMS_PER_SHARD - 1)))
        yield name


def _write_shard(path: Path, films: Iterable[tuple[int, bytes, bytes]]) -> None:
    import tensorflow as tf  # TFRecord's writer; nothing else of TensorFlow is used here

    with replacing(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for row, pixels, mask in films:
            features = {
                "row": tf.train.Feature(int64_list=tf.train.Int64List(value=[row])),
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels])),
            }
            if mask:
                features["mask"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[mask]))
            example = tf.train.Example(features=tf.train.Features(feature=features))
            # Else the order of the features, and so the bytes, are another in each process.
            writer.write(example.SerializeToString(deterministic=True))


def take_place(aside: Path, folder: Path, key: str) -> None:
    """Rename `aside` to `folder`; of an older preparation there only what it had written is removed."""
    before = written(folder)
    if folder.is_dir():
        if before and json.loads((folder / "prepared.json").read_text())["key"] == key and not _names(aside) - before:
            # Another process was first, with the same films and settings: its shards may be in use already.
            shutil.rmtree(aside)
            return
        for name in before:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    try:
        os.rename(aside, folder)
    except OSError:
        if not (folder / "prepared.json").is_file():  # otherwise another process was quicker
            raise
        shutil.rmtree(aside)


def written(folder: Path) -> set[str]:
    """Return the files of an older preparation in a folder, which may hold nothing else.

    Raises
    ------
    UsageError
        If it does.
    """
    if not folder.is_dir():
        return set()
    before = _names(folder)
    others = sorted(path.name for path in folder.iterdir() if path.name not in before)
    if others:
        raise UsageError(
            f"the folder holds {others[0]}, which is no prepared film", where=folder, remedy="name another folder"
        )
    return before


def _names(folder: Path) -> set[str]:
    """Return the files that a preparation wrote into a folder; empty where there is none."""
    try:
        facts = json.loads((folder / "prepared.json").read_text())
        shards = {name for names in facts["files"].values() for name in names}
    except (OSError, ValueError, KeyError):
        return set()
    rest = {"prepared.json", "manifest.csv", "quarantine.csv"}
    return (shards | rest) & {path.name for path in folder.iterdir()}
