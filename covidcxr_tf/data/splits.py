"""Splits and folds by patient, stratified.

How: a patient is one group. Its stratum is the label of its that fewest patients have (so a patient with a normal film
and a covid19 film is spread with the rarer of the two). Within a label patients are sorted by the manifests that they
stand in, by source and by number of films, ties shuffled; the parts are then dealt along this order at even distances
from a random start. Every run of neighbours (one source, say) so gets its share of each part within about one patient,
small runs too, and whether a patient has one film or ten has no say in where it goes: a greedy filling by films would
send the patients with many films to the largest part. How many patients of a label a part gets is settled beforehand by
largest remainders, at least one each.

scikit-learn's StratifiedGroupKFold is not used: it puts a class with one patient in one fold without a word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.data.schema import HEADER_ROWS, SPLITS, place
from covidcxr_tf.errors import ManifestError, SplitError, UsageError

RATIOS = (0.6, 0.2, 0.2)
NEEDED = ("train", "validation")  # a run can go without test films, not without these
#: Hexadecimal digits of a patient's digest: 30,000 patients then agree by chance in 1 of 600,000 sets.
DIGITS = 12
_ATTEMPTS = 100  # a draw can leave a part without a label whose patients all count as a rarer one; then draw again


def split_by_patient(films: pd.DataFrame, ratios: Sequence[float] = RATIOS, seed: int = 0) -> pd.DataFrame:
    """Return the films with a column `split` (train, validation or test); no patient stands in two.

    Parameters
    ----------
    films : pd.DataFrame
        With `path`, `label`, `patient_id` and, if there is one, `source`. A `split` that is there is replaced.
    ratios : sequence of three floats
        Shares of the patients in train, validation and test; non-negative, sum 1. A part with 0 stays empty.
    seed : int
        The same seed and the same films give the same split, whatever the order of the rows.

    Raises
    ------
    SplitError
        If a label has fewer patients than there are parts.
    UsageError
        If ratios or seed cannot be used.
    """
    return split_together([films], ratios, seed)[0]


def with_split(films: pd.DataFrame, ratios: Sequence[float] = RATIOS, seed: int = 0) -> pd.DataFrame:
    """Return the films with `split`: their own where they have one, else one by `split_by_patient`.

    Raises
    ------
    ManifestError
        If some films have a split and some have none: a new one would move the films that have theirs.
    SplitError, UsageError
        As `split_by_patient`.
    """
    bare = films["split"].isna() | films["split"].eq("") if "split" in films else pd.Series(True, index=films.index)
    if bare.all():
        attributes = films.attrs
        films = split_by_patient(films, ratios, seed)
        films.attrs = attributes
    elif bare.any():
        row = int(np.flatnonzero(bare.to_numpy())[0])
        path = f" ('{films['path'].iloc[row]}')" if "path" in films else ""
        raise ManifestError(
            f"{int(bare.sum())} of {len(films)} films have no split{path}",
            where=place(films.attrs.get("manifest", "manifest"), None, "split"),
            expected="train, validation or test for each film, or for none",
            remedy="`covidcxr data split` makes a new one",
        )
    return films


def split_together(
    tables: Sequence[pd.DataFrame], ratios: Sequence[float] = RATIOS, seed: int = 0
) -> list[pd.DataFrame]:
    """Return several manifests, each with a column `split`, under one assignment of patients.

    A patient that stands in several of them is in the same split in all. Each label is spread over the parts within
    each manifest as well as whole patients allow. See `split_by_patient`.
    """
    shares = _check_ratios(ratios)
    part_of = _assign(tables, shares, seed)
    named = {patient: SPLITS[part] for patient, part in part_of.items()}
    return [films.assign(split=films["patient_id"].map(named).astype("str")) for films in tables]


def fold_by_patient(films: pd.DataFrame, folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """Return the films with a column `fold` (Int64, 1..folds); no patient stands in two, labels are stratified.

    Raises
    ------
    SplitError
        If a label has fewer patients than there are folds.
    UsageError
        If `folds` or `seed` cannot be used.
    """
    return fold_together([films], folds, seed)[0]


def fold_together(tables: Sequence[pd.DataFrame], folds: int = 5, seed: int = 0) -> list[pd.DataFrame]:
    """Return several manifests, each with a column `fold`, under one assignment of patients."""
    if folds < 2:
        raise UsageError(f"{folds} folds", expected="at least 2")
    part_of = _assign(tables, np.full(folds, 1 / folds), seed)
    return [films.assign(fold=(films["patient_id"].map(part_of) + 1).astype("Int64")) for films in tables]


def split_digest(films: pd.DataFrame) -> str:
    """Return the identity of a split: SHA-256 (hex) over path, patient and part of every film, sorted.

    The part is `split`, or `fold` where there is no `split`. The order of rows and other columns do not matter.
    """
    column = "split" if "split" in films.columns else "fold"
    _need_columns(films, ("path", "patient_id", column))
    lines = sorted(
        json.dumps([path, patient, str(part)], ensure_ascii=False)
        for path, patient, part in zip(films["path"], films["patient_id"], films[column], strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def patient_digest(patient_id: str) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of a patient's id."""
    return hashlib.sha256(str(patient_id).encode()).hexdigest()[:DIGITS]


def check_split(films: pd.DataFrame, needed: Iterable[str] = NEEDED) -> None:
    """Raise where a split breaks its rules.

    Parameters
    ----------
    films : pd.DataFrame
        With `patient_id` and `split`.
    needed : iterable of str
        Splits that must hold a film.

    Raises
    ------
    SplitError
        If there is no column `split`, a film is in no split, a needed split is empty, or a patient is in two.
    """
    _need_columns(films, ("patient_id", "split"))
    where = films.attrs.get("manifest", "manifest")
    strange = films.index[~films["split"].isin(SPLITS)]
    if len(strange):
        row = int(strange[0])
        raise SplitError(
            f"'{films['split'].astype(str)[row]}' is no split",
            where=place(where, row + HEADER_ROWS, "split"),
            expected=", ".join(SPLITS),
        )
    counts = films["split"].value_counts()
    for name in needed:
        if not counts.get(name, 0):
            raise SplitError(
                f"the split '{name}' is empty",
                where=where,
                expected=f"films in {', '.join(needed)}",
                remedy="`covidcxr data split` makes a new one",
            )
    torn = torn_patients(films)
    if torn:
        patient, parts = next(iter(torn.items()))
        raise SplitError(
            f"patient '{patient}' stands in {' and '.join(parts)}" + (f", {len(torn) - 1} more too" * (len(torn) > 1)),
            where=where,
            expected="each patient in one split",
            remedy="`covidcxr data split` keeps patients whole",
        )


def torn_patients(films: pd.DataFrame, column: str = "split") -> dict[str, list[str]]:
    """Return the patients that stand in more than one part, with the parts; films in no part do not count."""
    placed = films[films[column].notna() & (films[column].astype(str) != "")]
    pairs = placed[["patient_id", column]].drop_duplicates()
    torn = pairs[pairs["patient_id"].duplicated(keep=False)].sort_values(["patient_id", column])
    return {str(patient): [str(part) for part in parts] for patient, parts in torn.groupby("patient_id")[column]}


def _assign(tables: Sequence[pd.DataFrame], shares: npt.NDArray[np.float64], seed: int) -> dict[str, int]:
    """Return patient -> number of its part."""
    if seed < 0:
        raise UsageError(f"seed {seed}", expected="0 or more")
    films = _stacked(tables)
    where = ", ".join(str(table.attrs.get("manifest", "manifest")) for table in tables)
    _refuse_small_labels(films, shares, where)
    patients = _patients(films)
    has_label = pd.crosstab(films["patient_id"], films["label"]).loc[patients.index].to_numpy() > 0
    used = np.flatnonzero(shares)
    for attempt in range(_ATTEMPTS):
        parts = _deal(patients, shares, np.random.default_rng([seed, attempt]))
        if all(has_label[parts == part].any(axis=0).all() for part in used):
            return dict(zip(patients.index.tolist(), parts.tolist(), strict=True))
    raise SplitError(
        f"no draw of {_ATTEMPTS} gives every part a patient of every label",
        where=where,
        expected="more patients of the rare labels",
        remedy="take fewer parts, or leave rare labels out",
    )


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return patient, label, source and number of the manifest of every film of all tables."""
    if not tables or all(films.empty for films in tables):
        raise SplitError("there are no films to split")
    stacked = []
    for number, films in enumerate(tables):
        _need_columns(films, ("label", "patient_id"))
        source = films["source"].astype(str) if "source" in films.columns else ""
        stacked.append(films[["patient_id", "label"]].astype(str).assign(source=source, manifest=number))
    return pd.concat(stacked, ignore_index=True)


def _refuse_small_labels(films: pd.DataFrame, shares: npt.NDArray[np.float64], where: str) -> None:
    parts = int(np.count_nonzero(shares))
    patients = films.groupby("label")["patient_id"].nunique()
    small = patients[patients < parts]
    if len(small):
        listed = ", ".join(f"'{label}' has {count}" for label, count in small.items())
        raise SplitError(
            f"too few patients for {parts} parts: {listed}",
            where=place(where, None, "label"),
            expected=f"at least {parts} patients of each label",
            remedy="take fewer parts, add films, or leave the label out",
        )


def _patients(films: pd.DataFrame) -> pd.DataFrame:
    """Return one row a patient, sorted by id: stratum, manifests it stands in, its main source, number of films."""
    rarity = films.groupby("label")["patient_id"].nunique()
    # rank 0 is the rarest label; the name settles a tie so that the order of rows cannot
    rank = {label: number for number, label in enumerate(sorted(rarity.index, key=lambda name: (rarity[name], name)))}
    by_patient = films.assign(stratum=films["label"].map(rank)).groupby("patient_id", sort=True)
    source = films.value_counts(["patient_id", "source"]).rename("films").reset_index()
    source = source.sort_values(["patient_id", "films", "source"], ascending=[True, False, True])
    stands_in = films.assign(bit=2.0 ** films["manifest"]).drop_duplicates(["patient_id", "manifest"])
    return pd.DataFrame(
        {
            "stratum": by_patient["stratum"].min(),
            "manifests": stands_in.groupby("patient_id")["bit"].sum(),
            "source": source.drop_duplicates("patient_id").set_index("patient_id")["source"],
            "films": by_patient.size(),
        }
    )


def _deal(
    patients: pd.DataFrame, shares: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return the part of each patient, in the order of `patients`."""
    shuffled = patients.assign(position=np.arange(len(patients)), tie=random.random(len(patients)))
    ordered = shuffled.sort_values(["stratum", "manifests", "source", "films", "tie"])
    parts = np.empty(len(patients), dtype=np.int64)
    owed = np.zeros(len(shares))
    for _, members in ordered.groupby("stratum", sort=True):
        counts = _largest_remainder(len(members), shares, owed, random)
        owed += len(members) * shares - counts
        parts[members["position"].to_numpy()] = _spread(counts, random)
    return parts


def _largest_remainder(
    members: int, shares: npt.NDArray[np.float64], owed: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return how many of `members` each part gets: floors, then one each where most is missing.

    What earlier labels left `owed` to a part decides between equal remainders, so that the total keeps its ratios
    too. With members enough every part with a share gets at least one.
    """
    exact = members * shares
    counts = np.floor(exact + 1e-9).astype(np.int64)
    # a debt weighs less than a remainder can differ between shares, but more than chance
    missing = np.where(shares > 0, exact - counts + 0.5 * np.clip(owed, -1, 1) + 1e-6 * random.random(len(shares)), -9)
    for part in np.argsort(-missing)[: members - counts.sum()]:
        counts[part] += 1
    for part in np.flatnonzero((shares > 0) & (counts == 0)):
        if counts.max() > 1:
            counts[np.argmax(counts)] -= 1
            counts[part] += 1
    return counts


def _spread(counts: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return a sequence with each part `counts` times, at even distances from a random start."""
    places = [(np.arange(count) + random.random()) / max(count, 1) for count in counts]
    sequence = np.repeat(np.arange(len(counts)), counts)
    return sequence[np.argsort(np.concatenate(places), kind="stable")]


def _check_ratios(ratios: Sequence[float]) -> npt.NDArray[np.float64]:
    shares = np.asarray(ratios, dtype=np.float64)
    if shares.shape != (len(SPLITS),) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise UsageError(
            f"ratios {', '.join(f'{share:g}' for share in np.ravel(shares))}",
            expected="three non-negative shares for train, validation and test that sum to 1, as in .6,.2,.2",
        )
    return shares


def _need_columns(films: pd.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        if name not in films.columns:
            raise SplitError(
                f"column '{name}' is missing",
                where=films.attrs.get("manifest", "manifest"),
                remedy="`covidcxr data split` makes it" if name in ("split", "fold") else None,
            )
