"""The two papers that print confusion counts: every rate against its table, every known contradiction in a note."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from covidcxr_tf.papers.facts import Paper, load_paper

Counts = list[list[float]]
BINARY = ("normal", "covid19")
THREE = ("normal", "cap", "cp")
FOUR = ("normal", "covid19", "viral", "bacterial")


def cells(paper: Paper, table: str, classes: tuple[str, ...]) -> Counts:
    return [[paper.fact(f"{table}.{row}.{column}").value for column in classes] for row in classes]


def total(counts: Counts) -> float:
    return sum(map(sum, counts))


def accuracy(counts: Counts) -> float:
    return sum(counts[k][k] for k in range(len(counts))) / total(counts)


def recall(counts: Counts, k: int) -> float:
    return counts[k][k] / sum(counts[k])


def precision(counts: Counts, k: int) -> float:
    return counts[k][k] / sum(row[k] for row in counts)


def specificity(counts: Counts, k: int) -> float:
    called = sum(row[k] for row in counts) - counts[k][k]
    return 1 - called / (total(counts) - sum(counts[k]))


def harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b)


def f_score(counts: Counts, k: int) -> float:
    return harmonic(precision(counts, k), recall(counts, k))


@pytest.fixture(scope="module")
def cxnet() -> Paper:
    return load_paper("covid_cxnet")


@pytest.fixture(scope="module")
def vgg() -> Paper:
    return load_paper("vgg16_pcxr")


def test_the_arithmetic_itself() -> None:
    by_hand = [[8.0, 2.0], [1.0, 9.0]]
    assert accuracy(by_hand) == 17 / 20
    assert (recall(by_hand, 1), precision(by_hand, 1), specificity(by_hand, 1)) == (0.9, 9 / 11, 0.8)
    assert f_score(by_hand, 1) == pytest.approx(18 / 21)


@pytest.mark.parametrize(
    ("table", "classes", "model", "section", "f_names"),
    [
        ("table2", BINARY, "base_v2", "section5_1.base_v2", {"f_score": 1}),
        ("table3", BINARY, "cxnet_v1", "section5_3.cxnet_v1", {"f_score": 1}),
        ("table4", THREE, "flat", "section5_3.flat", {"f_score_cp": 2}),
        ("table5", THREE, "hierarchical", "section5_3.hierarchical", {"f_score_cp": 2, "f_score_cap": 1}),
    ],
)
def test_cxnet_scores_follow_from_their_table(
    cxnet: Paper, rounds_to: Callable, table: str, classes: tuple, model: str, section: str, f_names: dict[str, int]
) -> None:
    counts = cells(cxnet, table, classes)
    for place in (f"table6.{model}.accuracy", f"{section}.accuracy"):
        assert rounds_to(100 * accuracy(counts), cxnet.fact(place)), place
        assert cxnet.fact(place).n == total(counts)
    for name, k in f_names.items():
        assert rounds_to(f_score(counts, k), cxnet.fact(f"{section}.{name}")), name
    assert rounds_to(f_score(counts, len(classes) - 1), cxnet.fact(f"table6.{model}.f_score"))
    for row, column in product(classes, classes):
        assert cxnet.fact(f"{table}.{row}.{column}").n == total(counts)


def test_cxnet_sums(cxnet: Paper) -> None:
    value = {fact.id: fact.value for fact in cxnet.facts}
    assert total(cells(cxnet, "table1", BINARY)) == value["section5_1.external_films"]
    assert total(cells(cxnet, "table2", BINARY)) == value["table2.samples"]
    assert value["section5_1.base_v1.train_films"] + value["section5_1.base_v1.test_films"] == 600
    assert value["table6.base_v1.dataset_size"] == 600
    for model, place, parts in (
        ("base_v2", "section5_1.base_v2", ("normal", "covid19")),
        ("cxnet_v1", "section5_3.cxnet", ("normal", "covid19")),
        ("flat", "section5_3.multiclass", ("normal", "cap", "cp")),
        ("hierarchical", "section5_3.multiclass", ("normal", "cap", "cp")),
    ):
        assert sum(value[f"{place}.{part}_films"] for part in parts) == value[f"{place}.films"]
        assert value[f"table6.{model}.dataset_size"] == value[f"{place}.films"]
    assert round(0.2 * value["section5_3.cxnet.films"]) == total(cells(cxnet, "table3", BINARY))
    assert 0.2 * value["section5_3.multiclass.films"] == total(cells(cxnet, "table4", THREE))
    rows = [[sum(row) for row in cells(cxnet, table, THREE)] for table in ("table4", "table5")]
    assert rows[0] == rows[1], "both three-class models are tested on the same films"


def test_cxnet_v2_is_v1_less_its_drops(cxnet: Paper) -> None:
    for name in ("accuracy", "f_score"):
        lost = cxnet.fact(f"section5_3.cxnet_v2.{name}_drop").value
        assert cxnet.fact(f"table6.cxnet_v2.{name}").value == pytest.approx(
            cxnet.fact(f"table6.cxnet_v1.{name}").value - lost
        )


def test_cxnet_repeats_itself_where_it_should(cxnet: Paper) -> None:
    value = {fact.id: fact.value for fact in cxnet.facts}
    assert value["section2.li.films"] / 3 == value["table7.li.cp_films"]
    for author, other in (("zhang", "zhang"), ("rajaraman", "rajaraman"), ("covid_net", "wang")):
        assert value[f"section2.{author}.covid19_films"] == value[f"table7.{other}.cp_films"]
    for author, other in (("zhang.f_score", "zhang"), ("covid_net.f_score", "wang"), ("covidaid.f_score", "mangal")):
        assert value[f"section2.{author}"] == value[f"table7.{other}.f_score"]
    assert value["section2.rajaraman.f_score_cap"] == value["table7.rajaraman.f_score"]
    assert value["table7.proposed.cp_films"] == value["section5_3.multiclass.cp_films"]
    assert len({value[f"{place}.covid19_films"] for place in ("section1", "section3_1", "section6_1")}) == 1


def test_cxnet_row_1_of_table_6_has_two_test_sets(cxnet: Paper, rounds_to: Callable, noted: Callable) -> None:
    counts = cells(cxnet, "table1", BINARY)
    assert rounds_to(f_score(counts, 1), cxnet.fact("table6.base_v1.f_score"))
    assert not rounds_to(100 * accuracy(counts), cxnet.fact("table6.base_v1.accuracy"))
    assert "80 %" in noted(cxnet, "table6.base_v1.accuracy", "table6.base_v1.f_score", "table1.covid19.covid19")
    assert accuracy(counts) == 0.8


def test_cxnet_accuracies_that_no_number_of_films_gives(cxnet: Paper, rounds_to: Callable, noted: Callable) -> None:
    v1 = cxnet.fact("section5_1.base_v1.accuracy")
    for films in (120, 1200):
        assert not any(rounds_to(100 * k / films, v1) for k in range(films + 1))
    noted(cxnet, v1.id, "section5_1.base_v1.test_films")
    first = cxnet.fact("section5_1.samples300.accuracy")
    assert not any(rounds_to(100 * k / 60, first) for k in range(61))
    assert rounds_to(100 * 59 / 61, first)
    noted(cxnet, first.id, "section5_1.samples300.films")


def test_cxnet_digits_that_are_off_by_one(cxnet: Paper, rounds_to: Callable, noted: Callable) -> None:
    cap = cxnet.fact("section5_3.flat.f_score_cap")
    assert not rounds_to(f_score(cells(cxnet, "table4", THREE), 1), cap)
    assert "0.77" in noted(cxnet, cap.id)
    cp = cxnet.fact("table7.proposed.f_score")
    assert not rounds_to(f_score(cells(cxnet, "table5", THREE), 2), cp)
    assert "0.9220" in noted(cxnet, cp.id)


def test_cxnet_intervals_do_not_shrink_with_the_dataset(cxnet: Paper, noted: Callable) -> None:
    models = ("base_v1", "base_v2", "cxnet_v1", "cxnet_v2", "flat", "hierarchical")
    facts = [cxnet.fact(f"table6.{model}.accuracy") for model in models]
    text = noted(cxnet, *(fact.id for fact in facts), "section6.runs")
    widths = [high - low for low, high in (fact.ci95 or (0, 0) for fact in facts)]
    assert [f"{width:.2f}" for width in widths] == ["5.70", "5.30", "3.11", "2.14", "4.61", "3.09"]
    assert all(f"{width:.2f}" in text for width in widths)
    assert min(widths[4:]) > widths[3]
    assert {fact.interval for fact in facts} == {"range of ten runs"}


def test_cxnet_classes_of_the_tests_are_not_a_fifth(cxnet: Paper, noted: Callable) -> None:
    for table, classes, place in (
        ("table2", BINARY, "section5_1.base_v2"),
        ("table3", BINARY, "section5_3.cxnet"),
        ("table4", THREE, "section5_3.multiclass"),
    ):
        counts = cells(cxnet, table, classes)
        fifths = [0.2 * cxnet.fact(f"{place}.{name}_films").value for name in classes]
        assert any(abs(sum(row) - fifth) >= 1 for row, fifth in zip(counts, fifths))
        text = noted(cxnet, *(f"{table}.{a}.{b}" for a, b in product(classes, classes)))
        assert all(f"{sum(row):g}" in text and f"{fifth:g}" in text for row, fifth in zip(counts, fifths))


def test_cxnet_says_two_things(cxnet: Paper, noted: Callable) -> None:
    for one, other in (
        ("section5_2.densenet.epochs", "section5_2.densenet.figure13_epochs"),
        ("section7.multiclass_f_score", "section5_3.hierarchical.f_score_cp"),
    ):
        assert cxnet.fact(one).value != cxnet.fact(other).value
        noted(cxnet, one, other)
    same = ("table6.cxnet_v1.dataset_size", "table6.cxnet_v2.dataset_size")
    assert cxnet.fact(same[0]).value == cxnet.fact(same[1]).value
    assert "larger dataset" in noted(cxnet, *same)


def test_vgg_table_2_follows_from_table_1(vgg: Paper, rounds_to: Callable) -> None:
    counts = cells(vgg, "table1", FOUR)
    for k, name in enumerate(FOUR):
        assert rounds_to(precision(counts, k), vgg.fact(f"table2.{name}.precision")), name
        assert rounds_to(recall(counts, k), vgg.fact(f"table2.{name}.recall")), name
        f1 = vgg.fact(f"table2.{name}.f1")
        assert rounds_to(f_score(counts, k), f1), name
        # The text's "mean" would print the same here, so the table does not say which mean it was.
        assert rounds_to((precision(counts, k) + recall(counts, k)) / 2, f1), name


def test_vgg_overall_scores(vgg: Paper, rounds_to: Callable, noted: Callable) -> None:
    counts = cells(vgg, "table1", FOUR)
    assert rounds_to(accuracy(counts), vgg.fact("results.whole.accuracy"))
    assert rounds_to(sum(specificity(counts, k) for k in range(4)) / 4, vgg.fact("results.whole.specificity"))
    assert rounds_to(1 - (1 - accuracy(counts)) / 3, vgg.fact("results.whole.specificity"))
    # Contradiction: only the micro average, which is the accuracy, gives the printed sensitivity.
    assert not rounds_to(sum(recall(counts, k) for k in range(4)) / 4, vgg.fact("results.whole.sensitivity"))
    assert rounds_to(accuracy(counts), vgg.fact("results.whole.sensitivity"))
    noted(vgg, "results.whole.sensitivity", "table1.normal.normal")


def test_vgg_places_agree_but_for_the_auc(vgg: Paper, noted: Callable) -> None:
    for which in ("whole", "segmented"):
        for name in ("sensitivity", "specificity", "accuracy", "auc"):
            same = vgg.fact(f"abstract.{which}.{name}").value == vgg.fact(f"results.{which}.{name}").value
            assert same == ((which, name) != ("whole", "auc"))
    noted(vgg, "abstract.whole.auc", "results.whole.auc")


def test_vgg_segmented_scores_fit_no_four_class_table(vgg: Paper, noted: Callable) -> None:
    sensitivity, specificity_, accuracy_ = (
        vgg.fact(f"results.segmented.{name}").value for name in ("sensitivity", "specificity", "accuracy")
    )
    tested = [sum(row) for row in cells(vgg, "table1", FOUR)]
    collected = [vgg.fact(f"abstract.{name}_films").value for name in FOUR]
    for sizes in (tested, collected):
        share = [size / sum(sizes) for size in sizes]
        most_wrong, least_wrong = 1 - (accuracy_ - 0.005), 1 - (accuracy_ + 0.005)
        # All mistakes in the largest class cost the mean recall least; all calls for it cost the specificity most.
        best_sensitivity = 1 - least_wrong / max(share) / 4
        worst_specificity = 1 - most_wrong / (1 - max(share)) / 4
        assert best_sensitivity < sensitivity - 0.005
        assert worst_specificity > specificity_ + 0.005
        assert best_sensitivity <= 0.90 and worst_specificity >= 0.95
    noted(vgg, "results.segmented.sensitivity", "results.segmented.specificity", "results.segmented.accuracy")


def test_vgg_films_and_split(vgg: Paper, noted: Callable) -> None:
    collected = sum(vgg.fact(f"abstract.{name}_films").value for name in FOUR)
    tested = total(cells(vgg, "table1", FOUR))
    assert (collected, tested) == (2031, 513)
    assert round(100 * tested / collected) == vgg.fact("abstract.test_share").value
    assert abs(tested - collected / vgg.fact("abstract.folds").value) > 100
    noted(vgg, "abstract.test_share", "abstract.folds")
    assert vgg.fact("abstract.covid19_films").value == vgg.fact("methods.covid19_films").value
    for name in ("normal", "viral", "bacterial"):
        assert vgg.fact(f"abstract.{name}_films").value == vgg.fact(f"methods.{name}_patients").value
        noted(vgg, f"abstract.{name}_films", f"methods.{name}_patients")


def test_vgg_layers(vgg: Paper, noted: Callable) -> None:
    layers = {name: vgg.fact(f"methods.{name}").value for name in ("convolutions", "max_pools", "dense_layers")}
    assert sum(layers.values()) == vgg.fact("methods.layers").value
    assert layers["convolutions"] + layers["dense_layers"] == vgg.fact("methods.weight_layers").value
    named = 2 * vgg.fact("methods.sublayers_first").value + 2 * vgg.fact("methods.sublayers_last").value
    assert layers["convolutions"] - named == 3
    noted(vgg, "methods.convolutions", "methods.sublayers_first", "methods.sublayers_last")
    assert vgg.fact("methods.dense_units").value > len(FOUR)
    noted(vgg, "methods.dense_layers", "methods.dense_units")
