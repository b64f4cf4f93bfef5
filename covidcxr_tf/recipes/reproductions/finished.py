"""Which config, films and files a finished run is of: what is equal is read again instead of trained."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from covidcxr_tf.config import Config, load_config
from covidcxr_tf.errors import ConfigError, WeightsError
from covidcxr_tf.lung_finder import model_file

#: Written into a run folder as the last thing: which config and which films the run is of.
FINISHED = "finished.json"
#: Its keys that every finished run has, and that of the lung network.
REQUIRED = ("config", "films", "init")
LUNGS = "image.lung_model"


def run_identity(config: Config) -> dict[str, str]:
    """Return what a run is of: the config without its places, the rows that it trains on, and the files it names.

    Places are left out so that a reproduction that was moved with its films still counts as done.
    """
    films = _sha256(Path(config.data.manifest))
    return {"config": _digest(config), "films": films, "init": _first_weights(config), **_named_files(config)}


def _named_files(config: Config) -> dict[str, str]:
    """Return key -> SHA-256 of the lung network, the reference film and the parts' manifests, as far as they are there.

    A file that is missing is told by the training, where there is one: a finished run can be read without it.
    """
    named: dict[str, Path] = {}
    if config.image.lungs != "none":
        with contextlib.suppress(WeightsError):
            named[LUNGS] = model_file(config.image.lung_model)
    if config.image.histogram_reference:
        named["image.histogram_reference"] = Path(config.image.histogram_reference)
    for kind, parts in (("phases", config.phases), ("levels", config.levels)):
        for part, table in parts.items():
            data = table.get("data")
            if isinstance(data, Mapping) and (manifest := data.get("manifest")):
                named[f"{kind}.{part}.data.manifest"] = Path(manifest)
    return {key: _sha256(path) for key, path in named.items() if path.is_file()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(config: Config) -> str:
    document = config.model_dump(mode="json")
    document["data"] |= {"manifest": "", "root": ""}
    document["model"] |= {"init": ""}  # by content, not by place: `_first_weights`
    document["train"].pop("checkpoint_steps", None)  # how often a run is saved changes nothing that it learns
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _first_weights(config: Config) -> str:
    """Return the SHA-256 of the file that a run starts from, such as an earlier phase's model; else the init string."""
    init = config.model.init
    path = Path(init.removeprefix("chexnet:"))
    if init in ("none", "imagenet") or not path.is_file():
        return init
    return _sha256(path)


def is_of(folder: Path, identity: Mapping[str, str]) -> bool:
    """Return whether the finished run in a folder, if there is one, is of an identity.

    A run from before a file counted does not say which one it was of, but for its lung network, of which it has a copy.
    """
    found = read_finished(folder)
    if found is None:
        return False
    copies = sorted(folder.rglob("lung_model.keras"))
    if LUNGS not in found and copies:
        found[LUNGS] = _sha256(copies[0])
    return all(found.get(key) == identity[key] for key in REQUIRED) and all(
        found.get(key, digest) == digest for key, digest in identity.items()
    )


def read_finished(folder: Path) -> dict[str, str] | None:
    """Return what the finished run in a folder is of, or None where there is no finished run."""
    if not (folder / "metrics.json").is_file():
        return None
    try:
        found = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
        # Read anew, not as it was digested then: a key that configs got since takes its default, and hours of training
        # are not lost to it. A default that was changed since does count, as the file holds every value.
        config = load_config(folder / "config.toml")
        return {"init": config.model.init} | found | {"config": _digest(config)}
    except ConfigError:
        return found  # a key that configs no longer have
    except (OSError, ValueError, TypeError):
        return None
