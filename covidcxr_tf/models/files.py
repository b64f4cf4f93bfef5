"""Model files: a plain ``.keras`` archive with the facts of the model beside the weights.

``covidcxr.json`` inside the archive says what a network alone cannot: classes, image path, split, threshold. Keras
alone, from the version that this package needs, opens the archive with ``keras.models.load_model`` and leaves that
member aside.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.files import plain, replacing

FACTS = "covidcxr.json"
FACTS_SCHEMA = 1
FACTS_MAX_BYTES = 4_000_000  # a card has a few kB
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
HALF_MAX = float(np.finfo(np.float16).max)  # 65504
#: Values of the smallest kernel that is halved. The first kernels of a network are small, and what they lose goes
#: through all others: a probability of the lung network moves by 0.0125 with all kernels halved, by 0.0008 with these.
HALF_FROM = 50_000
FOREIGN_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")


def save_model(
    model: keras.Model,
    path: str | Path,
    facts: Mapping[str, Any],
    *,
    half: bool = False,
    half_from: int | None = None,
) -> Path:
    """Write `model` and its facts to one ``.keras`` archive in one step and return the path.

    Only the network is written: optimiser state and compile options stay out, and layers that trained in mixed
    precision are written as float32 layers (their variables are float32), so that the file also runs on a CPU.

    Parameters
    ----------
    model : keras.Model
    path : str or path
        Must end in ``.keras``.
    facts : mapping
        What JSON can hold (NumPy scalars and arrays are turned). ``schema_version`` is added where it is missing.
    half : bool
        Large kernels as float16: half the size; a loaded model is float32 again. Vectors (biases, batch statistics: 2 %
        of the size, and small variances would underflow) and arrays with a value above 65504 stay float32.
    half_from : int, optional
        Kernels of fewer values stay float32, too; by default `HALF_FROM`.

    Raises
    ------
    WeightsError
        If the suffix is another one.
    """
    target = Path(path)
    if target.suffix != ".keras":
        raise WeightsError(f"the suffix is '{target.suffix}'", where=target, expected="a name that ends in .keras")
    card = json.dumps(plain({"schema_version": FACTS_SCHEMA, **facts}), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(target) as aside:
        _repack(model, aside, card, (HALF_FROM if half_from is None else half_from) if half else None)
        _check_archive(aside)
    return target


def load_model(path: str | Path) -> tuple[keras.Model, dict[str, Any]]:
    """Return the model (not compiled) and the facts of a ``.keras`` file.

    A file without ``covidcxr.json`` is a plain Keras model: its facts are an empty dictionary, and whoever needs
    classes or an image path must refuse it.

    Raises
    ------
    WeightsError
        For a file that is missing, cut short, damaged, of another kind, written by a newer version, or that carries
        code (Lambda layers), which is never run.
    """
    path = Path(path)
    config = read_config(path)
    facts = read_facts(path)
    foreign = sorted({name for name in _class_names(config) if name in FOREIGN_CODE})
    if foreign:
        raise WeightsError(
            f"the model has a {foreign[0]} layer, which is code from the file and is not run",
            where=path,
            expected="a model of Keras layers only",
        )
    try:
        with warnings.catch_warnings():
            # Keras only warns where weights are missing and keeps fresh ones; the count below refuses that.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            model = keras.models.load_model(str(path), compile=False, safe_mode=True)
    except Exception as cause:
        raise WeightsError(
            f"Keras cannot load it: {_first_line(cause)}", where=path, remedy="save it again with Keras 3.15"
        ) from cause
    held = _arrays_held(path)
    if held < len(model.weights):
        raise WeightsError(f"it holds {held} of the {len(model.weights)} arrays of its network", where=path)
    return model, facts


def read_facts(path: str | Path) -> dict[str, Any]:
    """Return the facts of a ``.keras`` file without building the model; an empty dictionary where it has none.

    Raises
    ------
    WeightsError
        As `load_model`.
    """
    path = Path(path)
    _check_archive(path)
    with zipfile.ZipFile(path) as archive:
        if FACTS not in archive.namelist():
            return {}
        if archive.getinfo(FACTS).file_size > FACTS_MAX_BYTES:
            raise WeightsError(f"{FACTS} is larger than {FACTS_MAX_BYTES} bytes", where=path)
        facts = _json_of(archive, FACTS, path)
    version = facts.get("schema_version", FACTS_SCHEMA)
    if not isinstance(version, int) or version > FACTS_SCHEMA:
        raise WeightsError(
            f"{FACTS} has the schema_version {version!r}",
            where=path,
            expected=f"{FACTS_SCHEMA}",
            remedy="update covidcxr_tf",
        )
    return facts


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the Keras configuration of a ``.keras`` file without building the model.

    Raises
    ------
    WeightsError
        As `load_model`.
    """
    path = Path(path)
    _check_archive(path)
    with zipfile.ZipFile(path) as archive:
        return _json_of(archive, CONFIG, path)


def read_weights(path: str | Path) -> bytes:
    """Return the HDF5 weight file inside a ``.keras`` file.

    Raises
    ------
    WeightsError
        As `load_model`.
    """
    path = Path(path)
    _check_archive(path)
    with zipfile.ZipFile(path) as archive:
        return archive.read(WEIGHTS)


def model_digest(path: str | Path) -> str:
    """Return the SHA-256 (hex) of a file.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as cause:
        raise WeightsError(f"not readable: {cause.strerror or cause}", where=path) from cause


def kind_of(path: Path) -> str:
    """Return what a path holds, in words for a message: ``"zip"``, ``"HDF5"`` or a description.

    Raises
    ------
    WeightsError
        If there is nothing, or it cannot be read.
    """
    if path.is_dir():
        return "a folder with an exported SavedModel" if (path / "saved_model.pb").is_file() else "a folder"
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except FileNotFoundError:
        raise WeightsError("there is no such file", where=path) from None
    except OSError as cause:
        raise WeightsError(f"not readable: {cause.strerror or cause}", where=path) from cause
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself (run: git lfs pull)"
    for magic, kind in ((b"PK\x03\x04", "zip"), (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"\x80\x02", "a pickle")):
        if head.startswith(magic):
            return kind
    return "an empty file" if not head else "a file of an unknown kind"


def _repack(model: keras.Model, target: Path, card: str, half_from: int | None) -> None:
    """Let Keras write the model, then copy its archive to `target` with what `save_model` promises."""
    # A folder of its own, as Keras picks the format by the suffix and must not meet a reader's glob.
    with tempfile.TemporaryDirectory(prefix=".covidcxr-", dir=target.parent) as folder:
        written = Path(folder) / "model.keras"
        model.save(written)
        with zipfile.ZipFile(written) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in source.namelist():
                content = source.read(name)
                if name == CONFIG:
                    content = _network_only(content)
                elif name == WEIGHTS:
                    content = _rewrite_weights(content, half_from)
                archive.writestr(name, content)
            archive.writestr(FACTS, card)


def _network_only(config_json: bytes) -> bytes:
    config = json.loads(config_json)
    config.pop("compile_config", None)
    for node in _nodes(config):
        if node.get("class_name") == "DTypePolicy" and str(node["config"]["name"]).startswith("mixed_"):
            node["config"]["name"] = "float32"
    return json.dumps(config).encode()


def _rewrite_weights(content: bytes, half_from: int | None) -> bytes:
    """Return the HDF5 file without optimiser state and with float16 kernels from so many values on; None: none."""
    result = io.BytesIO()
    # Copied entry by entry into a new file: HDF5 keeps the room of what is deleted.
    with h5py.File(io.BytesIO(content), "r") as source, h5py.File(result, "w") as target:

        def copy(name: str, entry: Any) -> None:
            if name.split("/")[0] == "optimizer":
                return
            if isinstance(entry, h5py.Dataset):
                values = entry[()]
                copied = target.create_dataset(name, data=values if half_from is None else _halved(values, half_from))
            else:
                copied = target.create_group(name)
            copied.attrs.update(entry.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    return result.getvalue()


def _halved(values: Any, least: int) -> Any:
    if not isinstance(values, np.ndarray) or values.ndim < 2 or values.dtype != np.float32 or values.size < least:
        return values
    # A value that float16 cannot hold keeps its array whole; NaN does not, as float16 has it too.
    return values if np.any(np.abs(values) > HALF_MAX) else values.astype(np.float16)


def _check_archive(path: Path) -> None:
    """Raise `WeightsError` unless `path` is a whole Keras archive: Keras itself does not check the sums."""
    kind = kind_of(path)
    if kind != "zip":
        hint = "weights alone; give it to --init" if kind == "HDF5" else kind
        raise WeightsError(f"this is {hint}", where=path, expected="a .keras model file")
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in (CONFIG, WEIGHTS) if name not in archive.namelist()]
            damaged = None if missing else archive.testzip()
    except Exception as cause:  # zipfile lets zlib, struct and EOF errors of damaged files through
        raise WeightsError(
            f"the archive is damaged or cut short: {_first_line(cause)}", where=path, remedy="fetch or save it again"
        ) from cause
    if missing:
        raise WeightsError(f"a zip file without {', '.join(missing)}", where=path, expected="a .keras model file")
    if damaged:
        raise WeightsError(f"{damaged} inside the archive is damaged", where=path, remedy="fetch or save it again")


def _arrays_held(path: Path) -> int:
    """Return how many arrays of weights (not of seeds, which are whole numbers) the archive holds."""
    found: list[str] = []

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and np.issubdtype(entry.dtype, np.floating):
            found.append(name)

    with h5py.File(io.BytesIO(read_weights(path)), "r") as store:
        store.visititems(visit)
    return len(found)


def _json_of(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(archive.read(name))
    except ValueError as cause:
        raise WeightsError(f"{name} inside it is not JSON: {_first_line(cause)}", where=path) from cause
    if not isinstance(document, dict):
        raise WeightsError(f"{name} inside it holds a {type(document).__name__}", where=path, expected="an object")
    return document


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object inside `value`, itself included."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(child)


def _class_names(config: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(config):
        if isinstance(node.get("class_name"), str):
            yield node["class_name"]


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return (lines[0] if lines else type(cause).__name__)[:200]
