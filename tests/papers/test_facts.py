"""The loader: what it hands out, and that it refuses every fault of a file by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from covidcxr_tf.catalog import PAPERS
from covidcxr_tf.errors import DataError, UsageError
from covidcxr_tf.papers.facts import ROLES, Fact, load_paper, paper_keys, read_paper

HEAD = 'key = "small"\ntitle = "t"\nauthors = "a"\nyear = 2020\njournal = "j"\ndoi = ""\n'
FACT = '{ id = "table1.a", what = "w", value = 0.810, unit = "1", locator = "Table 1, row 1", role = "result" }'


def write(folder: Path, facts: str = FACT, notes: str = "", head: str = HEAD) -> Path:
    path = folder / "small.toml"
    path.write_text(f"{head}fact = [{facts}]\n{notes}", encoding="utf-8")
    return path


def test_a_fact_keeps_the_printed_digits(tmp_path: Path) -> None:
    paper = read_paper(write(tmp_path))
    assert paper.facts == (Fact("table1.a", "w", 0.81, "1", "Table 1, row 1", "result", "0.810"),)
    assert isinstance(paper.facts[0].value, float)
    assert paper.notes == ()


def test_optional_parts_of_a_fact(tmp_path: Path) -> None:
    rich = FACT[:-2] + ', n = 7, ci95 = [0.7, 1], interval = "range", sign = "≈" }'
    fact = read_paper(write(tmp_path, rich)).fact("table1.a")
    assert (fact.n, fact.ci95, fact.interval, fact.sign) == (7, (0.7, 1.0), "range", "≈")
    plain = read_paper(write(tmp_path, FACT[:-2] + ", ci95 = [0.7, 0.9] }")).facts[0]
    assert plain.interval == "95 % confidence interval"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.810", "true", "'value' is True"),
        ("0.810", '"0.810"', "'value' is '0.810'"),
        ('role = "result"', 'role = "score"', "role 'score'; expected result, data, setting, cited"),
        ('"table1.a"', '"Table1.a"', "not dotted lower case"),
        ('"table1.a"', '"table1"', "not dotted lower case"),
        ('"Table 1, row 1"', '"page 3"', "locator 'page 3'"),
        ('"Table 1, row 1"', '"Tables 1"', "locator 'Tables 1'"),
        ('what = "w"', 'what = " "', "what or unit is empty"),
        ('unit = "1", ', "", "has no 'unit'"),
        (" }", ", n = 0 }", "n is 0"),
        (" }", ", n = 2.5 }", "'n' is"),
        (" }", ", sign = '~' }", "sign '~'"),
        (" }", ", ci95 = [0.9, 0.7] }", "ci95 is ['0.9', '0.7']"),
        (" }", ", ci95 = [0.9] }", "ci95"),
        (" }", ", interval = 'range' }", "'interval' without 'ci95'"),
        (" }", ", page = 3 }", "has the unknown 'page'"),
    ],
)
def test_a_faulty_fact_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in FACT
    with pytest.raises(DataError) as wrong:
        read_paper(write(tmp_path, FACT.replace(old, new)))
    assert said in str(wrong.value)
    assert "small.toml, fact 1" in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace('"small"', '"other"') + f"fact = [{FACT}]", "key is 'other'"),
        (HEAD.replace("year = 2020", 'year = "2020"') + f"fact = [{FACT}]", "'year' is '2020'"),
        (HEAD, "has no 'fact'"),
        (HEAD + "fact = [3]", "fact 1: is no table"),
        (HEAD + f"fact = [{FACT}, {FACT}]", "'table1.a' stands twice"),
        (HEAD + f"fact = [{FACT}]\n[[note]]\nfacts = ['table1.b']\ntext = 'x'", "note 1: 'table1.b' is no fact"),
        (HEAD + f"fact = [{FACT}]\n[[note]]\nfacts = []\ntext = 'x'", "note 1: facts or text is empty"),
        (HEAD + "fact = [", "no readable paper"),
    ],
)
def test_a_faulty_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as wrong:
        read_paper(path)
    assert said in str(wrong.value)
    assert "small.toml" in str(wrong.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.toml: no readable paper"):
        read_paper(tmp_path / "gone.toml")


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'covid_cxnet'"):
        load_paper("covidcxnet")
    paper = load_paper("covid_cxnet")
    with pytest.raises(UsageError, match=r"did you mean 'table6\.flat\.accuracy'"):
        paper.fact("table6.flat.acuracy")
    with pytest.raises(UsageError, match="result, data, setting, cited"):
        paper.of_role("results")


def test_every_paper_of_the_catalog_has_its_facts_and_no_file_more() -> None:
    assert paper_keys() == tuple(PAPERS)
    folder = Path(load_paper.__wrapped__.__code__.co_filename).parent
    assert {path.stem for path in folder.glob("*.toml")} == set(PAPERS)


@pytest.mark.parametrize("key", PAPERS)
def test_roles_share_out_the_facts(key: str) -> None:
    paper = load_paper(key)
    assert Counter(fact.role for fact in paper.facts) == {role: len(paper.of_role(role)) for role in ROLES}
    assert len({fact.id for fact in paper.facts}) == len(paper.facts)
    assert len({fact.what + fact.locator for fact in paper.facts}) == len(paper.facts), "two facts say the same"


@pytest.mark.parametrize("key", PAPERS)
def test_ids_start_with_the_place_that_the_locator_names(key: str) -> None:
    for fact in load_paper(key).facts:
        place = fact.locator.partition(",")[0].removeprefix("Section ").lower().replace("table ", "table")
        start = fact.id.partition(".")[0]
        if place[0] in "1234567890":
            place = f"section{place.replace('.', '_')}"
        elif (place[0] in "iv" and "-" in place) or place == "i":
            roman, _, rest = place.partition("-")
            number = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5}[roman]
            place = f"section{number}{rest.replace('.', '')}"
        elif place == "materials and methods":
            place = "methods"
        assert start == place, f"{fact.id} does not stand in {fact.locator}"


@pytest.mark.parametrize("key", PAPERS)
def test_values_fit_their_units(key: str) -> None:
    for fact in load_paper(key).facts:
        assert float(fact.printed) == fact.value >= 0, fact.id
        if fact.unit in ("films", "patients", "layers", "epochs", "px", "parameters", "filters", "classes"):
            assert fact.value.is_integer(), fact.id
        if fact.unit == "%":
            assert fact.value <= 100, fact.id
        if fact.unit == "1" and fact.role == "result":
            assert fact.value <= 1, fact.id
        if fact.ci95:
            assert fact.ci95[0] <= fact.value <= fact.ci95[1], fact.id
