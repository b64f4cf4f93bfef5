"""The versions of one model: found in integer folders, loaded while the server runs, drained before they go."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from covidcxr_tf.serving.labels import read_labels
from covidcxr_tf.serving.problems import ServingProblem, invalid, no_servable
from covidcxr_tf.serving.servable import Servable
from covidcxr_tf.serving.warmup import warm_up

log = logging.getLogger(__name__)

State = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
Print = tuple[tuple[str, int, int], ...]


class VersionStatus(NamedTuple):
    """State of one version, as TensorFlow Serving's ModelVersionStatus."""

    version: int
    state: State
    error_code: str = "OK"
    error_message: str = ""


@dataclass
class _Held:
    version: int
    state: State = "START"
    servable: Servable | None = None
    leases: int = 0
    error_code: str = "OK"
    error_message: str = ""
    failed_print: Print | None = None


class Versions:
    """Which versions of OUT/NAME are in memory.

    The newest version that loads is served, and beside it each one that a label names. A new folder is loaded while
    the old version goes on answering; only when the new one is available does the old one stop taking requests, and
    it is unloaded when the last lease comes back. A version that does not load leaves the old one where it is; it is
    tried again when its files change.

    Parameters
    ----------
    base : Path
        OUT/NAME, which holds folders 1, 2, ... Other names are passed over.
    labels : dict of str to int, optional
        Label -> version.
    labels_file : Path, optional
        A ``models.config`` of TensorFlow Serving, whose labels for this model are read again when the file changes;
        `labels` go before it.
    poll_seconds : float
        How often `start`'s thread looks.
    keep : {"latest", "all"}
        Serve the newest, or all that are there.
    """

    def __init__(
        self,
        base: str | Path,
        *,
        labels: dict[str, int] | None = None,
        labels_file: Path | None = None,
        poll_seconds: float = 1.0,
        keep: Literal["latest", "all"] = "latest",
    ) -> None:
        self.base = Path(base)
        self.name = self.base.resolve().name
        self.keep = keep
        self._given_labels = dict(labels or {})
        self._labels_file = labels_file
        self._labels = dict(self._given_labels)
        self._poll_seconds = poll_seconds
        self._held: dict[int, _Held] = {}
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def labels(self) -> dict[str, int]:
        """Label -> version."""
        return dict(self._labels)

    @property
    def ready(self) -> bool:
        """Whether a request without a version can be answered."""
        with self._lock:
            return not self._stopping.is_set() and self._newest() is not None

    def check(self, name: str, version: int | None = None, label: str | None = None) -> None:
        """Raise NOT_FOUND if `name` is not this model, INVALID_ARGUMENT if both a version and a label are given."""
        if version is not None and label is not None:
            raise invalid(f"Both model version ({version}) and model version label ({label}) cannot be supplied.")
        if name != self.name:
            if label is not None:
                raise invalid(f"Unrecognized servable version label: {label}")
            raise no_servable(name, version)

    def version_of(self, label: str) -> int:
        """Return the version that a label names, or raise INVALID_ARGUMENT."""
        if label not in self._labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return self._labels[label]

    @contextlib.contextmanager
    def lease(self, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """Lend a version: it is not unloaded until it is returned.

        Raises
        ------
        ServingProblem
            INVALID_ARGUMENT for an unknown label, NOT_FOUND for a version that is not loaded.
        """
        self.check(self.name, version, label)
        held, servable = self._take(version, label)
        try:
            yield servable
        finally:
            self._give_back(held)

    def statuses(self) -> list[VersionStatus]:
        """Return the state of each version ever seen, newest first."""
        with self._lock:
            seen = sorted(self._held.values(), key=lambda held: -held.version)
            return [VersionStatus(held.version, held.state, held.error_code, held.error_message) for held in seen]

    def poll(self) -> None:
        """Look at the folder once: load what is new, retire what is no longer wanted."""
        with self._polling:
            if self._stopping.is_set():
                return
            self._read_labels()
            there = self._on_disk()
            wanted = self._load_wanted(there)
            if not there:  # an emptied folder (or one that is being moved) leaves what is served alone
                return
            with self._lock:
                gone = [
                    held for held in self._held.values() if held.state == "AVAILABLE" and held.version not in wanted
                ]
            if any(self._is_available(version) for version in wanted):
                for held in gone:
                    self._retire(held)

    def start(self) -> None:
        """Look once now, then again and again in a thread."""
        self.poll()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking and retire every version; those on lease go when they come back."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._polling:
            for held in list(self._held.values()):
                if held.state == "AVAILABLE":
                    self._retire(held)

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception:  # a folder that cannot be read now may be read later; the thread must live
                log.exception("could not look for versions in %s", self.base)

    def _on_disk(self) -> dict[int, Path]:
        if not self.base.is_dir():
            return {}
        found = (path for path in self.base.iterdir() if path.name.isascii() and path.name.isdigit() and path.is_dir())
        return {int(path.name): path for path in sorted(found, key=lambda path: path.name)}

    def _read_labels(self) -> None:
        if self._labels_file is not None:
            try:
                self._labels = {**read_labels(self._labels_file, self.name), **self._given_labels}
            except (OSError, ValueError) as fault:
                log.warning("%s: labels stay as they are: %s", self._labels_file, fault)

    def _load_wanted(self, there: dict[int, Path]) -> set[int]:
        """Load what is to be served and return it; the newest counts only when it could be loaded."""
        wanted = {version for version in self._labels.values() if version in there}
        if self.keep == "all":
            wanted |= set(there)
        for version in sorted(wanted):
            self._load(version, there[version])
        for version in sorted(there, reverse=True):
            if self._load(version, there[version]):
                return wanted | {version}
        return wanted

    def _load(self, version: int, folder: Path) -> bool:
        """Return whether the version is available, after loading it if that has not been tried."""
        with self._lock:
            held = self._held.setdefault(version, _Held(version))
            if held.state == "AVAILABLE":
                return True
            if held.state == "UNLOADING" or self._stopping.is_set():
                return False
            seen = _fingerprint(folder)
            if held.failed_print == seen:
                return False
            held.state, held.error_code, held.error_message = "LOADING", "OK", ""
        try:
            servable = Servable.load(folder)
            warm_up(servable)
        except Exception as fault:
            problem = fault if isinstance(fault, ServingProblem) else ServingProblem("UNKNOWN", str(fault))
            log.warning("version %s of %s cannot be served: %s", version, self.name, problem.message)
            with self._lock:
                held.state, held.failed_print = "END", seen
                held.error_code, held.error_message = problem.code, problem.message
            return False
        with self._lock:
            held.state, held.servable, held.failed_print = "AVAILABLE", servable, None
        log.info("version %s of %s is available", version, self.name)
        return True

    def _is_available(self, version: int) -> bool:
        with self._lock:
            return version in self._held and self._held[version].state == "AVAILABLE"

    def _newest(self) -> int | None:
        return max((held.version for held in self._held.values() if held.state == "AVAILABLE"), default=None)

    def _take(self, version: int | None, label: str | None) -> tuple[_Held, Servable]:
        if label is not None:
            version = self.version_of(label)
        with self._lock:
            chosen = self._newest() if version is None else version
            held = self._held.get(-1 if chosen is None else chosen)
            if held is None or held.state != "AVAILABLE" or held.servable is None:
                if self._stopping.is_set():
                    raise ServingProblem("UNAVAILABLE", "The server is stopping")
                raise no_servable(self.name, version)
            held.leases += 1
            return held, held.servable

    def _give_back(self, held: _Held) -> None:
        with self._lock:
            held.leases -= 1
        self._unload_if_idle(held)

    def _retire(self, held: _Held) -> None:
        with self._lock:
            held.state = "UNLOADING"
        self._unload_if_idle(held)

    def _unload_if_idle(self, held: _Held) -> None:
        with self._lock:
            if held.state != "UNLOADING" or held.leases or held.servable is None:
                return
            servable, held.servable = held.servable, None
        servable.close()
        with self._lock:
            held.state = "END"
        log.info("version %s of %s is unloaded", held.version, self.name)


def _fingerprint(folder: Path) -> Print:
    """Return names, sizes and times of a version's files: a copy that is still going on changes them."""
    files = []
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(OSError):
            facts = path.stat()
            files.append((str(path.relative_to(folder)), facts.st_size, facts.st_mtime_ns))
    return tuple(files)
