"""The files that lie beside exported models, so that TensorFlow Serving can take the folder as it is.

Source: TensorFlow Serving's configuration, monitoring, batching and Docker guides; the messages are those of
``tensorflow-serving-api``.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import covidcxr_tf
from covidcxr_tf.errors import DataError, UsageError
from covidcxr_tf.files import write_text

#: A release of the server that has a container image; they come months after a TensorFlow.
#: The loader of TensorFlow 2.19 was seen to give the answers of 2.21.
IMAGE = "tensorflow/serving:2.19.0"
MOUNT = "/models"  #: where the containers see the folder
SERVED = 2  #: the newest versions that are kept loaded: one for each label

CONFIG = "models.config"
CLIENTS = "clients"
HEADER = """\
# For tensorflow_model_server --model_config_file, with this folder mounted at /models.
# canary is the newest version, stable the one before; each export sets both. The rest is kept as you write it.
"""

#: Name beside the models -> template.
_FILES = {
    "batching_parameters.txt": "batching_parameters.txt",
    "monitoring.config": "monitoring.config",
    "docker-compose.yaml": "docker-compose.yaml",
    "kubernetes.yaml": "kubernetes.yaml",
    "README.txt": "README.txt",
    f"{CLIENTS}/rest_client.py": "rest_client.py.template",
    f"{CLIENTS}/grpc_client.py": "grpc_client.py.template",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def write_server_files(out: Path, name: str) -> list[Path]:
    """Write the configuration of TensorFlow Serving for the models in `out`, and two clients.

    ``models.config`` is merged: what other models or the user put there stays, for `name` the labels ``canary``
    (newest version) and ``stable`` (the one before it, or the only one) are set. The other files are written where
    they are missing and else left alone, as users change them.

    Parameters
    ----------
    out : path
        The folder that holds ``name/N/saved_model.pb``.
    name : str
        The exported model: ASCII letters, digits, ``_``, ``.`` and ``-``, as it stands in URLs.

    Returns
    -------
    list of path
        Every file of the set, written now or found there.

    Raises
    ------
    UsageError
        A name that cannot stand in a URL or that the clients' folder has.
    DataError
        No exported version, or a ``models.config`` that cannot be read.
    """
    check_name(name)
    versions = exported_versions(out / name)
    if not versions:
        raise DataError("no exported version", where=out / name, expected="folders N/ with saved_model.pb")
    written = [write_text(out / CONFIG, merged_config(out / CONFIG, name, versions))]
    facts = _facts(name)
    for target, template in _FILES.items():
        path = out / target
        if not path.exists():
            write_text(path, Template(_template(template)).substitute(facts))
        written.append(path)
    return written


def check_name(name: str) -> None:
    """Raise a UsageError when `name` cannot be that of a served model."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"model name {name!r}", expected="letters, digits, _, . and -, as it stands in URLs")
    if name in {CLIENTS, CONFIG, *_FILES}:
        raise UsageError(f"model name {name!r} is that of a file beside the models", remedy="choose another --name")


def exported_versions(folder: Path) -> list[int]:
    """Return the version numbers that `folder` holds as ``N/saved_model.pb``, lowest first."""
    if not folder.is_dir():
        return []
    numbers = [child for child in folder.iterdir() if re.fullmatch(r"[0-9]+", child.name)]
    return sorted(int(child.name) for child in numbers if (child / "saved_model.pb").is_file())


def merged_config(path: Path, name: str, versions: list[int]) -> str:
    """Return the text of ``models.config`` at `path`, if there is one, with `name` served in its newest versions.

    Parameters
    ----------
    versions : list of int
        What is there, lowest first, not empty.
    """
    from google.protobuf import text_format

    config = _read_config(path)
    listed = config.model_config_list.config
    entry = next((model for model in listed if model.name == name), None)
    if entry is None:
        entry = listed.add(name=name, base_path=f"{MOUNT}/{name}", model_platform="tensorflow")
        entry.model_version_policy.latest.num_versions = SERVED
    _set_labels(entry, versions)
    return HEADER + text_format.MessageToString(config)


def _read_config(path: Path) -> Any:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    if not path.exists():
        return config
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except (text_format.ParseError, UnicodeDecodeError) as problem:
        remedy = "mend it, or move it away to have it written anew"
        raise DataError(f"not a ModelServerConfig: {problem}", where=path, remedy=remedy) from problem
    if config.WhichOneof("config") == "custom_model_config":
        remedy = "move it away, or export into another folder"
        raise DataError("a custom_model_config", where=path, expected="a model_config_list", remedy=remedy)
    return config


def _set_labels(entry: Any, versions: list[int]) -> None:
    """Point canary and stable to the newest two versions that the entry's policy serves; drop labels of lost ones."""
    policy = entry.model_version_policy
    pinned = set(policy.specific.versions) if policy.WhichOneof("policy_choice") == "specific" else None
    served = [version for version in versions if pinned is None or version in pinned]
    for label, version in list(entry.version_labels.items()):
        if version not in versions:
            del entry.version_labels[label]
    if served:
        entry.version_labels["canary"] = served[-1]
        entry.version_labels["stable"] = served[-SERVED:][0]


def _facts(name: str) -> dict[str, str]:
    from importlib.metadata import version

    tensorflow = version("tensorflow")
    return {"name": name, "image": IMAGE, "tensorflow": tensorflow, "package": covidcxr_tf.__version__}


def _template(name: str) -> str:
    return (files("covidcxr_tf.export") / "templates" / name).read_text(encoding="utf-8")
