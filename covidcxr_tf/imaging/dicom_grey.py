"""Stored levels of a DICOM radiograph to grey, in the order of the standard.

Order (DICOM PS3.3 C.11): modality LUT or rescale, pixel padding, VOI LUT or window, then one inversion. As a radiograph
stores at most 16 bits, the whole chain is one table over all stored levels, and a film costs one lookup a pixel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.dicom_terms import shown

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def text(dataset: Any, keyword: str) -> str:
    """Return an element as upper-case text without blanks around it; "" where it is missing or empty."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip().upper()


def look_up(levels: npt.NDArray[Any], dataset: Dataset, where: str) -> npt.NDArray[np.float32]:
    """Return stored levels (integers of any shape) as grey in [0, 1], float32, through `grey_table`.

    Raises
    ------
    ImageError
        As `grey_table`, or if a film that is not the same everywhere becomes so.
    """
    lowest, count = _stored_range(dataset)
    film = grey_table(dataset, where)[np.clip(levels.astype(np.int32) - lowest, 0, count - 1)]
    if film.min() == film.max() and levels.min() != levels.max():
        raise ImageError(
            f"the window or lookup table turns levels {levels.min()} to {levels.max()} into one grey",
            where=where,
            remedy="correct WindowCenter and WindowWidth, or the VOI LUT",
        )
    return film


def _stored_range(dataset: Dataset) -> tuple[int, int]:
    """Return the lowest level that the stored bits can hold, and how many levels there are."""
    bits = int(dataset.BitsStored)
    return (-(2 ** (bits - 1)) if dataset.PixelRepresentation == 1 else 0), 2**bits


def grey_table(dataset: Dataset, where: str) -> npt.NDArray[np.float32]:
    """Return the grey in [0, 1] of each level that the stored bits can hold, lowest first; float32 (2**BitsStored,).

    Raises
    ------
    ImageError
        If a lookup table, rescale or window of the header contradicts itself.

    Source
    ------
    DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding), C.7.6.3.1.2 (MONOCHROME1).
    """
    lowest, count = _stored_range(dataset)
    stored = np.arange(lowest, lowest + count, dtype=np.float64)
    values, ends = _modality(stored, dataset, where)
    table = _voi(values, ends, dataset, where)
    if (
        text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or text(dataset, "PresentationLUTShape") == "INVERSE"
    ):
        table = 1 - table
    table[_padding(stored, dataset)] = 0
    return table.astype(np.float32)


def _modality(
    stored: npt.NDArray[np.float64], dataset: Dataset, where: str
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """Return the modality value of each stored level, and the lowest and highest value there can be."""
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        entries, first, top = _lut(sequence[0], dataset, stored[0] < 0, where)
        return _mapped(stored, entries, first), (0.0, top)
    slope, intercept = (_number(dataset.get(key)) for key in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise ImageError("RescaleSlope is 0", where=where, expected="a slope that keeps the levels apart")
    values = stored * slope + intercept
    return values, (float(values.min()), float(values.max()))


def _number(value: Any) -> float | None:
    """Return the first value of a decimal element as a finite float, None where there is none."""
    if value is None or value == "":
        return None
    if hasattr(value, "__len__") and not isinstance(value, str):
        return _number(value[0]) if len(value) else None
    number = float(value)
    return number if math.isfinite(number) else None


def _voi(
    values: npt.NDArray[np.float64], ends: tuple[float, float], dataset: Dataset, where: str
) -> npt.NDArray[np.float64]:
    """Return `values` in [0, 1] after the VOI LUT, the window, or the whole range."""
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        entries, first, top = _lut(sequence[0], dataset, ends[0] < 0, where)
        return _mapped(values, entries, first) / top
    centre, width = (_number(dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 0:
        if not ends[1] > ends[0]:
            raise ImageError(f"the rescaled levels reach from {ends[0]} to {ends[1]}", where=where, expected="a range")
        return (values - ends[0]) / (ends[1] - ends[0])
    return window(values, centre, width, text(dataset, "VOILUTFunction") or "LINEAR", where)


def window(
    values: npt.NDArray[np.float64], centre: float, width: float, function: str = "LINEAR", where: str | None = None
) -> npt.NDArray[np.float64]:
    """Return `values` windowed to [0, 1].

    A LINEAR width below 1, which the standard forbids but densities have, is taken as LINEAR_EXACT.

    Raises
    ------
    ImageError
        If `function` is none of LINEAR, LINEAR_EXACT, SIGMOID.

    Source
    ------
    DICOM PS3.3 C.11.2.1.2.1 and C.11.2.1.3.
    """
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise ImageError(f"VOI LUT function {shown(function)}", where=where, expected="LINEAR, LINEAR_EXACT or SIGMOID")
    if function == "LINEAR" and width >= 1:
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _lut(item: Any, dataset: Dataset, signed: bool, where: str) -> tuple[npt.NDArray[np.float64], int, float]:
    """Return a lookup table's entries, the value that its first entry stands for, and its highest nominal output."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count & 0xFFFF or 65536
    if signed and first > 32767:
        first -= 65536
    bits &= 0xFFFF
    if not 8 <= bits <= 16:
        raise ImageError(f"a lookup table of {bits} bits", where=where, expected="8 to 16")
    entries = _lut_entries(item.LUTData, count, dataset)
    if len(entries) != count or entries.max() > 2**bits - 1:
        raise ImageError(
            f"a lookup table of {len(entries)} entries up to {entries.max()}",
            where=where,
            expected=f"{count} entries of {bits} bits, as its descriptor says",
        )
    return entries.astype(np.float64), first, float(2**bits - 1)


def _lut_entries(data: Any, count: int, dataset: Dataset) -> npt.NDArray[np.uint16]:
    """Return the entries; 8-bit ones may be packed two to a word (PS3.3 C.11.1.1.1)."""
    if not isinstance(data, (bytes, bytearray)):
        words = np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
        if len(words) >= count:
            return words[:count]
        data = words.astype("<u2").tobytes()
    elif len(data) >= 2 * count:
        order = "<u2" if dataset.original_encoding[1] is not False else ">u2"
        return np.frombuffer(data, dtype=order, count=count).astype(np.uint16)
    return np.frombuffer(data, dtype=np.uint8)[:count].astype(np.uint16)


def _mapped(values: npt.NDArray[np.float64], entries: npt.NDArray[np.float64], first: int) -> npt.NDArray[np.float64]:
    return entries[np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)]


def _padding(stored: npt.NDArray[np.float64], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return which stored levels are padding; the value may be written with the wrong sign."""
    start = _number(dataset.get("PixelPaddingValue"))
    if start is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = _number(dataset.get("PixelPaddingRangeLimit"))
    ends = sorted(_wrapped(value, stored, dataset) for value in (start, start if limit is None else limit))
    return (stored >= ends[0]) & (stored <= ends[1])


def _wrapped(value: float, stored: npt.NDArray[np.float64], dataset: Dataset) -> float:
    span = 2.0 ** int(dataset.BitsAllocated)
    if value > stored[-1] and value - span >= stored[0]:
        return value - span
    if value < stored[0] and value + span <= stored[-1]:
        return value + span
    return value
