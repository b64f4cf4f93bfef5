"""Experiments as TOML files: read, override, check, hash.

A config is data. One file in ``configs/`` holds one experiment; ``[source]`` says for each value where it
comes from (a paper's locator, or ``ours: reason``); ``[smoke]`` shrinks the same run to a minute of CPU. A file
may say ``extends = "NAME"``: it is then laid over that config.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from covidcxr_tf.catalog import ARCHS, RECIPES, nearest
from covidcxr_tf.errors import ConfigError

#: Standard deviation of noise on [0, 1].
Deviation = Annotated[float, Field(ge=0, le=0.5)]
Channel = Literal["raw", "clahe", "beasf", "equalize", "universal"]


class _Table(BaseModel):
    """A frozen table that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DataConfig(_Table):
    """Which films, and how they are split."""

    manifest: str = ""
    root: str = ""
    sources: tuple[str, ...] = ()  # keep only films of these sources; empty: all
    test_sources: tuple[str, ...] = ()  # films of these sources are the test films, and no others; empty: as split
    ratios: tuple[float, float, float] = (0.6, 0.2, 0.2)
    folds: int = Field(0, ge=0, le=20)  # cross-validation by patient; 0: one split
    # Draw train and validation films anew in each epoch (Kusakunniran 2021, 3); classification only. What is judged
    # in the end are the split's own validation films.
    redraw_validation: bool = False
    demo_patients: int = Field(60, ge=6)  # size of the synthetic set where no manifest is given
    demo_labels: tuple[str, ...] = ()  # empty: those that `data demo` makes
    demo_size: int = Field(512, ge=64)


class ImageConfig(_Table):
    """The one path for pixels: film (H, W) -> uint8 (size, size, len(channels))."""

    size: int = Field(320, ge=16, le=4096)  # px, square
    channels: tuple[Channel, ...] = ("beasf", "clahe", "raw")
    gamma: float = Field(1.5, gt=0)  # BEASF slope
    clip_limit: float = Field(2.0, gt=0)  # CLAHE
    tiles: int = Field(8, ge=1, le=64)  # CLAHE, tiles x tiles
    # CLAHE, of the clipped pixels; even: the same share to every level, so a film's file format moves little
    redistribution: Literal["opencv", "even"] = "opencv"
    # CLAHE reads the film in so many steps of a level; 16, with even, so that rounding to levels is not made contrast
    level_steps: Literal[1, 16] = 1
    compat: Literal["ours", "authors"] = "ours"  # BEASF reading
    universal_gamma: float = Field(0.5, gt=0)  # after equalisation, channel "universal" (Oh 2020, II.C)
    # crop: to the lung box; mask: outside black, then crop; mask_whole: outside black, the frame stays the film's
    lungs: Literal["none", "crop", "mask", "mask_whole"] = "crop"
    lung_margin: float = Field(0.05, ge=0, le=0.5)  # share of the lung box's height and width, each side
    # region: the outermost pixels of the lungs; mass: all but a thousandth of the lungs beyond each side, in parts of a
    # pixel, so a film's file format moves the crop little
    lung_edges: Literal["region", "mass"] = "region"
    lung_model: str = "lung_unet"
    histogram_reference: str = ""  # a film whose histogram every film is matched to; empty: none


class ModelConfig(_Table):
    """What is built and from which weights."""

    init: str = "none"  # none | imagenet | chexnet:FILE | FILE
    dropout: float = Field(0.2, ge=0, lt=1)
    head_units: int = Field(10, ge=0)
    head_layers: int = Field(1, ge=0)  # dense layers of head_units before the logits, where the architecture has them
    pooling: Literal["average", "flatten"] = "average"  # before the head, where the architecture has both
    # init: as the initial weights were trained; imagenet: as the ImageNet weights of this architecture were
    normalise: Literal["init", "imagenet", "estimate", "none"] = "init"
    # Means of 3 x 3 px that the film goes through first, where the architecture has them: a Gaussian of sqrt(2n/3) px.
    # What a film's file format changes is finer than that.
    low_pass: int = Field(0, ge=0, le=32)
    # The answer is the mean of the film's and its mirror image's (logits), where the architecture has that; two passes.
    mirrored: bool = False
    normalise_films: int = Field(2048, ge=1)  # training films, not patches, whose mean and deviation `estimate` takes
    blocks: tuple[int, ...] = ()  # layers in each block, where the architecture has blocks; empty: its own
    filters: tuple[int, ...] = (32, 64, 128, 256, 512)  # U-Net, per level
    # This layer and all before it keep their initial weights and statistics; empty: everything is trained.
    frozen_to: str = ""
    batch_norm_momentum: float = Field(0.99, ge=0, lt=1)  # weight of the past in the moving statistics, per step
    mixed_precision: Literal["none", "float16", "bfloat16"] = "none"


class AugmentConfig(_Table):
    """Random changes while training; a range that holds only its neutral value is off."""

    rotation_degrees: float = Field(0.0, ge=0, le=180)
    shift: float = Field(0.0, ge=0, le=0.5)  # share of the side
    shear_degrees: float = Field(0.0, ge=0, le=45)
    zoom: tuple[float, float] = (1.0, 1.0)  # > 1 magnifies
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness: tuple[float, float] = (1.0, 1.0)  # factor
    contrast: tuple[float, float] = (1.0, 1.0)  # factor around the mean
    gamma: tuple[float, float] = (1.0, 1.0)
    # standard deviation, of [0, 1]; two: one between them is drawn for each film
    noise: Deviation | tuple[Deviation, Deviation] = 0.0
    invert: float = Field(0.0, ge=0, le=1)  # probability
    opacity: float = Field(0.0, ge=0, le=1)  # smooth white patches, up to this share of what is left to white
    tubes: int = Field(0, ge=0, le=8)  # bright curved lines, at most
    text: float = Field(0.0, ge=0, le=1)  # probability of a line of burnt-in dots
    blur: float = Field(0.0, ge=0, le=4)  # largest standard deviation, px
    jpeg: tuple[int, int] = (100, 100)  # quality, 1 to 100


class TrainConfig(_Table):
    """The optimisation."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(16, ge=1)  # over all devices
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd
    weight_decay: float = Field(0.0, ge=0)
    learning_rate: float = Field(1e-3, gt=0)
    # The rate used is learning_rate times batch_size / base_batch_size (linear), or the root of that (sqrt).
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    base_batch_size: int = Field(0, ge=0)  # films a batch that learning_rate was chosen for; 0: no scaling
    accumulate_steps: int = Field(1, ge=1)  # parts that a batch is computed in, one after the other: less memory
    steps_per_execution: int = Field(1, ge=1)  # steps in one call: less overhead; saving and stopping wait for its end
    l1: float = Field(0.0, ge=0)  # times the sum of absolute kernel weights, added to the loss
    recompute: bool = False  # keep few activations and compute the rest again going back: less memory, more time
    loss: Literal["cross_entropy", "binary_cross_entropy", "bce_dice"] = "cross_entropy"
    background_weight: float = Field(1.0, gt=0)  # of class 0 in the cross entropy of masks with several classes
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    # Of a film in the loss. source_balanced: each class weighs the same, and within a class each source, but a film
    # never more than `most_weight` times the mean.
    class_weights: Literal["none", "balanced", "source_balanced"] = "balanced"
    most_weight: float = Field(4.0, ge=1)
    # Films added to each class of each source before its shares are taken: with them the network is asked only for what
    # the hospital does not already tell. 0: off
    source_prior: float = Field(0.0, ge=0)
    # cosine: from epoch to epoch along half a cosine, so that the last one takes small steps (Loshchilov 2017)
    decay: Literal["none", "cosine"] = "none"
    monitor: str = "val_loss"
    reduce_lr_patience: int = Field(0, ge=0)  # epochs; 0: off
    reduce_lr_factor: float = Field(0.1, gt=0, lt=1)
    early_stopping_patience: int = Field(0, ge=0)  # epochs; 0: off
    shuffle_buffer: int = Field(128, ge=1)  # films held in memory
    checkpoint_steps: int = Field(0, ge=0)  # steps between two checkpoints; 0: five minutes. Each epoch ends with one


class PatchConfig(_Table):
    """Patches instead of whole films: training draws them in the lungs, prediction lets them vote (Oh 2020, II.B)."""

    size: int = Field(0, ge=0)  # px of the prepared film; 0: whole films
    votes: int = Field(100, ge=1)  # patches a film in prediction, K
    # Patches a film in each epoch's validation; those of a whole batch of films are in memory at once.
    validation_votes: int = Field(5, ge=1, le=64)
    seed: int = Field(0, ge=0)  # of the places that vote


class Config(_Table):
    """One experiment. ``classes`` maps a class to the labels it takes in, in the order of the model's outputs."""

    name: str
    recipe: str
    arch: str
    task: Literal["classification", "multilabel", "segmentation", "hierarchical"] = "classification"
    compat: Literal["ours", "paper", "authors"] = "ours"
    seed: int = Field(0, ge=0, lt=2**31)
    classes: dict[str, tuple[str, ...]] = {}
    positive: str = ""  # class that sensitivities, ROC curves and cut-offs are about; empty: the last one
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    patches: PatchConfig = PatchConfig()
    phases: dict[str, dict[str, Any]] = {}  # phased transfer: one table of overrides a phase
    run_phases: tuple[str, ...] = ()  # which of them, in this order; each starts from the weights of the one before
    levels: dict[str, dict[str, Any]] = {}  # hierarchical: one table of overrides a level
    source: dict[str, str] = {}
    smoke: dict[str, Any] = {}

    @model_validator(mode="after")
    def _rules_across_fields(self) -> Config:
        if self.arch not in ARCHS:
            raise ValueError(f"arch '{self.arch}' is unknown; expected {', '.join(ARCHS)}")
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe '{self.recipe}' is unknown; expected {', '.join(RECIPES)}")
        if self.task in ("classification", "hierarchical") and len(self.classes) < 2:
            raise ValueError('classes needs at least two entries, as in [classes] normal = ["normal"]')
        if self.task == "multilabel" and not self.classes:
            raise ValueError('classes needs the findings, as in [classes] Edema = ["Edema"]')
        if self.task == "segmentation" and self.image.lungs != "none":
            raise ValueError("image.lungs must be none for segmentation: the masks cover the whole film")
        if self.image.level_steps > 1 and self.image.redistribution != "even":
            raise ValueError('image.level_steps above 1 needs image.redistribution = "even": OpenCV reads whole levels')
        if self.image.level_steps > 1 and self.image.histogram_reference:
            raise ValueError("image.level_steps must be 1 with image.histogram_reference: its levels are whole")
        scores = {"segmentation": ("val_loss", "val_dice"), "multilabel": ("val_loss", "val_auroc")}.get(
            self.task, ("val_loss", "val_accuracy", "val_auroc", "val_f1")
        )
        if self.train.monitor not in scores:
            raise ValueError(
                f"train.monitor '{self.train.monitor}' is no score of {self.task}; expected {', '.join(scores)}"
            )
        self._check_parts()
        seen: dict[str, str] = {}
        for name, labels in self.classes.items():
            for label in labels:
                if label in seen:
                    raise ValueError(f"label '{label}' is in the classes '{seen[label]}' and '{name}'")
                seen[label] = name
        if self.positive and self.positive not in self.classes:
            raise ValueError(f"positive '{self.positive}' is not a class; expected {', '.join(self.classes)}")
        if abs(sum(self.data.ratios) - 1) > 1e-9 or min(self.data.ratios) < 0:
            raise ValueError(f"data.ratios {self.data.ratios} must be non-negative and sum to 1")
        return self

    def _check_parts(self) -> None:
        stray = [name for name in self.run_phases if name not in self.phases]
        if stray:
            raise ValueError(f"run_phases names {stray[0]}; phases holds {', '.join(self.phases) or 'nothing'}")
        if self.run_phases and self.task not in ("classification", "multilabel"):
            raise ValueError(f"run_phases is for classifiers; the task is {self.task}")
        if self.data.folds in (1, 2):
            # One fold tests, the next validates, the rest trains.
            raise ValueError(f"data.folds is {self.data.folds}; expected 0 (one split) or at least 3")
        if self.data.folds and self.task != "classification":
            raise ValueError(f"data.folds is for classification; the task is {self.task}")
        if self.data.folds and (self.run_phases or self.data.redraw_validation):
            raise ValueError("data.folds goes neither with run_phases nor with data.redraw_validation")
        if self.data.test_sources and (self.data.folds or self.data.redraw_validation):
            raise ValueError("data.test_sources goes neither with data.folds nor with data.redraw_validation")
        if self.data.redraw_validation and self.task != "classification":
            raise ValueError(f"data.redraw_validation is for classification; the task is {self.task}")
        if self.patches.size > self.image.size:
            raise ValueError(f"patches.size {self.patches.size} is larger than image.size {self.image.size}")
        if self.patches.size and self.task != "classification":
            raise ValueError(f"patches are for classification; the task is {self.task}")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return tuple(self.classes)

    @property
    def positive_class(self) -> str:
        """The class that ROC curves and cut-offs are about."""
        return self.positive or (self.class_names[-1] if self.classes else "")

    def digest(self, *tables: str) -> str:
        """Return the SHA-256 (hex) of the whole config, or of the named top-level entries only.

        How often a run is saved changes nothing that it learns, and is left out.
        """
        dumped = self.model_dump(mode="json")
        dumped["train"].pop("checkpoint_steps")
        if tables:
            dumped = {key: dumped[key] for key in tables}
        return hashlib.sha256(json.dumps(dumped, sort_keys=True).encode()).hexdigest()


def config_folders() -> list[Path]:
    """Return the folders where named configs are looked for: the checkout's, then the installed package's."""
    here = Path(__file__).resolve().parent
    return [folder for folder in (here.parent / "configs", here / "configs") if folder.is_dir()]


def list_configs() -> dict[str, Path]:
    """Return name -> file of every shipped config."""
    found: dict[str, Path] = {}
    for folder in config_folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def find_config(name: str | Path) -> Path:
    """Return the file of a config given by path or by shipped name.

    Raises
    ------
    ConfigError
        If there is neither such a file nor such a name.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = list_configs()
    stem = path.name.removesuffix(".toml")
    if len(path.parts) == 1 and stem in known:
        return known[stem]
    raise ConfigError(
        f"there is no config '{name}'",
        expected=f"a file or one of {', '.join(known)}",
        remedy=nearest(stem, list(known)) or None,
    )


def load_config(name: str | Path, overrides: Iterable[str] = (), *, smoke: bool = False) -> Config:
    """Return a checked, frozen config.

    Parameters
    ----------
    name : str or path
        A TOML file, or the name of a shipped config.
    overrides : iterable of str
        ``"train.epochs=3"``: dotted key, then a TOML value (a bare word is taken as text). A key of ``train`` holds for
        every phase and level, unless a later override names one, as in ``"phases.phase_1.train.epochs=3"``.
    smoke : bool
        Lay the file's ``[smoke]`` table over it before the overrides.

    Raises
    ------
    ConfigError
        For an unreadable file, an unknown key (with the nearest valid one), or a value that breaks a rule.
    """
    path = find_config(name)
    table = _read_table(path, ())
    if smoke:
        table = merge(table, table.get("smoke", {}))
    for override in overrides:
        over = _parse_override(override)
        table = _over_parts(merge(table, over), over)
    return check_config(table, where=str(path))


def check_override(text: str) -> None:
    """Raise where no config could take an override, before there is a config to lay it over.

    Rules across several keys, such as a patch that is larger than the film, hang on the config and are left to
    `load_config`.

    Raises
    ------
    ConfigError
        For an unknown key (with the nearest valid one), or a value of a wrong kind or out of range.
    """
    over = _parse_override(text)
    for kind in ("phases", "levels"):  # a part's table holds overrides of the whole config
        for part in over[kind].values() if isinstance(over.get(kind), Mapping) else ():
            over = merge(over, part) if isinstance(part, Mapping) else over
    try:
        Config.model_validate(merge({"name": "", "recipe": "", "arch": ""}, over))
    except ValidationError as cause:
        faults = [_explain_fault(fault) for fault in cause.errors() if fault["loc"]]
        if faults:
            raise ConfigError("; ".join(faults), where=text) from cause


def _over_parts(table: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table with an override of ``train`` also laid over the phases and levels that set the same key.

    Without this, ``--epochs 3`` would say nothing to a run whose levels have epochs of their own. Other tables stay
    the parts' own: their films and classes are what makes them parts.
    """
    wanted = over.get("train")
    result = dict(table)
    for kind in ("phases", "levels"):
        parts = table.get(kind)
        if isinstance(wanted, Mapping) and isinstance(parts, Mapping):
            result[kind] = {name: _with_train(part, wanted) for name, part in parts.items()}
    return result


def _with_train(part: Any, wanted: Mapping[str, Any]) -> Any:
    own = part.get("train") if isinstance(part, Mapping) else None
    if not isinstance(own, Mapping):
        return part
    return {**part, "train": {key: wanted.get(key, value) for key, value in own.items()}}


def _read_table(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return a file's table, laid over that of the config it ``extends``."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as cause:
        raise ConfigError(f"not readable as TOML: {cause}", where=path) from cause
    if "extends" not in table:
        return table
    if path.resolve() in seen:
        raise ConfigError("extends itself", where=path, expected="a chain of configs that ends")
    name = str(table.pop("extends"))
    beside = path.with_name(f"{name.removesuffix('.toml')}.toml")
    shared = beside if beside.is_file() else find_config(name)
    return merge(_read_table(shared, (*seen, path.resolve())), table)


def check_config(table: Mapping[str, Any], where: str = "config") -> Config:
    """Return the `Config` for a plain nested table, or raise `ConfigError` naming each fault."""
    image = table.get("image", {})
    if table.get("compat") == "authors" and isinstance(image, Mapping):
        # The authors' reading holds for the pixels too, unless the file says otherwise.
        table = {**table, "image": {"compat": "authors", **image}}
    try:
        return Config.model_validate(dict(table))
    except ValidationError as cause:
        raise ConfigError("; ".join(_explain_fault(fault) for fault in cause.errors()), where=where) from cause


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, table by table. ``classes`` is replaced whole: its order matters."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping) and key != "classes":
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'{text}' is no override", expected="KEY=VALUE, as in train.epochs=3")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    nested: Any = value
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def _explain_fault(fault: Any) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location) or "config"
    if fault["type"] == "extra_forbidden":
        table: Any = Config
        for part in location[:-1]:
            field = table.model_fields.get(part)
            table = field.annotation if field is not None else table
        hint = nearest(location[-1], list(getattr(table, "model_fields", {})))
        return f"unknown key '{key}'" + (f", {hint}" if hint else "")
    if fault["type"] == "value_error":
        return f"{key}: {fault['ctx']['error']}" if location else str(fault["ctx"]["error"])
    return f"{key}: {fault['msg']}, got {fault.get('input')!r}"


def dump_toml(config: Config) -> str:
    """Return the resolved config as TOML text that `load_config` reads back to an equal config."""
    return _toml_table(config.model_dump(mode="json"), ())


def _toml_table(table: Mapping[str, Any], prefix: tuple[str, ...]) -> str:
    lines: list[str] = []
    nested: list[str] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            nested.append(_toml_table(value, (*prefix, key)))
        elif value is not None:
            lines.append(f"{_toml_key(key)} = {_toml_value(value)}")
    head = f"\n[{'.'.join(_toml_key(part) for part in prefix)}]\n" if prefix else ""
    return head + "".join(f"{line}\n" for line in lines) + "".join(nested)


def _toml_key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON strings are TOML basic strings, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
