"""Which films the experiments of the patch paper use, and in which split.

Adults only, at most so many films of each label as the paper has, first from the sources that hold several labels: the
fewer sources tell a label, the less a network can learn from the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr_tf.config import Config, load_config
from covidcxr_tf.data.manifest import SPLITS, map_classes
from covidcxr_tf.data.splits import with_split
from covidcxr_tf.errors import ManifestError
from covidcxr_tf.files import write_text
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.samples import is_child

PATCHES, COVID_NET = "patch-resnet18", "patch-resnet18-covidnet"
#: A setting that is meant for patches would make patches of whole films.
NO_PATCHES = "patches.size=0"
LEAST_PATCH = 32  # px; ResNet-18 divides by 32
#: Films of each label (Oh 2020, section III-A.2; the tuberculosis films' number is in section V-F.3).
PAPER_FILMS = {"normal": 191, "bacterial": 54, "tuberculosis": 57, "viral": 20, "covid19": 180}
#: Comparison with COVID-Net (section III-A.3): all films, and those for validation and for test.
COVID_NET_FILMS = {"normal": 8851, "pneumonia": 6012, "covid19": 180}
COVID_NET_HELD_OUT = {"normal": 100, "pneumonia": 100, "covid19": 10}
NAME_MASKS = "name films with drawn masks: --masks MANIFEST with mask_path (heart_mask_path for hearts)"
#: Patients that a label needs, one for each part of the split.
LEAST_PATIENTS = 3


def adults(films: pd.DataFrame) -> pd.DataFrame:
    """Return the films without those of children, told by source or age (the paper leaves them out); the index stays.

    A film whose age is not known stays.
    """
    return _rows(films, ~is_child(films))


def at_most(films: pd.DataFrame, limits: Mapping[str, int], seed: int) -> pd.DataFrame:
    """Return at most so many films of each label; films of other labels are left out. Index and order stay.

    A label's films come from the sources that hold the most of these labels first, and there patient by patient in an
    order drawn from `seed`.
    """
    wanted = _rows(films, films["label"].isin(limits))
    source = _source(wanted)
    held = wanted.groupby(source)["label"].nunique()
    patients = np.unique(wanted["patient_id"].astype(str))
    turn = dict(zip(patients, np.random.default_rng(seed).permutation(len(patients)), strict=True))
    order = pd.DataFrame({"few": -source.map(held), "turn": wanted["patient_id"].astype(str).map(turn)})
    ranked = wanted.loc[order.sort_values(["few", "turn"], kind="stable").index]
    place = ranked.groupby("label").cumcount()
    return _rows(wanted, wanted.index.isin(ranked.index[place < ranked["label"].map(limits)]))


def evenly(films: pd.DataFrame, number: int, seed: int) -> pd.DataFrame:
    """Return at most `number` films, as many of each source as can be, drawn from `seed`. Index and order stay."""
    drawn = films.iloc[np.random.default_rng(seed).permutation(len(films))]
    place = drawn.groupby(_source(drawn)).cumcount().sort_values(kind="stable")
    return _rows(films, films.index.isin(place.index[:number]))


def divided(
    films: pd.DataFrame, classes: Mapping[str, Sequence[str]], ratios: tuple[float, float, float], seed: int
) -> pd.DataFrame:
    """Return the films with ``split``: the manifest's own where it has one, else by patient and class.

    Raises
    ------
    ManifestError, SplitError
        If a class has no film or too few patients, or only some films have a split.
    """
    mapped = with_split(map_classes(films, classes), ratios, seed)
    chosen = films.loc[mapped.index].assign(split=mapped["split"])
    chosen.attrs = films.attrs
    return chosen


def training_share(films: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Return the films with a share of each label's training patients; validation and test films all stay.

    The patients of a smaller share are among those of a larger one; at least one of each label stays.
    """
    training = films[films["split"].eq("train")]
    kept: set[str] = set()
    for number, (_, part) in enumerate(training.groupby("label", sort=True)):
        patients = np.unique(part["patient_id"].astype(str))
        drawn = np.random.default_rng([seed, number]).permutation(patients)
        kept.update(drawn[: max(1, round(share * len(drawn)))])
    return _rows(films, films["split"].ne("train") | films["patient_id"].astype(str).isin(kept))


def four_classes(bench: Bench) -> pd.DataFrame:
    """Return the films of the four-class experiments with the manifest's labels and ``split``, index 0..n-1."""
    config = patch_config(bench)
    films = at_most(adults(bench.manifest), PAPER_FILMS, bench.seed)
    return _numbered(divided(films, config.classes, config.data.ratios, bench.seed))


def covid_net_films(bench: Bench) -> pd.DataFrame:
    """Return the films of the comparison with COVID-Net with ``split``, index 0..n-1."""
    config = patch_config(bench, COVID_NET)
    films = at_most(adults(bench.manifest), COVID_NET_FILMS, bench.seed)
    films = divided(films, config.classes, config.data.ratios, bench.seed)
    parts = {split: _rows(films, films["split"].eq(split)) for split in SPLITS}
    held_out = [at_most(parts[split], COVID_NET_HELD_OUT, bench.seed) for split in SPLITS if split != "train"]
    joined = pd.concat([parts["train"], *held_out])
    joined.attrs = films.attrs
    return _numbered(joined)


def lacking(bench: Bench, config: str) -> str:
    """Return which classes of a config have too few adult patients in the manifest, and what to supply, or nothing."""
    films = adults(bench.manifest)
    for name, labels in patch_config(bench, config).classes.items():
        patients = films.loc[films["label"].isin(labels), "patient_id"].nunique()
        if patients < LEAST_PATIENTS:
            wanted = " or ".join(labels)
            return (
                f"not run: {patients} adult patients with films labelled {wanted}, {LEAST_PATIENTS} are needed for the "
                f"class {name}; add such films to the manifest"
            )
    return ""


def patch_size(bench: Bench, config: str = PATCHES) -> list[str]:
    """Return the override that keeps the paper's share of the film where the user set another film size alone."""
    shipped = load_config(config, smoke=bench.smoke)
    wanted = bench.config(config, [NO_PATCHES])
    size = max(LEAST_PATCH, round(shipped.patches.size * wanted.image.size / shipped.image.size))
    return [f"patches.size={min(size, wanted.image.size)}"]


def patch_config(bench: Bench, config: str = PATCHES) -> Config:
    """Return the config of patches as the experiments train it."""
    return bench.config(config, patch_size(bench, config))


def kept_table(path: Path, films: pd.DataFrame, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table that lies beside a finished run, made now where there is none or one of other films.

    What a network says of films takes minutes and hangs on run and films alone: a repeated reproduction reads it.
    """
    if path.is_file():
        table = _read_table(path)
        if list(dict.fromkeys(table["path"])) == films["path"].tolist():
            return table
    write_text(path, make().to_csv(index=False))
    return _read_table(path)  # as it will be read the next time, to the last digit


def drawn_films(bench: Bench) -> Bench:
    """Return the bench of the films with a drawn lung mask.

    Raises
    ------
    ManifestError
        If there are none.
    """
    drawn = bench.drawn()
    if drawn is None:
        raise ManifestError(
            "no film has a drawn lung mask", where=bench.manifest_path.name, remedy="name them: --masks"
        )
    return drawn


def _source(films: pd.DataFrame) -> pd.Series:
    return films["source"].astype(str) if "source" in films else pd.Series("", index=films.index)


def _rows(films: pd.DataFrame, chosen: pd.Series | np.ndarray) -> pd.DataFrame:
    kept = films[chosen]
    kept.attrs = films.attrs
    return kept


def _numbered(films: pd.DataFrame) -> pd.DataFrame:
    numbered = films.reset_index(drop=True)
    numbered.attrs = films.attrs
    return numbered


def _read_table(path: Path) -> pd.DataFrame:
    text = {"path": str, "patient_id": str, "source": str, "label": str}
    table = pd.read_csv(path, dtype=text)
    return table.fillna(dict.fromkeys(set(text) & set(table), ""))
