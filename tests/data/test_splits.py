from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.data.splits import (
    check_split,
    fold_by_patient,
    split_by_patient,
    split_digest,
    split_together,
    torn_patients,
    with_split,
)
from covidcxr_tf.errors import ManifestError, SplitError, UsageError

PARTS = ("train", "validation", "test")


def _films(patients: dict[str, int], films_each: int = 1, source: str | None = None, start: str = "") -> pd.DataFrame:
    """Return a manifest with so many patients of each label."""
    rows = [
        {"path": f"{start}{label}{patient}_{film}.png", "label": label, "patient_id": f"{start}{label}{patient}"}
        for label, count in patients.items()
        for patient in range(count)
        for film in range(films_each)
    ]
    films = pd.DataFrame(rows, dtype="str")
    return films if source is None else films.assign(source=source)


def _random_films(seed: int, patients: int = 80) -> pd.DataFrame:
    """Return films of patients with one to nine films, one in ten of them with several labels."""
    random = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        label = random.choice(["normal", "covid19", "viral"], p=[0.6, 0.25, 0.15])
        source = random.choice(["a", "b", "c"])
        for film in range(random.integers(1, 10)):
            changed = random.random() < 0.02
            rows.append((f"{patient}_{film}.png", "normal" if changed else label, f"p{patient}", source))
    return pd.DataFrame(rows, columns=["path", "label", "patient_id", "source"], dtype="str")


def _patients_of(films: pd.DataFrame, column: str = "split") -> pd.DataFrame:
    patients = films.drop_duplicates(["patient_id", "label"])
    return pd.crosstab(patients["label"], patients[column])


def test_ten_patients_of_each_label_go_six_two_two() -> None:
    split = split_by_patient(_films({"normal": 10, "covid19": 10}))
    counts = _patients_of(split)
    assert counts.loc["normal"].to_dict() == {"train": 6, "validation": 2, "test": 2}
    assert counts.loc["covid19"].to_dict() == {"train": 6, "validation": 2, "test": 2}


def test_largest_remainder_by_hand() -> None:
    # 7 * (.6, .2, .2) = 4.2, 1.4, 1.4: floors 4, 1, 1 and the last one to a remainder of .4
    for seed in range(5):
        counts = split_by_patient(_films({"normal": 7}), seed=seed)["split"].value_counts()
        assert counts["train"] == 4
        assert sorted([counts["validation"], counts["test"]]) == [1, 2]


def test_three_patients_of_a_label_reach_every_part() -> None:
    # 3 * (.8, .1, .1) = 2.4, .3, .3 would leave a part without the label
    split = split_by_patient(_films({"normal": 30, "viral": 3}), (0.8, 0.1, 0.1))
    assert _patients_of(split).loc["viral"].to_dict() == dict.fromkeys(PARTS, 1)


def test_a_label_with_too_few_patients_is_refused_whatever_its_films() -> None:
    films = pd.concat([_films({"normal": 9}), _films({"viral": 2}, films_each=50)], ignore_index=True)
    with pytest.raises(SplitError, match="too few patients for 3 parts: 'viral' has 2; expected at least 3") as caught:
        split_by_patient(films)
    assert caught.value.exit_code == 3
    assert set(split_by_patient(films, (0.5, 0.5, 0))["split"]) == {"train", "validation"}


def test_a_part_with_no_share_stays_empty() -> None:
    split = split_by_patient(_films({"normal": 10}), (0.0, 0.5, 0.5))
    assert split["split"].value_counts().to_dict() == {"validation": 5, "test": 5}


@pytest.mark.parametrize("ratios", [(0.5, 0.5), (0.6, 0.6, -0.2), (0.6, 0.2, 0.1), (float("nan"), 0.5, 0.5), ()])
def test_ratios_that_cannot_be_used(ratios: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="ratios"):
        split_by_patient(_films({"normal": 10}), ratios)


def test_seeds_and_folds_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="seed -1"):
        split_by_patient(_films({"normal": 10}), seed=-1)
    with pytest.raises(UsageError, match="1 folds"):
        fold_by_patient(_films({"normal": 10}), 1)


def test_sources_are_spread_within_a_label() -> None:
    films = pd.concat([_films({"normal": 20}, source=name, start=name) for name in "abc"], ignore_index=True)
    split = split_by_patient(films, seed=3)
    counts = pd.crosstab(split["source"], split["split"])[list(PARTS)].to_numpy()
    # exact shares are 12, 4, 4: a run of neighbours is at most one patient off at either end
    assert np.abs(counts - [12, 4, 4]).max() <= 2
    assert counts.sum(axis=0).tolist() == [36, 12, 12]


def test_patients_with_many_films_are_not_all_sent_to_training() -> None:
    films = pd.concat([_films({"normal": 20}), _films({"normal": 20}, films_each=10, start="x")], ignore_index=True)
    for seed in range(5):
        many = split_by_patient(films, seed=seed).query("patient_id.str.startswith('x')")
        counts = many.groupby("split")["patient_id"].nunique()[list(PARTS)].to_numpy()
        assert np.abs(counts - [12, 4, 4]).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_rows_does_not_matter_the_seed_does(seed: int) -> None:
    films = _random_films(seed)
    split = split_by_patient(films, seed=seed)
    shuffled = split_by_patient(films.sample(frac=1, random_state=seed), seed=seed)
    pd.testing.assert_frame_equal(shuffled.sort_index(), split)
    assert split_digest(split) == split_digest(shuffled)
    assert split_digest(split) != split_digest(split_by_patient(films, seed=seed + 1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), weights=st.tuples(*[st.integers(0, 5)] * 3).filter(any))
def test_properties_of_every_split(seed: int, weights: tuple[int, int, int]) -> None:
    films = _random_films(seed % 50)
    ratios = np.array(weights) / sum(weights)
    split = split_by_patient(films, tuple(ratios), seed)
    assert torn_patients(split) == {}
    assert split.drop(columns="split").equals(films)
    used = {part for part, ratio in zip(PARTS, ratios, strict=True) if ratio}
    assert set(split["split"]) == used
    for _, rows in split.groupby("label"):
        assert set(rows["split"]) == used
    patients = split.groupby("split")["patient_id"].nunique()
    for part, ratio in zip(PARTS, ratios, strict=True):
        # three labels, each off by less than one patient, and one for the part that a rare label must reach
        assert abs(patients.get(part, 0) - 80 * ratio) <= 4


def test_chance_is_fair_to_each_patient() -> None:
    # patient k has k + 1 films, so that the order of dealing is fixed; of 100 draws half train, five standard
    # deviations are .25
    rows = [(f"{patient}_{film}", "normal", str(patient)) for patient in range(9) for film in range(patient + 1)]
    films = pd.DataFrame(rows, columns=["path", "label", "patient_id"], dtype="str")
    drawn = [split_by_patient(films, (0.5, 0.5, 0), seed).drop_duplicates("patient_id") for seed in range(100)]
    trained = np.mean([(split["split"] == "train").to_numpy() for split in drawn], axis=0)
    assert np.abs(trained - 0.5).max() < 0.25


def test_a_patient_with_two_labels_counts_as_the_rarer() -> None:
    films = pd.concat([_films({"normal": 30}), _films({"viral": 3})], ignore_index=True)
    both = films[films["label"] == "viral"].assign(label="normal", path="n" + films["path"])
    split = split_by_patient(pd.concat([films, both], ignore_index=True))
    assert torn_patients(split) == {}
    assert set(split.loc[split["label"] == "viral", "split"]) == set(PARTS)


def _of_pairs(*pairs: tuple[str, str]) -> pd.DataFrame:
    films = pd.DataFrame(pairs, columns=["label", "patient_id"], dtype="str")
    return films.assign(path=[f"{number}.png" for number in range(len(films))])


@pytest.mark.parametrize("seed", range(8))
def test_a_label_that_rarer_ones_leave_out_of_a_part_is_drawn_again(seed: int) -> None:
    # a is 1 and 2, b is 3 and 4, c is 1 and 3, which a draw of a and b alone puts in one part every second time
    films = _of_pairs(("a", "1"), ("c", "1"), ("a", "2"), ("b", "3"), ("b", "4"), ("c", "3"))
    split = split_by_patient(films, (0.5, 0.5, 0), seed)
    for _, rows in split.groupby("label"):
        assert set(rows["split"]) == {"train", "validation"}


def test_labels_that_no_draw_can_spread_are_refused() -> None:
    # of the patients 1, 2, 3 each two must be apart, in two parts
    films = _of_pairs(("a", "1"), ("a", "2"), ("b", "2"), ("b", "3"), ("c", "3"), ("c", "1"))
    with pytest.raises(SplitError, match="no draw of 100 gives every part a patient of every label"):
        split_by_patient(films, (0.5, 0.5, 0))


def test_several_manifests_share_one_assignment() -> None:
    films = _random_films(1, patients=120)
    lungs = films[films["patient_id"].str[1:].astype(int) % 3 == 0].assign(path="lung_" + films["path"])
    others = _films({"normal": 10}, start="only_here_")
    made = split_together([films, lungs, others], seed=4)
    assert [len(table) for table in made] == [len(films), len(lungs), len(others)]
    assert torn_patients(pd.concat(made, ignore_index=True)) == {}
    for table in made:
        shares = table.drop_duplicates("patient_id")["split"].value_counts(normalize=True)[list(PARTS)]
        assert np.abs(shares.to_numpy() - [0.6, 0.2, 0.2]).max() < 0.1


def test_one_manifest_alone_or_in_a_list_is_the_same() -> None:
    films = _random_films(2)
    pd.testing.assert_frame_equal(split_by_patient(films, seed=5), split_together([films], seed=5)[0])


@settings(max_examples=20, deadline=None)
@given(folds=st.integers(2, 6), seed=st.integers(0, 1000))
def test_folds(folds: int, seed: int) -> None:
    films = _random_films(seed % 20)
    made = fold_by_patient(films, folds, seed)
    assert torn_patients(made, "fold") == {}
    assert sorted(set(made["fold"])) == list(range(1, folds + 1))
    assert made["fold"].dtype == "Int64"
    for _, rows in made.groupby("label"):
        assert rows["fold"].nunique() == folds
    patients = made.groupby("fold")["patient_id"].nunique()
    assert patients.max() - patients.min() <= 4


def test_folds_refuse_a_small_label() -> None:
    with pytest.raises(SplitError, match="too few patients for 5 parts: 'viral' has 4"):
        fold_by_patient(_films({"normal": 9, "viral": 4}), 5)


def test_nothing_to_split() -> None:
    with pytest.raises(SplitError, match="no films"):
        split_by_patient(_films({"normal": 3}).iloc[:0])
    with pytest.raises(SplitError, match="column 'label' is missing"):
        split_by_patient(_films({"normal": 3}).drop(columns="label"))


def test_the_digest_is_what_it_says() -> None:
    films = pd.DataFrame({"path": ["b", "a"], "patient_id": ["p2", "p1"], "split": ["test", "train"], "age": [1, 2]})
    text = '["a", "p1", "train"]\n["b", "p2", "test"]'
    assert split_digest(films) == hashlib.sha256(text.encode()).hexdigest()
    assert split_digest(films.iloc[::-1]) == split_digest(films)
    for column, value in (("path", "c"), ("patient_id", "p3"), ("split", "validation")):
        changed = films.copy()
        changed.loc[0, column] = value
        assert split_digest(changed) != split_digest(films)
    with pytest.raises(SplitError, match="column 'fold' is missing"):
        split_digest(films.drop(columns="split"))


def test_check_split_lets_a_good_split_pass_and_names_what_is_wrong() -> None:
    good = split_by_patient(_films({"normal": 10}))
    check_split(good, PARTS)
    torn = good.assign(split=["train", *good["split"][1:]], patient_id=["normal1", *good["patient_id"][1:]])
    torn.loc[1, "split"] = "test"
    with pytest.raises(SplitError, match="patient 'normal1' stands in test and train"):
        check_split(torn)
    with pytest.raises(SplitError, match="the split 'validation' is empty"):
        check_split(good[good["split"] != "validation"])
    check_split(good[good["split"] != "test"])
    with pytest.raises(SplitError, match="the split 'test' is empty"):
        check_split(good[good["split"] != "test"], PARTS)
    with pytest.raises(SplitError, match="row 4, column split: '' is no split"):
        check_split(good.assign(split=[*good["split"][:2], "", *good["split"][3:]]))
    with pytest.raises(SplitError, match=r"column 'split' is missing.*data split"):
        check_split(good.drop(columns="split"))


def test_equal_shares_are_dealt_at_even_distances() -> None:
    # With one film each and one source the order is chance; with ever more films it is theirs.
    rows = [(f"{patient}_{film}", "normal", f"{patient:02d}") for patient in range(20) for film in range(patient + 1)]
    films = pd.DataFrame(rows, columns=["path", "label", "patient_id"], dtype="str")
    part = split_by_patient(films, (0.5, 0.5, 0), seed=1).drop_duplicates("patient_id")["split"].tolist()
    assert all(one != other for one, other in pairwise(part))


def test_a_split_is_kept_whole_or_made_whole() -> None:
    films = _films({"normal": 10, "covid19": 5})
    films.attrs["manifest"] = "m.csv"
    made = with_split(films, seed=3)
    assert made["split"].tolist() == split_by_patient(films, seed=3)["split"].tolist() and made.attrs == films.attrs
    empty = films.assign(split="")
    pd.testing.assert_frame_equal(with_split(empty, seed=3)[made.columns.tolist()], made)
    assert with_split(made, (0.5, 0.5, 0), seed=4) is made
    partly = made.assign(split=[*made["split"][:4], "", "", *made["split"][6:]])
    with pytest.raises(ManifestError, match=r"m\.csv, column split: 2 of 15 films have no split \('normal4_0\.png'\)"):
        with_split(partly)
    with pytest.raises(ManifestError, match="2 of 15"):
        with_split(partly.assign(split=partly["split"].replace("", None)))
