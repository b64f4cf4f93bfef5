"""The whole command with two workers, as `launch_local_workers.sh` starts it: phases, a stop between them, the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.config import check_config, dump_toml, load_config, merge
from covidcxr_tf.models.files import load_model

SCRIPT = Path(__file__).parents[2] / "scripts" / "launch_local_workers.sh"


def config_file(phantoms: Path, folder: Path) -> Path:
    config = load_config("base", [f"data.manifest={phantoms}", "image.size=64", "image.tiles=4"])
    phases = {"phase_1": {"train": {"learning_rate": 1e-3}}, "phase_2": {}}
    more = {"recipe": "densenet121_phased", "phases": phases, "run_phases": ["phase_1", "phase_2"]}
    table = merge(config.model_dump(mode="json"), {**more, "train": {"epochs": 2, "batch_size": 7}})
    path = folder / "phased.toml"
    path.write_text(dump_toml(check_config(table)))
    return path


def start(config: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "covidcxr_tf.cli.main", "train", "--config", str(config), "--out", str(run), *more]
    environ = {**os.environ, "WORKER_LOGS": str(run.with_name("logs")), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(["bash", str(SCRIPT), "2", "--", *words], env=environ, text=True, stdout=subprocess.DEVNULL)


def logs(run: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(run.with_name("logs").glob("worker_*.log")))


@pytest.mark.slow
def test_two_workers_train_phases_stop_between_them_and_go_on(phantoms: Path, tmp_path: Path) -> None:
    config = config_file(phantoms, tmp_path)
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [sys.executable, "-m", "covidcxr_tf.cli.main", "train", "--config", str(config), "--out", str(whole)]
    assert subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode == 0
    process = start(config, run)
    try:
        # The chief judges the first phase, and the other worker waits for the second.
        while not list((run / "phase_1").glob("predictions_*.csv")):
            assert process.poll() is None, logs(run)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=600) == 75, logs(run)
        assert logs(run).count("error: stopped by SIGTERM") == 2
        again = start(config, run, "--resume")
        assert again.wait(timeout=1200) == 0, logs(run)
    finally:
        process.kill()
    ours, theirs = (load_model(folder / "model.keras")[0].get_weights() for folder in (run, whole))
    for values, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-3)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (run, whole)]
    assert metrics[0]["phases"].keys() == metrics[1]["phases"].keys() == {"phase_1", "phase_2"}
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in whole.iterdir())
