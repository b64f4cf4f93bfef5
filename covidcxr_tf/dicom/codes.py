"""What the objects say, in codes: SNOMED CT where there is one, else a scheme of our own (99COVIDCXR)."""

from __future__ import annotations

import hashlib
import re

from pydicom.sr.coding import Code

OWN_SCHEME = "99COVIDCXR"

STRUCTURE = Code("91723000", "SCT", "Anatomical structure")
LUNG = Code("39607008", "SCT", "Lung")
LEFT_LUNG = Code("44029006", "SCT", "Left lung")
RIGHT_LUNG = Code("3341006", "SCT", "Right lung")
HEART = Code("80891009", "SCT", "Heart")
CHEST_FILM = Code("399208008", "SCT", "Plain chest X-ray")
LEARNED = Code("123110", "DCM", "Artificial Intelligence")
COMMENT = Code("121106", "DCM", "Comment")
NO_UNITS = Code("1", "UCUM", "no units")
FOR_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
REPORT = Code("126000", "DCM", "Imaging Measurement Report")
CALLED = Code("CLASS_CALLED", OWN_SCHEME, "Class called by the model")
THRESHOLD = Code("CALLED_FROM", OWN_SCHEME, "Probability from which the class is called")

_CLASSES = {
    "normal": Code("17621005", "SCT", "Normal"),
    "pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "bacterial": Code("53084003", "SCT", "Bacterial pneumonia"),
    "viral": Code("75570004", "SCT", "Viral pneumonia"),
    "tuberculosis": Code("154283005", "SCT", "Pulmonary tuberculosis"),
    "covid19": Code("840539006", "SCT", "COVID-19"),
}


def class_code(name: str) -> Code:
    """Return the code of a model's class; a class of one's own has a code of our scheme."""
    return _CLASSES.get(name) or _own("", name, name)


def probability_code(name: str) -> Code:
    """Return the code of the measurement 'probability of this class'."""
    return _own("P_", name, f"Probability of {name}")


def _own(prefix: str, name: str, meaning: str) -> Code:
    value = prefix + re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    if len(value) > 16 or not name.isascii() or value == prefix:
        value = prefix + hashlib.sha256(name.encode()).hexdigest()[:12].upper()
    plain = "".join(sign if " " <= sign <= "~" and sign != "\\" else "?" for sign in meaning)
    return Code(value, OWN_SCHEME, plain[:64])
