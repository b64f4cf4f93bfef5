"""Everything that can be told about a manifest before a model sees it: faults, and what to be wary of.

A fault makes `covidcxr data check` say no: a rule of the schema, a file that cannot be read, a patient or a picture on
both sides of a split, one picture under two patients. A warning does not: the manifest can be used, but its numbers
must be read with care.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from covidcxr_tf.data.check_report import Report, counted
from covidcxr_tf.data.duplicates import COLUMNS, RADIUS, find_duplicates
from covidcxr_tf.data.fingerprints import Fingerprints, fingerprint
from covidcxr_tf.data.manifest import resolve_root
from covidcxr_tf.data.schema import HEADER_ROWS, LABELS, PATH_COLUMNS, REQUIRED, SPLITS, Fault, table_faults
from covidcxr_tf.data.splits import NEEDED, torn_patients
from covidcxr_tf.data.tables import read_text_table
from covidcxr_tf.progress import Progress


def check_manifest(
    manifest: str | Path,
    root: str | Path | None = None,
    *,
    labels: Iterable[str] | None = LABELS,
    images: bool = True,
    radius: int = RADIUS,
) -> Report:
    """Return what is wrong with a manifest and its films, and what to be wary of; progress goes to stderr.

    Parameters
    ----------
    manifest : str or path
        CSV or Parquet.
    root : str or path, optional
        Folder that the paths are relative to; by default the manifest's own.
    labels : iterable of str or None
        Labels that are known; None takes any.
    images : bool
        Open every film and mask, and look for duplicates.
    radius : int
        See `find_duplicates`.

    Raises
    ------
    ManifestError
        Only where there is nothing to check: no such file, an empty one, not UTF-8, not a table at all.
    """
    folder = resolve_root(manifest, root)
    films, faults = read_text_table(manifest)
    films.attrs.update(root=folder, manifest=str(manifest))
    faults = faults or table_faults(films, folder, labels=labels)
    warnings: list[Fault] = []
    duplicates = pd.DataFrame(columns=list(COLUMNS))
    whole = all(name in films.columns for name in REQUIRED) and not films.empty
    if whole:
        faults += _leaking_patients(films)
        warnings += _confounded_labels(films) + _empty_splits(films)
    if whole and images:
        films_at_hand = _with_good_paths(films, faults)
        progress = Progress(len(films_at_hand), "read films")
        prints = fingerprint(films_at_hand, masks=True, progress=progress.advance)
        progress.close()
        faults += _file_faults(films_at_hand, prints)
        duplicates = find_duplicates(films_at_hand, radius=radius, fingerprints=prints)
        for fault, serious in _judge_duplicates(duplicates):
            (faults if serious else warnings).append(fault)
    return Report(
        str(manifest),
        folder,
        len(films),
        int(films["patient_id"].nunique()) if "patient_id" in films.columns else 0,
        whole and images,
        tuple(sorted(faults, key=lambda fault: fault.row or 0)),
        tuple(sorted(warnings, key=lambda fault: fault.row or 0)),
        duplicates,
        label_by_source(films),
        _associations(films) if whole else {},
    )


def label_by_source(films: pd.DataFrame) -> pd.DataFrame:
    """Return the number of films of each label (rows) in each source (columns); empty without a `source`."""
    if "source" not in films.columns or "label" not in films.columns or films.empty:
        return pd.DataFrame()
    # A film without a source stands in the table too: it is not to vanish from the counts.
    source = films["source"].astype(str).replace("", "(none)")
    return pd.crosstab(films["label"].astype(str), source)


def cramers_v(counts: pd.DataFrame) -> float | None:
    """Return Cramer's V of a table of counts, in [0, 1], without bias correction; None with one row or column.

    Source: Cramer 1946, Mathematical Methods of Statistics, section 21.9.
    """
    from scipy.stats.contingency import association

    if min(counts.shape) < 2:
        return None
    return float(association(counts.to_numpy(), method="cramer"))


def _associations(films: pd.DataFrame) -> dict[str, float | None]:
    if "source" not in films.columns:
        return {}
    values = {"all": cramers_v(label_by_source(films))}
    if "split" in films.columns:
        for name in SPLITS:
            part = films[films["split"] == name]
            if not part.empty:
                values[name] = cramers_v(label_by_source(part))
    return values


def _confounded_labels(films: pd.DataFrame) -> list[Fault]:
    counts = label_by_source(films)
    if counts.shape[0] < 2 or counts.shape[1] < 2:
        return []
    sources = (counts > 0).sum(axis=1)
    return [
        Fault(
            f"label '{label}' comes from one source only, '{counts.loc[label].idxmax()}': the source gives it away",
            None,
            "label",
            remedy="judge it within a source that has other labels too",
            kind="confounding",
        )
        for label in sources.index[sources == 1]
    ]


def _empty_splits(films: pd.DataFrame) -> list[Fault]:
    if "split" not in films.columns or not films["split"].isin(SPLITS).any():
        return []
    there = set(films["split"])
    faults = [Fault(f"no film is in the split '{name}'", None, "split") for name in NEEDED if name not in there]
    unplaced = int((films["split"] == "").sum())
    if unplaced:
        faults.append(Fault(f"{counted(unplaced, 'film')} in no split", None, "split", "train, validation or test"))
    return faults


def _leaking_patients(films: pd.DataFrame) -> list[Fault]:
    return [
        Fault(
            f"patient '{patient}' stands in {' and '.join(parts)}",
            None,
            column,
            "each patient in one part",
            "`covidcxr data split` keeps patients whole",
            "leakage",
        )
        for column in ("split", "fold")
        if column in films.columns
        for patient, parts in torn_patients(films[films["patient_id"] != ""], column).items()
    ]


def _with_good_paths(films: pd.DataFrame, faults: list[Fault]) -> pd.DataFrame:
    """Return the films without those whose paths are at fault already, or stand there twice."""
    rows = {fault.row for fault in faults if fault.column in PATH_COLUMNS and fault.row is not None}
    return films[~(films.index + HEADER_ROWS).isin(rows)]


def _file_faults(films: pd.DataFrame, prints: Fingerprints) -> list[Fault]:
    faults = [
        Fault(fault.problem, fault.index + HEADER_ROWS, fault.column, kind="unreadable") for fault in prints.faults
    ]
    if "sha256" in films.columns:
        for index, there, noted in zip(prints.index.tolist(), prints.sha256, films["sha256"], strict=True):
            if there and len(noted) == 64 and noted.lower() != there:
                faults.append(
                    Fault(
                        f"the file's SHA-256 is {there[:12]}..., the manifest says {noted.lower()[:12]}...",
                        index + HEADER_ROWS,
                        "sha256",
                        "the file that the manifest was made for",
                        kind="unreadable",
                    )
                )
    return faults


def _judge_duplicates(pairs: pd.DataFrame) -> list[tuple[Fault, bool]]:
    """Return a sentence for each pair, and whether it is a fault: across splits, or one file under two patients."""
    judged = []
    for pair in pairs.to_dict("records"):
        identical = pair["kind"] == "identical"
        words = "is the same file as" if identical else f"looks like (distance {pair['distance']} of 256 bits)"
        told = "same patient" if pair["same_patient"] else "other patient"
        told += "" if pair["same_label"] else ", other label"
        leaks = pair["same_split"] is not None and not pair["same_split"]
        told += ", other split" if leaks else ""
        judged.append(
            (
                Fault(
                    f"{pair['path_b']} {words} {pair['path_a']} in row {pair['row_a']} ({told})",
                    int(pair["row_b"]),
                    "path",
                    remedy=None if pair["same_patient"] else "leave one out, or give both one patient_id",
                    kind="leakage" if leaks else "duplicate",
                ),
                leaks or (identical and not pair["same_patient"]),
            )
        )
    return judged
