"""Version labels (``stable``, ``canary``) from a TensorFlow Serving ``models.config``."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2


def read_labels(path: str | Path, name: str) -> dict[str, int]:
    """Return label -> version of the model `name` in a ``models.config`` (empty if it does not name the model).

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no ModelServerConfig.
    """
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8"), config)
    except text_format.ParseError as fault:
        raise ValueError(f"not a ModelServerConfig: {fault}") from fault
    labels: dict[str, int] = {}
    for model in config.model_config_list.config:
        if model.name == name:
            labels.update({str(label): int(version) for label, version in model.version_labels.items()})
    return labels
