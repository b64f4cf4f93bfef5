"""The words of the data sets turned into the manifest's: ages, sexes, views, labels."""

from __future__ import annotations

import re

from covidcxr_tf.data.schema import LABELS, OLDEST

LATERAL = "L"
UNKNOWN_VIEW = "unknown"
FRONTAL = ("PA", "AP", "AP Supine", "AP Erect")

_VIEWS = {
    "": UNKNOWN_VIEW,
    "unknown": UNKNOWN_VIEW,
    "frontal": UNKNOWN_VIEW,
    "pa": "PA",
    "ap": "AP",
    "ap supine": "AP Supine",
    "aps": "AP Supine",
    "ap erect": "AP Erect",
    "ap semi erect": "AP Erect",
    "l": LATERAL,
    "ll": LATERAL,
    "rl": LATERAL,
    "lateral": LATERAL,
    "left lateral": LATERAL,
    "right lateral": LATERAL,
}

_YEARS = {"y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}

# What was found -> label, as the development data's README lists the causes.
_FINDINGS = {
    **dict.fromkeys(("covid-19", "covid19", "covid", "sars-cov-2"), "covid19"),
    **dict.fromkeys(("tuberculosis", "tb"), "tuberculosis"),
    **dict.fromkeys(
        (
            "bacterial",
            "bacteria",
            "streptococcus",
            "staphylococcus",
            "mrsa",
            "klebsiella",
            "e.coli",
            "e. coli",
            "legionella",
            "mycoplasma",
            "chlamydophila",
            "nocardia",
        ),
        "bacterial",
    ),
    **dict.fromkeys(
        ("viral", "virus", "sars", "mers", "mers-cov", "influenza", "h1n1", "herpes", "varicella"),
        "viral",
    ),
    **dict.fromkeys(("fungal", "pneumocystis", "aspergillosis", "lipoid", "aspiration", "ards"), "other"),
    **dict.fromkeys(("", "todo", "unknown", "inconclusive", "n/a"), "other"),
    **dict.fromkeys(("pneumonia",), "pneumonia"),
    **dict.fromkeys(("no finding", "no_finding", "normal", "healthy"), "normal"),
}
# Of several words the one that says most decides: 'COVID-19, ARDS' is covid19, 'Pneumonia/Fungal' is other.
_PRECEDENCE = ("covid19", "tuberculosis", "bacterial", "viral", "other", "pneumonia", "normal")

_FOLDERS = {
    **{name: name for name in LABELS},
    **{re.sub(r"[ _.]", "-", name): label for name, label in _FINDINGS.items() if label != "other"},
    "viral-pneumonia": "viral",
    "bacterial-pneumonia": "bacterial",
}


def parse_age(text: str) -> float | None:
    """Return an age in years (two decimals) from ``"58"``, ``"058Y"``, ``"16month"``, ``"64days"``; else None.

    ``"50+"`` or ``"early 40s"`` are not ages, and whatever is over 120 years is a slip (NIH has patients of 414).
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(y|m|w|d)?[a-z]*\.?\s*", text, flags=re.IGNORECASE)
    if found is None:
        return None
    years = float(found[1]) * _YEARS[(found[2] or "y").lower()]
    return round(years, 2) if years <= OLDEST else None


def parse_sex(text: str) -> str:
    """Return M or F from m, male, f, female, femal, w (weiblich) in any case; else an empty string."""
    return {"m": "M", "f": "F", "w": "F"}.get(text.strip()[:1].lower(), "")


def parse_view(text: str) -> str:
    """Return PA, AP, AP Supine, AP Erect, L or unknown; a word of another kind (Axial, Coronal) as it came."""
    words = " ".join(re.findall(r"[a-z]+", text.lower()))
    return _VIEWS.get(words, text.strip())


def folder_label(name: str) -> str | None:
    """Return the canonical label that a folder's name means (``COVID-19``, ``Viral Pneumonia``), or None."""
    return _FOLDERS.get(re.sub(r"[ _.]", "-", name.strip().lower()))


def parse_finding(text: str) -> tuple[str, list[str]]:
    """Return the canonical label of a finding in words, and the words in it that are not known.

    Takes ``"COVID-19, ARDS"`` and ``"Pneumonia/Viral/SARS"`` alike. A blank or undecided finding is `other`, which
    is not `normal`; a cause that is not known here is `other` too, unless a word beside it says bacterial or viral.
    """
    words = [word.strip().lower() for word in re.split(r"[/,]", text)]
    strange = [word for word in words if word not in _FINDINGS]
    labels = {_FINDINGS.get(word, "other") for word in words}
    return min(labels, key=_PRECEDENCE.index), strange
