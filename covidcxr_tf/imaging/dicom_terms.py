"""Which values of a DICOM header an error may repeat."""

from __future__ import annotations

from typing import Any

_MODALITIES = """
AR ASMT AU BDUS BI BMD CD CR CT DD DF DG DM DR DS DX EC ECG EPS ES FA FID FS GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS
MA MG MR MS NM OAM OCT OP OPM OPT OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV RX
SC SEG SM SMR SR SRF ST STAIN TG TM US VA VF XA XC
"""
_PICTURES = "MONOCHROME1 MONOCHROME2 PALETTE COLOR RGB HSV ARGB CMYK YBR FULL 422 PARTIAL 420 RCT ICT"
_CURVES = "LINEAR EXACT SIGMOID"
_VIEWS = """
LL RL LLAT RLAT LAT LLD RLD LLO RLO LAO RAO LPO RPO OBL LATERAL OBLIQUE LEFT RIGHT ANTERIOR POSTERIOR DECUBITUS ANTERO
POSTERO PROJECTION CHEST
"""
TERMS = frozenset(f"{_MODALITIES} {_PICTURES} {_CURVES} {_VIEWS}".split())
"""Words of modalities, photometric interpretations, VOI functions and views (PS3.3)."""


def shown(value: Any) -> str:
    """Return a header's value as an error may repeat it: numbers, and words of the standard's own.

    Other text is not repeated: names and numbers of patients have been seen in every element.
    """
    if value is None or isinstance(value, int):
        return str(value)
    words = str(value).replace("_", " ").split()
    return str(value) if words and set(words) <= TERMS else "(text that is not repeated)"
