"""The three papers that print rates: sums, shares and averages, and every known contradiction in a note."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest

from covidcxr_tf.papers.facts import Fact, Paper, load_paper


@pytest.fixture(scope="module")
def resnet() -> Paper:
    return load_paper("resnet101_1500")


@pytest.fixture(scope="module")
def dense() -> Paper:
    return load_paper("densenet121_phased")


@pytest.fixture(scope="module")
def patch() -> Paper:
    return load_paper("patch_resnet18")


def starting(paper: Paper, *starts: str) -> list[Fact]:
    return [fact for fact in paper.facts if fact.id.startswith(starts)]


def add(facts: Iterable[Fact]) -> float:
    return sum(fact.value for fact in facts)


def test_resnet_rows_add_up_to_100(resnet: Paper) -> None:
    rows = {
        fact.id.rpartition(".")[0] for fact in starting(resnet, "table5.", "table6.", "table7.", "table8.", "table9.")
    }
    assert len(rows) == 3 + 3 + 2 + 2 + 3
    for row in rows:
        shares = [fact for fact in starting(resnet, f"{row}.") if not fact.id.endswith(".cutoff")]
        assert add(shares) == 100, row
        assert len({fact.n for fact in shares}) == 1


def test_resnet_films_of_the_scenarios(resnet: Paper) -> None:
    value = {fact.id: fact.value for fact in resnet.facts}
    assert add(starting(resnet, "section3.d1_severe", "section3.d1_moderate", "section3.d1_mild")) == 142
    assert value["table3.d1.films"] == value["section3.d1_films"] == 142
    for fact in starting(resnet, "section3.scenario"):
        _, scenario, part, dataset = fact.id.split(".")
        if part == "test":
            assert fact.value == value[f"table4.{scenario}.test.{dataset}"]
        else:
            train, validate = (value[f"table4.{scenario}.{name}.{dataset}"] for name in ("train", "validate"))
            assert train + validate == fact.value
            assert (train, validate) == (0.9 * fact.value, 0.1 * fact.value)
    for scenario in ("scenario1", "scenario2", "scenario4"):
        for dataset in ("d1", "d2", "d3", "d4"):
            used = add(fact for fact in starting(resnet, f"table4.{scenario}.") if fact.id.endswith(dataset))
            assert used == value[f"table3.{dataset}.films"], "no film twice, none left over"


def test_resnet_n_is_the_scenario_s(resnet: Paper) -> None:
    for table, scenario in (("table5", 1), ("table6", 1), ("table7", 2), ("table9", 4)):
        for row, datasets in (("covid19", ("d1",)), ("normal", ("d2",)), ("other", ("d3", "d4"))):
            films = sum(resnet.fact(f"table4.scenario{scenario}.test.{name}").value for name in datasets)
            assert all(fact.n == films for fact in starting(resnet, f"{table}.{row}."))


def test_resnet_headline(resnet: Paper, rounds_to: Callable, noted: Callable) -> None:
    names = ("sensitivity", "specificity", "accuracy")
    for place in ("abstract", "table10.proposed", "section5"):
        assert [resnet.fact(f"{place}.{name}").value for name in names] == [97, 98, 98]
    assert resnet.fact("table5.covid19.covid19").value == 97
    assert resnet.fact("table5.normal.non_covid19").value == 98
    assert rounds_to((42 * 97 + 5118 * 98) / 5160, resnet.fact("abstract.accuracy"))
    assert rounds_to((97 + 98 + 98) / 3, resnet.fact("section3_5.average"))
    text = noted(resnet, "abstract.specificity", "table5.other.non_covid19")
    assert round((5118 * 98 + 200 * 15) / 5318) == 95
    assert "15 %" in text and "95 %" in text


def test_resnet_layers(resnet: Paper) -> None:
    convolutions = 0.0
    for stage in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        per_block = len(starting(resnet, f"table1.{stage}.kernel"))
        assert per_block == len(starting(resnet, f"table1.{stage}.filters"))
        convolutions += per_block * resnet.fact(f"table1.{stage}.blocks").value
    assert convolutions + 1 == resnet.fact("section1.layers").value == 101


def test_resnet_parameters_need_the_top_that_is_replaced(resnet: Paper, noted: Callable) -> None:
    body, entering = 0.0, 3.0
    for stage in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        kernels = [fact.value for fact in starting(resnet, f"table1.{stage}.kernel")]
        filters = [fact.value for fact in starting(resnet, f"table1.{stage}.filters")]
        for block in range(int(resnet.fact(f"table1.{stage}.blocks").value)):
            if stage != "conv1" and block == 0:
                body += (entering + 2) * filters[-1]  # projection and its normalisation
            for kernel, width in zip(kernels, filters):
                body += (kernel * kernel * entering + 2) * width
                entering = width
    millions = {classes: (body + 2049 * classes) / 1e6 for classes in (1000, 2)}
    assert f"{millions[1000]:.2f}" == "44.55" and f"{millions[2]:.2f}" == "42.50"
    assert millions[2] < resnet.fact("section2_1.parameters").value / 1e6 < millions[1000]
    text = noted(resnet, "abstract.parameters", "section2_1.parameters", "section2_1.outputs_two")
    assert "44.55" in text and "42.50" in text


def test_resnet_rates_that_42_films_cannot_give(resnet: Paper, rounds_to: Callable, noted: Callable) -> None:
    def possible(fact_id: str) -> bool:
        fact = resnet.fact(fact_id)
        assert fact.n is not None
        return any(rounds_to(100 * k / fact.n, fact) for k in range(fact.n + 1))

    wrong = [
        fact.id
        for fact in starting(resnet, "table5.", "table6.", "table7.", "table8.", "table9.")
        if fact.n and not possible(fact.id)
    ]
    assert wrong == [f"table5.covid19.{c}" for c in ("covid19", "non_covid19")] + [
        "table7.covid19.covid19",
        "table7.covid19.non_covid19",
        "table9.covid19.covid19",
        "table9.covid19.other",
    ]
    noted(resnet, *wrong)
    # Cut-off decimals would explain all three.
    assert [math.floor(100 * k / 42) for k in (41, 31, 34)] == [97, 73, 80]


def test_resnet_sizes_and_missing_rows(resnet: Paper, noted: Callable) -> None:
    assert resnet.fact("section3_2.px1500.covid19").value == resnet.fact("table7.covid19.covid19").value
    assert resnet.fact("section3_2.px1500.non_covid19").value == resnet.fact("table7.other.non_covid19").value
    minutes = [resnet.fact(f"section3_2.px{size}.training_time").value for size in (1500, 1000, 500)]
    assert minutes == [2 * 60 + 27, 60 + 13, 34]
    assert not starting(resnet, "table7.normal.") and resnet.fact("table4.scenario2.test.d2").value == 5178
    noted(resnet, "table7.other.non_covid19", "table4.scenario2.test.d2")
    assert resnet.fact("section3_3.sensitivity").value == resnet.fact("table8.cutoff50.covid19").value


def test_resnet_confidence_of_four_films(resnet: Paper, noted: Callable) -> None:
    assert resnet.fact("section3_6.covid19_confidence").value == resnet.fact("section3_1.cutoff").value == 90
    below = resnet.fact("table6.covid19.non_covid19")
    assert below.value == 17
    noted(resnet, "section3_6.covid19_confidence", below.id)


def test_resnet_claims_that_its_tables_deny(resnet: Paper, noted: Callable) -> None:
    assert resnet.fact("table9.covid19.covid19").value < resnet.fact("table5.covid19.covid19").value
    noted(resnet, "table9.covid19.covid19", "table5.covid19.covid19")
    average = resnet.fact("section3_5.average").value
    methods = {fact.id.split(".")[1] for fact in starting(resnet, "table10.")} - {"proposed"}
    means = {}
    for method in methods:
        scores = [f.value for f in starting(resnet, f"table10.{method}.") if f.unit == "%"]
        means[method] = sum(scores) / len(scores), len(scores)
    assert len(means) == 11
    assert sorted(name for name, (mean, _) in means.items() if mean > average) == ["bukhari", "narin"]
    assert all(mean < average for mean, scores in means.values() if scores == 3)
    noted(resnet, "section3_5.average", "table10.narin.sensitivity", "table10.bukhari.accuracy")


def test_dense_macro_averages(dense: Paper, rounds_to: Callable) -> None:
    for model in ("wang", "yao", "guendel", "baltruschat", "ours"):
        column = [f for f in starting(dense, "table1.") if f.id.endswith(f".{model}") and "macro" not in f.id]
        assert len(column) == 14
        assert rounds_to(math.fsum(f.value for f in column) / 14, dense.fact(f"table1.macroaverage.{model}")), model


def test_dense_films(dense: Paper, rounds_to: Callable, noted: Callable) -> None:
    value = {fact.id: fact.value for fact in dense.facts}
    parts = [f"section2_1.{part}_films" for part in ("train", "validation", "test")]
    assert sum(value[part] for part in parts) == 112120 != value["section2_1.films"]
    noted(dense, "section2_1.films", *parts)
    assert (
        add(starting(dense, "section2_3.train_films", "section2_3.validation_films", "section2_3.test_films")) == 1060
    )
    for name in ("films", "patients", "covid19_films"):
        assert value[f"abstract.{name}"] == value[f"section1.{name}"] == value[f"section2_3.{name}"]
    for part in ("train", "validation", "test"):
        share = 100 * value[f"section2_3.{part}_films"] / value["section2_3.films"]
        assert abs(share - value[f"section2_3.{part}_share"]) < 1
        assert value[f"section1.{part}_share"] == value[f"section2_3.{part}_share"]
    assert not rounds_to(100 * 801 / 1060, dense.fact("section2_3.prevalence"))
    noted(dense, "section2_3.prevalence")


def test_dense_parts_of_phase_1(dense: Paper, noted: Callable) -> None:
    films = [dense.fact(f"section2_1.{part}_films").value for part in ("train", "validation", "test")]
    text = noted(dense, *(f"section2_1.{part}_share" for part in ("train", "validation", "test")))
    assert "67.6, 9.5 and 22.8 %" in text
    assert [round(100 * count / sum(films), 1) for count in films] == [67.6, 9.5, 22.8]


def test_dense_table_2(dense: Paper, rounds_to: Callable, noted: Callable) -> None:
    value = {fact.id: fact.value for fact in dense.facts}
    phase_1 = value["section2_1.train_films"]
    for both, alone in (("path_a", "path_d"), ("path_b", "path_e")):
        assert value[f"table2.{both}.train_films"] - value[f"table2.{alone}.train_films"] == phase_1
        # Pneumonia films that phase 1 adds: the same number, whichever way it is worked out.
        assert value[f"table2.{both}.pneumonia_films"] - value[f"table2.{alone}.pneumonia_films"] == 761
        share = 100 * value[f"table2.{alone}.pneumonia_films"] / value[f"table2.{alone}.train_films"]
        for path in (both, alone):
            assert rounds_to(share, dense.fact(f"table2.{path}.prevalence"))
    assert 0.8 * value["section2_2.rsna_films"] == value["table2.path_d.train_films"]
    assert round(0.8 * value["section2_2.rsna_pneumonia_films"]) == value["table2.path_d.pneumonia_films"]
    assert 0.8 * value["section2_2.nih_films"] != value["table2.path_e.train_films"]
    noted(dense, "section2_2.nih_films", "table2.path_e.train_films")
    left = value["section2_2.nih_pneumonia_films"] - value["table2.path_e.pneumonia_films"]
    films = value["section2_2.nih_films"] - value["table2.path_e.train_films"]
    assert (left, films, round(100 * left / films, 1)) == (117, 4909, 2.4)
    noted(dense, "section2_2.nih_pneumonia_films", "table2.path_e.pneumonia_films")


def test_dense_p_values(dense: Paper, rounds_to: Callable, noted: Callable) -> None:
    pairs = starting(dense, "table4.path_")
    assert len(pairs) == math.comb(6, 2) == dense.fact("section3_3.pairs").value
    for pair in pairs:
        adjusted = dense.fact(pair.id.replace("table4", "table5"))
        assert rounds_to(min(1.0, 15 * pair.value), adjusted), pair.id
    alpha = dense.fact("section3_3.alpha").value
    assert alpha == dense.fact("table4.alpha").value == 0.5
    noted(dense, "section3_3.alpha", "table4.alpha")
    against_d = [f"table4.path_{path}_d.p" for path in "abc"]
    assert min(dense.fact(pair).value for pair in against_d) > 0.05
    noted(dense, *against_d)
    against_e_f = [f"table4.path_{path}_{other}.p" for path in "abc" for other in "ef"]
    assert max(dense.fact(pair).value for pair in against_e_f) < 0.05


def test_dense_intervals_are_even_and_the_abstract_agrees(dense: Paper) -> None:
    for path in "abcdef":
        fact = dense.fact(f"table3.path_{path}.auroc")
        assert fact.ci95 is not None
        assert sum(fact.ci95) / 2 == pytest.approx(fact.value, abs=0.001)
    assert dense.fact("abstract.best_auroc").value == dense.fact("table3.path_b.auroc").value
    assert dense.fact("abstract.control_auroc").value == dense.fact("table3.path_f.auroc").value
    assert max(starting(dense, "table3."), key=lambda fact: fact.value).id == "table3.path_b.auroc"


def test_dense_ties_in_table_1(dense: Paper, noted: Callable) -> None:
    macro = {name: dense.fact(f"table1.macroaverage.{name}").value for name in ("ours", "baltruschat", "guendel")}
    assert macro["ours"] == macro["baltruschat"] < macro["guendel"]
    noted(dense, *(f"table1.macroaverage.{name}" for name in macro))


def test_patch_films(patch: Paper, noted: Callable) -> None:
    value = {fact.id: fact.value for fact in patch.facts}
    named = [f"section3a2.{name}_films" for name in ("normal", "bacterial", "viral")]
    assert sum(value[name] for name in named) == 265 != value["section3a2.other_films"]
    assert (
        sum(value[name] for name in named) + value["section5f3.tuberculosis.films"] == value["section3a2.other_films"]
    )
    noted(patch, "section3a2.other_films", "section5f3.tuberculosis.films", *named)
    assert (
        value["section3a2.covid19_films"] + value["section3a2.viral_films"] == value["section5f3.covid19_viral.films"]
    )
    assert value["section3a2.bacterial_films"] == value["section5f3.bacterial.films"]
    assert value["section3a2.normal_films"] == value["section5f3.normal.films"]
    assert sum(value[f"section3a2.{part}_share"] for part in ("train", "validation", "test")) == pytest.approx(1)


def test_patch_shares(patch: Paper, rounds_to: Callable) -> None:
    for name in ("bacterial", "tuberculosis", "covid19_viral"):
        fact = patch.fact(f"section5f3.{name}.under_segmented")
        assert fact.n == patch.fact(f"section5f3.{name}.films").value
        assert rounds_to(100 * fact.value / fact.n, patch.fact(f"section5f3.{name}.under_segmented_share"))
    for fact in starting(patch, "section5a."):
        if fact.id.endswith(".patients"):
            assert fact.n == 64
            assert rounds_to(100 * fact.value / 64, patch.fact(fact.id.replace(".patients", ".share")))
    ours, theirs = (patch.fact(f"section5d.{name}").value for name in ("parameters", "covid_net_parameters"))
    assert round(100 * ours / theirs) == patch.fact("section5d.parameter_share").value


def test_patch_parameters_fit_no_resnet_18(patch: Paper, noted: Callable) -> None:
    # 7x7 stem, four stages of two basic blocks, projections in stages 2 to 4, two numbers a normalised channel.
    def block(entering: int, width: int) -> int:
        weights = 9 * entering * width + 9 * width * width + 4 * width
        return weights + (entering * width + 2 * width if entering != width else 0)

    body = 49 * 3 * 64 + 2 * 64
    for entering, width in ((64, 64), (64, 128), (128, 256), (256, 512)):
        body += block(entering, width) + block(width, width)
    printed = patch.fact("section5d.parameters").value / 1e6
    counts = {classes: (body + 513 * classes) / 1e6 for classes in (1000, 4)}
    assert (round(counts[1000], 2), round(counts[4], 2)) == (11.69, 11.18)
    assert printed not in {round(count, 1) for count in counts.values()}
    text = noted(patch, "section5d.parameters", "section2b.classes")
    assert "11.69" in text and "11.18" in text
