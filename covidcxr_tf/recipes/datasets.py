"""From a config to batches: manifest, classes, split, lungs, shards. Shared by all recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.config import Config
from covidcxr_tf.data.held_out import hold_out_sources
from covidcxr_tf.data.manifest import load_manifest, map_classes, with_findings
from covidcxr_tf.data.splits import check_split, fold_by_patient, split_digest, with_split
from covidcxr_tf.data.synthetic import DEFAULT_LABELS, VERSION, write_demo
from covidcxr_tf.errors import ManifestError, SplitError
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.drawn_masks import with_heart_masks
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.pipeline.redraw import Redraw
from covidcxr_tf.prepare import Prepared, cache_folder, prepare, reference_histogram
from covidcxr_tf.recipes.film_weights import loss_weights, with_source_priors
from covidcxr_tf.recipes.lineage import earlier_training, refuse_seen_patients, training_record

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Datasets:
    """What a recipe trains and is judged on.

    Attributes
    ----------
    manifest : DataFrame
        All rows used, with ``split``; ``label`` is the class, ``original_label`` the manifest's own.
    prepared : Prepared
        Their shards.
    training, validation, test : Batches
        ``test`` is None where the split has no test films. `judged` gives those that judge the finished run.
    lungs : LungFinder or None
        What found the lungs.
    facts : dict
        Stored with the model: split, lung network, reference histogram.
    """

    manifest: pd.DataFrame
    prepared: Prepared
    training: Batches
    validation: Batches
    test: Batches | None
    lungs: LungFinder | None
    facts: dict[str, Any]

    @property
    def judged(self) -> dict[str, Batches]:
        """Return ``validation`` and, where there is one, ``test`` -> the films that judge the finished run.

        Where films are redrawn, `validation` is another draw in each epoch; what is judged are the split's own
        validation films, so that the figures of patches and of whole films, or of any two runs of one split, are of the
        same films.
        """
        validation = self.validation
        if validation.redraw is not None:
            validation = replace(validation, groups=("validation",), redraw=None)
        return {"validation": validation} | ({} if self.test is None else {"test": self.test})

    def manifest_of(self, rows: np.ndarray) -> pd.DataFrame:
        """Return the manifest's lines of some films, given by the row numbers that batches carry."""
        films = self.prepared.manifest.iloc[rows]
        return films.assign(split=self.manifest.loc[films.index, "split"])


def open_manifest(config: Config, *, masks: bool = False) -> pd.DataFrame:
    """Return the config's films with classes and split; synthetic ones where it names no manifest.

    Raises
    ------
    ManifestError, SplitError
        For a manifest that cannot be used, or that cannot be split.
    """
    required = ("path", "label", "patient_id", "mask_path") if masks else ("path", "label", "patient_id")
    path = Path(config.data.manifest) if config.data.manifest else demo_manifest(config)
    manifest = load_manifest(path, root=config.data.root or None, require=required)
    if config.data.sources:
        manifest = _of_sources(manifest, config.data.sources)
    if masks and config.classes:
        manifest = with_heart_masks(manifest)
    if config.task == "multilabel":
        manifest = with_findings(manifest)
    elif config.classes and not masks:
        manifest = map_classes(manifest, dict(config.classes))
    if config.data.folds:
        return _in_folds(manifest, config)
    if config.data.test_sources:
        manifest = hold_out_sources(manifest, config.data.test_sources, config.data.ratios, config.seed)
    manifest = with_split(manifest, config.data.ratios, config.seed)
    check_split(manifest)
    return _renumbered(manifest)


def demo_manifest(config: Config) -> Path:
    """Return the manifest of the synthetic films for a config, made on first use and kept in the cache."""
    data = config.data
    labels = data.demo_labels or DEFAULT_LABELS
    named = "" if labels == DEFAULT_LABELS else "_" + "-".join(labels)
    folder = cache_folder() / "demo" / f"v{VERSION}_{data.demo_patients}_{data.demo_size}_{config.seed}{named}"
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return manifest
    return write_demo(folder, data.demo_patients, config.seed, data.demo_size, labels)


def build_datasets(config: Config, *, skip_bad: int = 0) -> Datasets:
    """Return the batches of a config; films are prepared on first use and cached.

    Raises
    ------
    ManifestError, SplitError, ImageError, WeightsError
        For data that cannot be used, or a lung network that is not there.
    """
    manifest = open_manifest(config, masks=config.task == "segmentation")
    prepared, lungs = prepare_films(config, manifest, skip_bad=skip_bad)
    return assemble(config, prepared, lungs, {part: (part,) for part in PARTS})


def assemble(
    config: Config, prepared: Prepared, lungs: LungFinder | None, groups: Mapping[str, tuple[str, ...]]
) -> Datasets:
    """Return the batches of prepared films.

    Parameters
    ----------
    config : Config
    prepared : Prepared
        Its manifest has ``split``, which facts and tables carry.
    lungs : LungFinder or None
        What found the lungs.
    groups : mapping
        ``train``, ``validation`` and ``test`` -> the groups of shards (splits or folds) they are read from.
    """
    manifest = prepared.manifest
    targets = None if config.task == "segmentation" else film_targets(manifest, config)
    pools = {part: groups[part] for part in PARTS}
    if config.data.redraw_validation:
        pools |= dict.fromkeys(("train", "validation"), (*groups["train"], *groups["validation"]))
    # All that training draws from: redrawn validation films train in other epochs.
    trained = manifest[prepared.group_by].isin(pools["train"]).to_numpy() & prepared.kept()
    weights = None if targets is None or targets.ndim > 1 else loss_weights(targets, trained, config, manifest)

    taught = targets
    if config.train.source_prior and targets is not None and targets.ndim == 1:
        taught = with_source_priors(targets, trained, config, manifest)

    def batches(part: str) -> Batches:
        training = part == "train"
        return Batches(
            prepared,
            pools[part],
            taught if training else targets,
            weights if training else None,
            config.train.batch_size,
            seed=config.seed,
            shuffle_buffer=config.train.shuffle_buffer,
            augment=config.augment if training else None,
            patches=config.patches if config.patches.size else None,
            redraw=_redraw(part, manifest, pools[part], targets, config),
        )

    test = batches("test") if any(prepared.files.get(group) for group in groups["test"]) else None
    used = manifest[prepared.kept()]
    used.attrs = manifest.attrs
    facts = model_facts(config, used, lungs)
    refuse_seen_patients(used, facts["history"][:-1])
    return Datasets(used, prepared, batches("train"), batches("validation"), test, lungs, facts)


def prepare_films(
    config: Config, manifest: pd.DataFrame, *, out: Path | None = None, skip_bad: int = 0
) -> tuple[Prepared, LungFinder | None]:
    """Return a manifest's shards, and the lung network that cropped the films where the config wants that.

    Raises
    ------
    ImageError, WeightsError
        For a film that cannot be read, or a lung network that is not there.
    """
    lungs = LungFinder.load(config.image.lung_model) if config.image.lungs != "none" else None
    prepared = prepare(
        manifest,
        config.image,
        masks=config.task == "segmentation",
        mask_classes=config.class_names if config.task == "segmentation" else (),
        lungs=lungs.probabilities if lungs else None,
        lungs_key=lungs.sha256 if lungs else "",
        out=out,
        skip_bad=skip_bad,
        group_by="fold" if config.data.folds else "split",
    )
    return prepared, lungs


def film_targets(manifest: pd.DataFrame, config: Config) -> np.ndarray:
    """Return class numbers int32 (rows,), or float32 (rows, findings) with 1, 0 and -1 for unknown."""
    if config.task != "multilabel":
        return class_numbers(manifest, config.class_names)
    present = manifest["findings"].str.split("|")
    targets = np.array([[name in found for name in config.class_names] for found in present], dtype=np.float32)
    targets[manifest["findings"].eq("").to_numpy()] = -1.0
    return targets


def class_numbers(manifest: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    """Return the class number of each row, int32 (rows,)."""
    numbers = manifest["label"].map({name: number for number, name in enumerate(classes)})
    if numbers.isna().any():
        stray = manifest["label"][numbers.isna()].iloc[0]
        raise ManifestError(f"label '{stray}' is no class", expected=", ".join(classes))
    return numbers.to_numpy(dtype=np.int32)


def _in_folds(manifest: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the films with ``fold`` as ``fold_1``...; the manifest's own folds where it has them.

    Raises
    ------
    SplitError
        If a patient stands in two folds, or the manifest's own folds are not 1 to ``data.folds``: films of another
        fold would never be tested on.
    """
    if "fold" not in manifest or manifest["fold"].isna().all():
        manifest = fold_by_patient(manifest, config.data.folds, config.seed)
    attributes = manifest.attrs
    stray = set(manifest["fold"]) ^ set(range(1, config.data.folds + 1))
    if stray:
        found = ", ".join(sorted({str(fold) for fold in manifest["fold"].dropna()}, key=int))
        empty = int(manifest["fold"].isna().sum())
        raise SplitError(
            f"the films are of the folds {found}" + (f", {empty} of none" if empty else ""),
            where=attributes.get("manifest"),
            expected=f"each film in one of the folds 1 to {config.data.folds}, as data.folds says, and none empty",
            remedy=f"`covidcxr data split --folds {config.data.folds}` makes them, or set data.folds",
        )
    held = manifest.groupby("patient_id")["fold"].nunique()
    if held.max() > 1:
        raise SplitError(
            f"patient '{held.idxmax()}' stands in {held.max()} folds",
            where=manifest.attrs.get("manifest"),
            expected="each patient in one fold",
            remedy="`covidcxr data split --folds K` makes them",
        )
    manifest = manifest.assign(fold="fold_" + manifest["fold"].astype(str).str.removeprefix("fold_"))
    manifest.attrs = attributes
    return _renumbered(manifest)


def _renumbered(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the films with the index 0..n-1: records name films by it."""
    attributes = manifest.attrs
    manifest = manifest.reset_index(drop=True)
    manifest.attrs = attributes
    return manifest


def _redraw(
    part: str, manifest: pd.DataFrame, groups: tuple[str, ...], targets: np.ndarray | None, config: Config
) -> Redraw | None:
    if not config.data.redraw_validation or part == "test":
        return None
    pool = manifest["split"].isin(groups).to_numpy()
    classes = np.zeros(len(manifest), int) if targets is None or targets.ndim > 1 else targets
    return Redraw("train" if part == "train" else "validation", pool, classes, config.seed)


def _of_sources(manifest: pd.DataFrame, sources: tuple[str, ...]) -> pd.DataFrame:
    if "source" not in manifest:
        raise ManifestError("no column 'source', but data.sources is set", where=manifest.attrs.get("manifest"))
    chosen = manifest[manifest["source"].isin(sources)].reset_index(drop=True)
    chosen.attrs = manifest.attrs
    if chosen.empty:
        known = ", ".join(sorted(manifest["source"].unique()))
        raise ManifestError(f"no film of the sources {', '.join(sources)}", expected=f"some of {known}")
    return chosen


def is_synthetic(manifest: pd.DataFrame) -> bool:
    """Return whether every film is a phantom, told by the licence that `data demo` writes into each row."""
    return "license" in manifest and bool(manifest["license"].astype(str).str.startswith("synthetic").all())


def model_facts(config: Config, manifest: pd.DataFrame, lungs: LungFinder | None) -> dict[str, Any]:
    """Return what is stored with a model: classes, image path, identities of config, split and lung network."""
    reference = reference_histogram(config.image)
    return {
        "name": config.name,
        "arch": config.arch,
        "task": config.task,
        "classes": list(config.class_names),
        "class_labels": {name: list(labels) for name, labels in config.classes.items()},
        "positive": config.positive_class,
        "compat": config.compat,
        "image": config.image.model_dump(mode="json"),
        "config_digest": config.digest(),
        "split_digest": split_digest(manifest),
        "lung_model": lungs.identity() if lungs else None,
        "reference_histogram": None if reference is None else reference.tolist(),
        "patches": config.patches.model_dump(mode="json") if config.patches.size else None,
        "synthetic": is_synthetic(manifest),
        "history": [*earlier_training(config.model.init), training_record(config, manifest)],
    }
