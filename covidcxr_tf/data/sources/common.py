"""What the readers of data sets share: gathering rows, keeping count of what is left out, writing a table.

A reader is ``read(folder, *, with_lateral=False) -> DataFrame``. It writes nothing. Its paths are relative to `folder`.
Where a mask comes in parts or in another size than its film, or a film in a raw form, the parts stand in the columns
`mask_parts` and `heart_mask_parts` (joined by |) and ``path`` names the raw file: `covidcxr_tf.data.sources.derived`
writes the files that follow from them. ``attrs["notes"]`` says in sentences what was left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from covidcxr_tf.data.sources.files import Tree
from covidcxr_tf.data.sources.vocabulary import FRONTAL, LATERAL, UNKNOWN_VIEW, parse_finding
from covidcxr_tf.errors import DataError, ImageError

SEE_SOURCE = "research use, see source"
PARTS = "|"
MASK_PARTS = {"mask_path": "mask_parts", "heart_mask_path": "heart_mask_parts"}

#: The columns of every import, in this order; a source's own follow.
COLUMNS = (
    "path",
    "label",
    "patient_id",
    "source",
    "view",
    "age",
    "sex",
    "findings",
    "mask_path",
    "heart_mask_path",
    "original_width",
    "original_height",
    "license",
    "original_finding",
)


class Gatherer:
    """The films of one data set as they are found, and a count of those that are not.

    Parameters
    ----------
    tree : Tree
        The folder.
    source : str
        The name that goes to the column `source` and before each patient's id, which so is unique among sources.
    license : str
        The set's licence, for rows that name none.
    """

    def __init__(self, tree: Tree, source: str, license: str = SEE_SOURCE) -> None:
        self.tree = tree
        self.source = source
        self.license = license
        self.notes: list[str] = []
        self._rows: list[dict[str, object]] = []
        self._left_out: dict[str, list[str]] = {}
        self._taken: set[PurePosixPath] = set()

    def add(
        self,
        film: PurePosixPath | None,
        name: str,
        *,
        label: str,
        patient: str,
        finding: str,
        view: str = UNKNOWN_VIEW,
        source: str | None = None,
        **columns: object,
    ) -> None:
        """Take a film, or count it as left out where its file is not there or its view is not of the chest's front.

        Parameters
        ----------
        film : PurePosixPath or None
            The file, relative to the folder; None where none was found.
        name : str
            The name that the data set gives it, for messages.
        label, patient, finding, view
            Canonical label; the patient's id in the set; the set's own words; a view from `parse_view`.
        source : str, optional
            The set that the film came from, for collections.
        **columns
            Further columns; None and "" both mean unknown.
        """
        if film is None:
            self.leave_out("listed but not in the folder", name)
            return
        if view not in (*FRONTAL, UNKNOWN_VIEW, LATERAL):
            self.leave_out("not a plain chest film by the view that is stated", f"{name} ({view})")
            return
        if film in self._taken:
            self.leave_out("listed twice", name)
            return
        self._taken.add(film)
        origin = source or self.source
        row: dict[str, object] = {
            "path": film.as_posix(),
            "label": label,
            "patient_id": f"{origin}_{patient}",
            "source": origin,
            "view": view,
            "license": self.license,
            "original_finding": finding,
        }
        row.update({key: value for key, value in columns.items() if value is not None})
        self._rows.append(row)

    def leave_out(self, reason: str, name: str) -> None:
        """Count a film that does not become a row."""
        self._left_out.setdefault(reason, []).append(name)

    def label_of(self, finding: str) -> str:
        """Return the canonical label of a finding in words, noting words that are not known."""
        label, strange = parse_finding(finding)
        if strange:
            self._note_once(f"finding '{finding}' is not known here: its films are labelled {label}")
        return label

    def own_patients(self, why: str) -> None:
        """Note that no patient ids are known, so that each film counts as a patient of its own."""
        self._note_once(f"{why}: each such film counts as a patient of its own; look for repeats with `data check`")

    def frame(self, with_lateral: bool = False) -> pd.DataFrame:
        """Return the films, sorted by path; index 0..n-1, notes in ``attrs["notes"]``.

        Raises
        ------
        DataError
            If no film is left.
        """
        rows = self._rows
        if not with_lateral:
            for row in (row for row in rows if row["view"] == LATERAL):
                self.leave_out("lateral films (--with-lateral keeps them)", str(row["path"]))
            rows = [row for row in rows if row["view"] != LATERAL]
        counts = [_counted(reason, names) for reason, names in self._left_out.items()]
        if not rows:
            raise DataError(
                "no film found" + (f" (left out: {'; '.join(counts)})" if counts else ""),
                where=self.tree.folder,
                expected=self.tree.expected,
                remedy="unpack the films beside the metadata, with the names of the published data set",
            )
        films = pd.DataFrame(rows)
        extra = [name for name in films.columns if name not in COLUMNS]
        films = films.reindex(columns=[*COLUMNS, *extra]).astype("object")
        films = films.where(films.notna(), "").sort_values("path").reset_index(drop=True)
        films.attrs["notes"] = [f"left out: {count}" for count in counts] + self.notes
        return films

    def masks(self, film: PurePosixPath | None, column: str, parts: Iterable[PurePosixPath | None]) -> dict[str, str]:
        """Return the mask's column of a film: itself where one part of the film's size is all, else its parts.

        Raises
        ------
        ImageError
            If the header of film or mask cannot be read.
        """
        there = list(parts)
        if film is None or not there or None in there:
            return {}
        found = [part for part in there if part is not None]
        if len(found) == 1 and self.size(found[0]) == self.size(film):
            return {column: found[0].as_posix()}
        return {MASK_PARTS[column]: PARTS.join(part.as_posix() for part in found)}

    def size(self, film: PurePosixPath) -> tuple[int, int]:
        """Return (rows, columns) from the header of a picture."""
        return picture_size(self.tree.folder / film)

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def picture_size(path: Path) -> tuple[int, int]:
    """Return (rows, columns) from a picture's header.

    Raises
    ------
    ImageError
        If it has none.
    """
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (OSError, ValueError, Image.DecompressionBombError) as cause:
        raise ImageError(f"not readable: {cause}", where=path, expected="a picture") from cause


def _counted(reason: str, names: list[str]) -> str:
    return f"{len(names)} {reason}, {'' if len(names) == 1 else 'first '}{names[0]}"
