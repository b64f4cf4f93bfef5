"""What a check of a manifest found, for people and for machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from covidcxr_tf.data.schema import Fault

SHOWN = 20  # faults or warnings of one kind that the text report prints; the JSON one has all


@dataclass(frozen=True)
class Report:
    """What `check_manifest` found.

    Attributes
    ----------
    manifest, root : str
        The file, and the folder that its paths are relative to.
    films, patients : int
        Rows, and distinct patient ids.
    images_checked : bool
        Whether films were opened.
    faults, warnings : tuple of Fault
        By row.
    duplicates : pd.DataFrame
        See `covidcxr_tf.data.duplicates.find_duplicates`.
    sources : pd.DataFrame
        Films by label (rows) and source (columns); empty where there is no `source`.
    cramers_v : dict of str to float or None
        Association of label and source from 0 (none) to 1 (one tells the other): "all", then each split.
        None where there is one label or one source only, as it is then not defined.
    """

    manifest: str
    root: str
    films: int
    patients: int
    images_checked: bool
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    duplicates: pd.DataFrame
    sources: pd.DataFrame
    cramers_v: dict[str, float | None]

    @property
    def ok(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        """Return the report as what JSON knows."""
        pairs = self.duplicates.astype(object)
        return {
            "schema_version": 1,
            "manifest": self.manifest,
            "root": self.root,
            "ok": self.ok,
            "films": self.films,
            "patients": self.patients,
            "images_checked": self.images_checked,
            "faults": [fault.as_dict() for fault in self.faults],
            "warnings": [fault.as_dict() for fault in self.warnings],
            "duplicates": pairs.to_dict("records"),
            "label_by_source": {str(label): counts.to_dict() for label, counts in self.sources.iterrows()},
            "cramers_v": self.cramers_v,
        }

    def as_text(self) -> str:
        """Return the report for people."""
        lines = [f"{self.manifest}: {self.films} films, {self.patients} patients"]
        if not self.sources.empty:
            lines += ["", "films by label and source", self.sources.to_string(), ""]
            lines += [
                f"Cramer's V of label and source, {name}: " + ("not defined" if value is None else f"{value:.2f}")
                for name, value in self.cramers_v.items()
            ]
        if self.images_checked:
            near = int((self.duplicates["kind"] == "near").sum())
            lines.append(f"duplicates: {len(self.duplicates) - near} identical, {near} similar pairs")
        lines += _listed("warning", self.warnings, self.manifest)
        lines += _listed("fault", self.faults, self.manifest)
        counts = f"{counted(len(self.faults), 'fault')}, {counted(len(self.warnings), 'warning')}"
        return "\n".join([*lines, "", counts + ("" if self.images_checked else " (films were not opened)")])


def _listed(word: str, faults: tuple[Fault, ...], manifest: str) -> list[str]:
    lines = []
    for kind in dict.fromkeys(fault.kind for fault in faults):
        of_kind = [fault for fault in faults if fault.kind == kind]
        lines += ["", f"{kind}: {counted(len(of_kind), word)}"]
        lines += [f"  {fault.error(manifest)}" for fault in of_kind[:SHOWN]]
        if len(of_kind) > SHOWN:
            lines.append(f"  and {len(of_kind) - SHOWN} more (--json lists all)")
    return lines


def counted(number: int, word: str) -> str:
    """Return ``"1 fault"`` or ``"2 faults"``."""
    return f"{number} {word}" + ("" if number == 1 else "s")
