"""What an experiment works with: the films, a place to write, and training that is done once.

A run that is finished is read again instead of trained, and one that was killed goes on from its last checkpoint, so
that an interrupted reproduction goes on where it was.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from covidcxr_tf.config import Config, check_override, list_configs, load_config
from covidcxr_tf.data.manifest import write_manifest
from covidcxr_tf.data.splits import with_split
from covidcxr_tf.errors import ConfigError, ManifestError, UsageError
from covidcxr_tf.files import write_json
from covidcxr_tf.recipes.execute import execute
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.finished import FINISHED, is_of, read_finished, run_identity
from covidcxr_tf.train.run_dir import RunDir, free_folder
from covidcxr_tf.train.sameness import PLACES


@dataclass(frozen=True)
class Bench:
    """Films and folder of one repeat of a reproduction.

    Attributes
    ----------
    manifest : DataFrame
        All films (``load_manifest``), labels as the manifest has them; ``attrs`` hold ``root`` and ``manifest``.
    manifest_path, root : Path
        Its file, and the folder its paths start from.
    out : Path
        Folder of this repeat: ``films/``, ``runs/`` and whatever an experiment writes.
    smoke : bool
        Configs are shrunk by their ``[smoke]`` table.
    seed : int
        Of this repeat.
    settings : tuple of str
        The user's overrides, laid over every config; ``unet*:train.epochs=2`` over those of such names only.
    synthetic : bool
        True where every film is a phantom.
    masks : DataFrame, optional
        Films with drawn lung masks, where a manifest of their own was named; see `drawn`.
    """

    manifest: pd.DataFrame
    manifest_path: Path
    root: Path
    out: Path
    smoke: bool = False
    seed: int = 0
    settings: tuple[str, ...] = ()
    synthetic: bool = False
    masks: pd.DataFrame | None = None

    def drawn(self) -> Bench | None:
        """Return a bench of the films that have a drawn lung mask, index 0..n-1, or None where there are none.

        They are those of the manifest that was named for them, else those of the manifest. Folder, seed and settings
        stay.
        """
        films = self.manifest if self.masks is None else self.masks
        if "mask_path" not in films or not films["mask_path"].ne("").any():
            return None
        chosen = films[films["mask_path"].ne("")].reset_index(drop=True)
        chosen.attrs = films.attrs
        place = Path(str(films.attrs["manifest"])), Path(str(films.attrs["root"]))
        return replace(self, manifest=chosen, manifest_path=place[0], root=place[1], masks=None)

    def split_films(self) -> pd.DataFrame:
        """Return all films with ``split``: the manifest's own, or one by patient from the bench's seed.

        Experiments that take their films from this table share their test patients.

        Raises
        ------
        ManifestError, SplitError
            If only some films have a split, or none can be made.
        """
        return with_split(self.manifest, seed=self.seed)

    def films(self, rows: pd.DataFrame, name: str) -> Path:
        """Write rows of the manifest as ``films/<name>.csv`` and return the file, for `train`.

        Columns may have been changed (labels, ``split``); paths stay relative to `root`.

        Raises
        ------
        ManifestError
            If there are no rows.
        """
        if rows.empty:
            raise ManifestError(f"no film for '{name}'", where=self.manifest_path.name)
        return write_manifest(rows, self.out / "films" / f"{_plain_name(name)}.csv")

    def config(
        self, config: str, changes: Sequence[str] = (), *, films: Path | None = None, fixed: Sequence[str] = ()
    ) -> Config:
        """Return the config that `train` would train: shipped file, changes, the user's settings, seed and films.

        Raises
        ------
        ConfigError
            For an unknown config or key, or a value that breaks a rule.
        """
        places = {"data.manifest": films or self.manifest_path, "data.root": self.root}
        # Absolute: a config that is written into a run folder is read from there.
        overrides = [f"{key}={json.dumps(os.path.abspath(path))}" for key, path in places.items()]
        own = settings_for(config, self.settings)
        return load_config(config, [*changes, *own, *fixed, f"seed={self.seed}", *overrides], smoke=self.smoke)

    def train(
        self,
        config: str,
        name: str,
        changes: Sequence[str] = (),
        *,
        films: Path | None = None,
        fixed: Sequence[str] = (),
    ) -> Outcome:
        """Train a config into ``runs/<name>`` and return the finished run.

        A run that is finished there, of the same config, films, first weights and lung network, is read again, and one
        that was interrupted goes on. A finished one of others is kept beside, as ``<name>_before``; an interrupted one
        of others is begun anew.

        Parameters
        ----------
        config : str
            A shipped config's name, or a file.
        name : str
            Of the run folder; two experiments that ask for the same name share the run.
        changes : sequence of str
            ``"train.epochs=3"``; the user's settings go over them.
        films : Path, optional
            From `films`; by default the whole manifest.
        fixed : sequence of str
            Laid over the user's settings too: what the experiment is about, such as the patch size it compares.

        Raises
        ------
        CovidcxrError
            Of the kind that tells what stopped it: config, data, weights, or the run itself.
        """
        wanted = self.config(config, changes, films=films, fixed=fixed)
        folder = self.out / "runs" / _plain_name(name)
        identity = run_identity(wanted)
        if is_of(folder, identity):
            print(f"run {name}: finished before, read again", file=sys.stderr)
            return Outcome(RunDir(folder), json.loads((folder / "metrics.json").read_text(encoding="utf-8")))
        begun = folder.with_name(f"{folder.name}.begun.json")
        unfinished = folder.exists() and read_finished(folder) is None
        goes_on = unfinished and _read(begun) == identity and _began_as(folder, wanted)
        if goes_on:
            print(f"run {name}: was interrupted, goes on", file=sys.stderr)
        else:
            _clear(folder, name)
            write_json(begun, identity)
        # It may have been moved; what lies at its places is the same, by `run_identity`.
        outcome = execute(wanted, folder, resume=goes_on, derived=PLACES)
        write_json(folder / FINISHED, identity)
        begun.unlink()
        gc.collect()  # a trained network sits in reference cycles; the next one needs its memory
        return outcome


def settings_for(config: str, settings: Sequence[str]) -> list[str]:
    """Return the settings that hold for a config: those without a name before a colon, then those that name it.

    Parameters
    ----------
    config : str
        Name or file.
    settings : sequence of str
        ``train.epochs=3`` or ``fcdensenet*:train.epochs=3``; the name may hold ``*`` and ``?``.
    """
    own = [_scoped(setting) for setting in settings]
    name = Path(config).name.removesuffix(".toml")
    return [text for scope, text in own if not scope] + [text for scope, text in own if fnmatchcase(name, scope)]


def check_settings(settings: Sequence[str]) -> None:
    """Raise for a setting whose name before the colon fits no shipped config, or that no config could take.

    Raises
    ------
    UsageError, ConfigError
    """
    known = list(list_configs())
    for scope, text in map(_scoped, settings):
        if scope and not any(fnmatchcase(name, scope) for name in known):
            raise UsageError(f"'{scope}' is no config", expected=f"one of {', '.join(known)}, or a pattern for some")
        check_override(text)


def _scoped(setting: str) -> tuple[str, str]:
    """Return the name before the colon, empty where there is none, and the override itself."""
    scope, colon, text = setting.partition(":")
    return (scope.strip(), text) if colon and "=" not in scope else ("", setting)


def _plain_name(name: str) -> str:
    if not name or name != Path(name).name or name.startswith("."):
        raise ValueError(f"'{name}' is no name for a file")
    return name


def _read(path: Path) -> object:
    """Return the document in a file, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _began_as(folder: Path, config: Config) -> bool:
    """Return whether an interrupted run began with a config, or had none yet; False too where it cannot be read."""
    try:
        RunDir(folder).check_config(config, PLACES)
    except ConfigError:
        return False
    return True


def _clear(folder: Path, name: str) -> None:
    if read_finished(folder) is not None:
        kept = free_folder(folder.with_name(f"{folder.name}_before"))
        if kept.exists():
            kept.rmdir()
        os.replace(folder, kept)
        print(f"run {name}: config or films have changed; the old run is now {kept.name}", file=sys.stderr)
    elif folder.exists():
        shutil.rmtree(folder)
        print(
            f"run {name}: was interrupted, and is of another config or other films or damaged: begun anew",
            file=sys.stderr,
        )
