"""Is this weight file whole, and does it say where it comes from: the checks of ``covidcxr weights verify``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import files
from covidcxr_tf.models.arrays import Layers, arrays_digest, assign_all
from covidcxr_tf.models.converted import DIGEST, read_chexnet, stored_provenance
from covidcxr_tf.models.layouts import read_checkpoint
from covidcxr_tf.models.weights import read_layers


@dataclass(frozen=True)
class Check:
    """One question to a file and its answer."""

    name: str
    passed: bool
    why: str


@dataclass(frozen=True)
class Verification:
    """All checks of one file."""

    path: str
    kind: str  # "model", "converted CheXNet", "CheXNet" or "weights"
    sha256: str
    checks: tuple[Check, ...]
    provenance: dict[str, Any] | None  # of a CheXNet file
    facts: dict[str, Any] | None  # of a model

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"schema_version": 1, **asdict(self), "passed": self.passed}


def verify(path: str | Path) -> Verification:
    """Return what the checks say about a model file, a converted CheXNet file, a published one, or bare weights.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    WeightsError
        Only if there is no such file, or it cannot be opened: damage is a check that did not pass.
    """
    path = Path(path)
    archive = files.kind_of(path)
    sha256 = files.model_digest(path) if path.is_file() else ""
    try:
        if archive == "zip" and path.suffix == ".keras":
            kind, checks, provenance, facts = "model", _model_checks(path), None, files.read_facts(path)
        elif archive == "HDF5" and stored_provenance(path) is not None:
            kind, checks, provenance, facts = (
                "converted CheXNet",
                _converted_checks(path),
                stored_provenance(path),
                None,
            )
        elif archive == "HDF5" and path.name.endswith(".weights.h5"):
            kind, checks, provenance, facts = "weights", _array_checks(read_layers(path)), None, None
        else:
            checkpoint = read_checkpoint(path)
            kind, provenance, facts = "CheXNet", checkpoint.provenance.as_dict(), None
            checks = _network_checks(path, checkpoint)
    except WeightsError as cause:
        unreadable = Check("readable", False, cause.problem)
        return Verification(str(path), archive, sha256, (unreadable,), None, None)
    return Verification(str(path), kind, sha256, tuple(checks), provenance, facts)


def _model_checks(path: Path) -> list[Check]:
    model, facts = files.load_model(path)
    checks = [Check("readable", True, f"{model.count_params():,} parameters"), *_array_checks(read_layers(path))]
    missing = [key for key in ("arch", "classes", "image") if key not in facts]
    checks.append(Check("facts", not missing, f"no {', '.join(missing)}" if missing else facts["arch"]))
    classes = facts.get("classes") or []
    if facts.get("task") == "classification" and classes:
        outputs = model.output_shape[-1]
        fits = outputs == len(classes) or (outputs == 1 and len(classes) == 2)
        checks.append(Check("classes", fits, f"{outputs} outputs for {', '.join(classes)}"))
    return checks


def _converted_checks(path: Path) -> list[Check]:
    document = stored_provenance(path) or {}
    checkpoint = read_chexnet(path)
    same = document.get(DIGEST) == arrays_digest(checkpoint.layers)
    checks = _network_checks(path, checkpoint)
    checks.append(Check("digest", same, "as converted" if same else "the arrays are not those that were converted"))
    known = checkpoint.provenance
    checks.append(Check("provenance", bool(known.source_sha256), f"{known.layout} from {known.source_name}"))
    return checks


def _network_checks(path: Path, checkpoint: Any) -> list[Check]:
    from covidcxr_tf.models.chexnet import probe_network

    def fits() -> str:
        assign_all(probe_network(checkpoint.provenance), checkpoint.layers, where=path)
        return f"{len(checkpoint.layers)} layers, {len(checkpoint.provenance.labels)} findings"

    return [_asked("network", fits), *_array_checks(checkpoint.layers)]


def _array_checks(layers: Layers) -> list[Check]:
    odd = [name for name, arrays in layers.items() if not all(np.isfinite(array).all() for array in arrays)]
    checks = [Check("finite", not odd, f"not finite: {', '.join(odd)}" if odd else f"{len(layers)} layers")]
    # Gamma, beta, mean, variance: the only layers of ours with four vectors.
    norms = {name: arrays for name, arrays in layers.items() if len(arrays) == 4}
    below = [name for name, arrays in norms.items() if (arrays[3] < 0).any()]
    checks.append(Check("variances", not below, f"below 0: {', '.join(below)}" if below else f"{len(norms)} layers"))
    return checks


def _asked(name: str, question: Callable[[], str]) -> Check:
    try:
        return Check(name, True, question())
    except WeightsError as cause:
        return Check(name, False, cause.problem)
