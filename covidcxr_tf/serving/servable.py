"""One loaded version of a SavedModel: its signatures, and a checked way to run them.

It is loaded with tag ``serve`` into a session of its own, as TensorFlow Serving does: closing the session gives the
memory back, which an object loaded eagerly does only when the collector finds it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from covidcxr_tf.serving.problems import HTTP_STATUS, ServingProblem, invalid

Arrays = dict[str, npt.NDArray[Any]]

DEFAULT_SIGNATURE = "serving_default"
_INIT_OP = "__saved_model_init_op"


class Spec(NamedTuple):
    """Type and shape of one tensor of a signature."""

    dtype: str
    """TensorFlow's name: ``string``, ``float32``, ``int32``."""
    shape: tuple[int | None, ...] | None
    """None stands for any length; None as a whole for any rank."""
    tensor: str
    """Name in the graph."""

    @property
    def numpy(self) -> npt.DTypeLike:
        """The NumPy type: object for strings."""
        return tf.as_dtype(self.dtype).as_numpy_dtype

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of `shape` fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            own is None or own == other for own, other in zip(self.shape, shape)
        )


@dataclass(frozen=True)
class Signature:
    """Named inputs and outputs."""

    name: str
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]


class Servable:
    """A SavedModel in memory; safe to run from many threads."""

    def __init__(self, folder: Path, session: Any, meta_graph: Any) -> None:
        self.folder = folder
        self.name = folder.parent.name
        self.version = int(folder.name) if folder.name.isdigit() else 0
        self.card = _read_card(folder)
        self.signature_defs: dict[str, Any] = dict(meta_graph.signature_def.items())
        self.signatures = {
            name: Signature(name, _specs(definition.inputs), _specs(definition.outputs))
            for name, definition in self.signature_defs.items()
            if name != _INIT_OP
        }
        self._session = session
        self._callables: dict[tuple[str, tuple[str, ...]], Callable[..., Any]] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: str | Path) -> Servable:
        """Read the SavedModel in `folder` (OUT/NAME/N).

        Raises
        ------
        ServingProblem
            NOT_FOUND if there is no SavedModel, FAILED_PRECONDITION if it cannot be read.
        """
        folder = Path(folder)
        if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise ServingProblem(
                "NOT_FOUND", f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}"
            )
        with tf.Graph().as_default() as graph:
            session = tf.compat.v1.Session(graph=graph)
            try:
                meta_graph = _quietly(lambda: tf.compat.v1.saved_model.load(session, ["serve"], str(folder)))
                return cls(folder, session, meta_graph)
            except Exception as cause:
                session.close()
                raise ServingProblem("FAILED_PRECONDITION", f"{folder.name}: {_first_line(cause)}") from cause

    def signature(self, name: str | None) -> Signature:
        """Return a signature; an empty name is ``serving_default``.

        Raises
        ------
        ServingProblem
            INVALID_ARGUMENT if there is none of this name.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def run(
        self,
        signature: str | None,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        outputs: tuple[str, ...] | None = None,
        timeout_s: float | None = None,
    ) -> Arrays:
        """Return the outputs of `signature` for `inputs`.

        Parameters
        ----------
        signature : str or None
            None or empty: ``serving_default``.
        inputs : mapping of str to ndarray
            Exactly the inputs of the signature; bytes in arrays of object (or NumPy bytes) for strings.
        outputs : tuple of str, optional
            Which outputs to fetch; all by default.
        timeout_s : float, optional
            Stop after so many seconds.

        Raises
        ------
        ServingProblem
            INVALID_ARGUMENT for wrong names, types or shapes, DEADLINE_EXCEEDED, or what the graph itself raised.
        """
        called = self.signature(signature)
        wanted = outputs if outputs else tuple(called.outputs)
        _check_outputs(called, wanted)
        feeds = _checked(called, inputs)
        options = tf.compat.v1.RunOptions(timeout_in_ms=0 if timeout_s is None else max(1, int(timeout_s * 1000)))
        try:
            fetched = self._callable(called, wanted)(*feeds, options=options)
        except tf.errors.OpError as fault:
            raise _problem_of(fault) from fault
        except RuntimeError as fault:  # the session was closed
            raise ServingProblem("UNAVAILABLE", f"version {self.version} is no longer loaded") from fault
        return dict(zip(wanted, (np.asarray(value) for value in fetched)))

    def close(self) -> None:
        """Give the memory back; `run` answers UNAVAILABLE from then on."""
        with self._lock:
            self._callables.clear()
        self._session.close()

    def _callable(self, signature: Signature, outputs: tuple[str, ...]) -> Callable[..., Any]:
        key = (signature.name, outputs)
        with self._lock:
            if key not in self._callables:
                with self._session.graph.as_default():
                    self._callables[key] = self._session.make_callable(
                        [signature.outputs[name].tensor for name in outputs],
                        feed_list=[spec.tensor for spec in signature.inputs.values()],
                        accept_options=True,
                    )
            return self._callables[key]


def _specs(infos: Any) -> dict[str, Spec]:
    return {name: _spec(infos[name]) for name in sorted(infos)}


def _spec(info: Any) -> Spec:
    shape = None
    if not info.tensor_shape.unknown_rank:
        shape = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
    return Spec(tf.as_dtype(info.dtype).name, shape, info.name)


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / "assets.extra" / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a SavedModel of another maker has none
        return {}
    return card if isinstance(card, dict) else {}


def _quietly(load: Callable[[], Any]) -> Any:
    # The loader announces its own deprecation at each call; TensorFlow Serving's C++ twin of it does not.
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        return load()
    finally:
        logger.setLevel(level)


def _first_line(fault: BaseException) -> str:
    text = fault.message if isinstance(fault, tf.errors.OpError) else str(fault)
    return (text or type(fault).__name__).strip().splitlines()[0][:500]


def _problem_of(fault: tf.errors.OpError) -> ServingProblem:
    names = {value: name for name, value in vars(tf.errors).items() if isinstance(value, int)}
    code = names.get(fault.error_code, "UNKNOWN")
    if code == "DEADLINE_EXCEEDED":
        return ServingProblem(code, "Timed out while the model ran")
    return ServingProblem(code if code in HTTP_STATUS else "UNKNOWN", _first_line(fault))


def _check_outputs(signature: Signature, wanted: tuple[str, ...]) -> None:
    for name in wanted:
        if name not in signature.outputs:
            known = ",".join(signature.outputs)
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set {{{known}}}."
            )
    if len(set(wanted)) != len(wanted):
        twice = next(name for name in wanted if wanted.count(name) > 1)
        raise invalid(f"duplicate output tensor alias: {twice}")


def _checked(signature: Signature, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    sent, needed = set(inputs), set(signature.inputs)
    if sent != needed:

        def listed(names: set[str]) -> str:
            return "{" + ",".join(sorted(names)) + "}"

        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(needed)} len({listed(sent)}) != "
            f"len({listed(needed)}). Sent extra: {listed(sent - needed)}. "
            f"Missing but required: {listed(needed - sent)}."
        )
    arrays = [_fitting(name, spec, np.asarray(inputs[name])) for name, spec in signature.inputs.items()]
    rows = {
        name: len(array)
        for (name, spec), array in zip(signature.inputs.items(), arrays)
        if spec.shape and spec.shape[0] is None
    }
    if len(set(rows.values())) > 1:
        raise invalid(f"all inputs of one request must have the same number of rows: {rows}")
    if 0 in rows.values():
        # A network over no film at all is a fault inside TensorFlow, not an empty answer.
        raise invalid("a request needs at least one film")
    return arrays


def _fitting(name: str, spec: Spec, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    is_bytes = array.dtype.kind in "SU" or (
        array.dtype == object and all(isinstance(item, (bytes, str)) for item in array.flat)
    )
    own = "string" if is_bytes else array.dtype.name
    if own != spec.dtype:
        raise invalid(f"input {name} is expected to be {spec.dtype} but {own} is provided")
    if not spec.accepts(array.shape):
        expected = "[" + ",".join("?" if size is None else str(size) for size in spec.shape or ()) + "]"
        raise invalid(f"input {name} is expected to be of shape {expected} but {list(array.shape)} is provided")
    # np.bytes_ arrays lose trailing zero bytes; objects do not.
    return array.astype(object) if own == "string" else array
