"""Memory by the length of a manifest: python scripts/benchmark_data.py [ROWS...]; one table.

Tiny films (32 px, hard links to a few files), so that what is counted is what a row costs and not its pixels. Each
figure is of a process of its own. Not a test: the exit code is 0 whatever the figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDE, LINKS = 32, 30_000  # a file system allows some 65,000 links to a file
SIZES = (1_000, 10_000, 100_000)
BATCHES_SEEN = 8
DRAWN_FROM = 100_000  # so many films are not read any more: their shards hold one film's pixels


class Cost(NamedTuple):
    """What a manifest of `rows` costs: GB held after each stage and at most, seconds to the first batch."""

    rows: int
    imports: float
    manifest: float
    datasets: float
    batches: float
    peak: float
    seconds: float
    prepare_peak: float
    prepared_per_second: float


def write_films(folder: Path, rows: int) -> Path:
    """Return the manifest of `rows` films of 32 px, two a patient, two classes, split 8 : 1 : 1 by patient."""
    import cv2

    (folder / "films").mkdir(parents=True)
    drawn = max(8, -(-rows // LINKS))
    for number in range(drawn):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    parts = ("train",) * 8 + ("validation", "test")
    with (folder / "manifest.csv").open("w") as manifest:
        manifest.write("path,label,patient_id,split\n")
        for row in range(rows):
            path = f"films/{row:08d}.png"
            os.link(folder / f"{row % drawn}.png", folder / path)
            patient = row // 2
            label = ("normal", "covid19")[patient // 10 % 2]
            manifest.write(f"{path},{label},patient{patient:08d},{parts[patient % 10]}\n")
    return folder / "manifest.csv"


def measure(sizes: Sequence[int] = SIZES) -> list[Cost]:
    """Return the cost of each size, each in two processes of its own: one that prepares, one that begins an epoch."""
    costs = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_films(Path(folder), rows)
            prepared, begun = (_child(stage, folder) for stage in ("prepare", "epoch"))
            costs.append(Cost(rows, **begun, **prepared))
            print(f"{rows} rows: {json.dumps(costs[-1]._asdict())}", file=sys.stderr)
    return costs


def _child(stage: str, folder: str) -> dict[str, float]:
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, stage, folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=quiet)
    return json.loads(done.stdout.splitlines()[-1])


def prepare_stage(folder: Path) -> dict[str, float]:
    """Prepare the films of a folder; memory and speed."""
    from covidcxr_tf import prepare
    from covidcxr_tf.recipes.datasets import open_manifest, prepare_films

    config = _config(folder)
    manifest = open_manifest(config)
    if len(manifest) >= DRAWN_FROM:
        pixels = np.random.default_rng(0).bytes(SIDE * SIDE)
        prepare._one_film = lambda manifest, row, *_: (row, pixels, b"")
    started = time.perf_counter()
    prepare_films(config, manifest, out=folder / "shards")
    return {
        "prepared_per_second": len(manifest) / (time.perf_counter() - started),
        "prepare_peak": memory("VmHWM"),
    }


def epoch_stage(folder: Path) -> dict[str, float]:
    """Build the datasets of prepared films and begin an epoch; memory after each stage."""
    import tensorflow as tf

    from covidcxr_tf.recipes.datasets import PARTS, assemble, open_manifest, prepare_films

    config = _config(folder)
    tf.zeros(1)
    found = {"imports": memory("VmRSS")}
    started = time.perf_counter()
    manifest = open_manifest(config)
    found["manifest"] = memory("VmRSS")
    prepared, lungs = prepare_films(config, manifest, out=folder / "shards")
    datasets = assemble(config, prepared, lungs, {part: (part,) for part in PARTS})
    found["datasets"] = memory("VmRSS")
    epoch = iter(datasets.training.training(1))
    next(epoch)
    found["seconds"] = time.perf_counter() - started
    for _ in range(BATCHES_SEEN):
        next(epoch)
    found["batches"] = memory("VmRSS")
    return {**found, "peak": memory("VmHWM")}


def _config(folder: Path) -> Any:
    from covidcxr_tf.config import load_config

    changes = [f"data.manifest={folder / 'manifest.csv'}", f"image.size={SIDE}", "image.tiles=4", "image.lungs=none"]
    return load_config("base", [*changes, 'image.channels=["raw"]'])


def memory(line: str) -> float:
    """Return what this process holds (``VmRSS``) or has held at most (``VmHWM``), in GB."""
    listed = Path("/proc/self/status").read_text().splitlines()
    return next(int(words.split()[1]) for words in listed if words.startswith(line)) * 1024 / 1e9


def markdown(costs: Sequence[Cost]) -> str:
    """Return the table, in MB; what a row costs is the slope from the line above."""
    held_after = ("imports", "+ manifest", "+ datasets", "+ first batches", "peak")
    heads = ("rows", *held_after, "bytes a row", "to first batch", "peak of prepare", "prepared")
    lines = [" | ".join(heads), " | ".join(["---:"] * len(heads))]
    for number, cost in enumerate(costs):
        before = costs[number - 1] if number else None
        slope = "" if before is None else f"{(cost.peak - before.peak) * 1e9 / (cost.rows - before.rows):.0f}"
        held = [cost.imports, cost.manifest - cost.imports, cost.datasets - cost.manifest, cost.batches - cost.datasets]
        cells = [f"{cost.rows:,}", *(f"{value * 1e3:.0f}" for value in (*held, cost.peak)), slope]
        cells += [f"{cost.seconds:.1f} s", f"{cost.prepare_peak * 1e3:.0f}", f"{cost.prepared_per_second:.0f}/s"]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


STAGES: dict[str, Callable[[Path], dict[str, float]]] = {"prepare": prepare_stage, "epoch": epoch_stage}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in STAGES:
        print(json.dumps(STAGES[sys.argv[1]](Path(sys.argv[2]))))
    else:
        print(markdown(measure([int(words) for words in sys.argv[1:]] or SIZES)))
