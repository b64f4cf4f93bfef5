from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidcxr_tf.data.schema import LABELS
from covidcxr_tf.data.sources.vocabulary import folder_label, parse_age, parse_finding, parse_sex, parse_view


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("58", 58.0),
        ("058Y", 58.0),
        ("45yrs", 45.0),
        ("65.0", 65.0),
        ("013M", 1.08),  # 13 / 12
        ("16month", 1.33),  # 16 / 12
        ("64days", 0.18),  # 64 / 365.25
        ("002D", 0.01),
        ("0", 0.0),
        ("120", 120.0),
        ("121", None),
        ("414", None),
        ("50+", None),
        ("early 40s", None),
        ("?", None),
        ("", None),
    ],
)
def test_parse_age(text: str, years: float | None) -> None:
    assert parse_age(text) == years


@given(st.text(max_size=20))
def test_parse_age_gives_a_possible_age_or_none(text: str) -> None:
    age = parse_age(text)
    assert age is None or 0 <= age <= 120


@pytest.mark.parametrize(
    ("text", "sex"), [("M", "M"), ("male", "M"), ("Female", "F"), ("femal", "F"), ("w", "F"), ("", ""), ("?", "")]
)
def test_parse_sex(text: str, sex: str) -> None:
    assert parse_sex(text) == sex


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("PA", "PA"),
        ("ap", "AP"),
        ("AP Supine", "AP Supine"),
        ("APS", "AP Supine"),
        ("AP erect", "AP Erect"),
        ("AP semi erect", "AP Erect"),
        ("L", "L"),
        ("Lateral", "L"),
        ("", "unknown"),
        ("Axial", "Axial"),
        ("Coronal", "Coronal"),
    ],
)
def test_parse_view(text: str, view: str) -> None:
    assert parse_view(text) == view


@pytest.mark.parametrize(
    ("text", "label"),
    [
        # the two forms of covid-chestxray-dataset
        ("COVID-19", "covid19"),
        ("COVID-19, ARDS", "covid19"),
        ("ARDS", "other"),
        ("SARS", "viral"),
        ("Streptococcus", "bacterial"),
        ("Pneumocystis", "other"),
        ("Pneumonia/Viral/COVID-19", "covid19"),
        ("Pneumonia/Viral/Influenza/H1N1", "viral"),
        ("Pneumonia/Viral/Herpes ", "viral"),
        ("Pneumonia/Viral/MERS-CoV", "viral"),
        ("Pneumonia/Bacterial", "bacterial"),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", "bacterial"),
        ("Pneumonia/Bacterial/E.Coli", "bacterial"),
        ("Pneumonia/Fungal/Aspergillosis", "other"),
        ("Pneumonia/Lipoid", "other"),
        ("Pneumonia/Aspiration", "other"),
        ("Pneumonia", "pneumonia"),
        ("Tuberculosis", "tuberculosis"),
        ("No Finding", "normal"),
        ("No finding", "normal"),
        ("todo", "other"),
        ("Unknown", "other"),
        ("", "other"),
    ],
)
def test_parse_finding_known(text: str, label: str) -> None:
    assert parse_finding(text) == (label, [])


def test_parse_finding_names_what_it_does_not_know() -> None:
    assert parse_finding("Pneumonia/Martian") == ("other", ["martian"])
    assert parse_finding("Pneumonia/Bacterial/Martian") == ("bacterial", ["martian"])


@given(st.text(max_size=40))
def test_parse_finding_is_always_canonical_and_never_normal_by_chance(text: str) -> None:
    label, strange = parse_finding(text)
    assert label in LABELS
    assert not (label == "normal" and strange)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("COVID-19", "covid19"),
        ("covid_19", "covid19"),
        ("Normal", "normal"),
        ("No Finding", "normal"),
        ("Viral Pneumonia", "viral"),
        ("TB", "tuberculosis"),
        ("other", "other"),
        ("sarcoidosis", None),
        ("positive", None),  # of what?
    ],
)
def test_folder_label(name: str, label: str | None) -> None:
    assert folder_label(name) == label
