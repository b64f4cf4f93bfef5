"""The launcher of local workers, with a shell in place of a training: settings, statuses, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "launch_local_workers.sh"
RANK = 'rank=$(echo "$TF_CONFIG" | sed "s/.*index\\": //; s/}.*//")'


def launch(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "WORKER_LOGS": str(folder / "logs"), **more}
    return subprocess.run(["bash", str(SCRIPT), *words], capture_output=True, text=True, env=environ, check=False)


def test_each_worker_gets_the_cluster_and_its_own_place(tmp_path: Path) -> None:
    done = launch(tmp_path, "3", "--", "bash", "-c", 'echo "$TF_CONFIG"; echo "$0 $1"', "two words", "more")
    assert done.returncode == 0, done.stderr
    logs = [(tmp_path / "logs" / f"worker_{rank}.log").read_text().splitlines() for rank in range(3)]
    told = [json.loads(lines[0]) for lines in logs]
    assert [one["task"] for one in told] == [{"type": "worker", "index": rank} for rank in range(3)]
    workers = told[0]["cluster"]["worker"]
    assert len(set(workers)) == 3 and all(one["cluster"]["worker"] == workers for one in told)
    assert all(address.startswith("127.0.0.1:") for address in workers)
    assert all(lines[1] == "two words more" for lines in logs)


def test_the_first_failure_ends_the_others_and_is_the_status(tmp_path: Path) -> None:
    # Worker 1 fails; the others wait for ever, and say 75 when they are stopped.
    script = f"{RANK}; [ $rank = 1 ] && exit 5; trap 'exit 75' TERM; while :; do read -t 1 <> <(:); done"
    done = launch(tmp_path, "3", "--", "bash", "-c", script)
    assert done.returncode == 5
    assert "worker 1 ended with status 5" in done.stderr


def test_workers_that_all_fail_at_once_end_the_script(tmp_path: Path) -> None:
    # Bash puts some of them away when the killer is started: `wait -n` then names none of them, and never would.
    for _ in range(3):
        assert launch(tmp_path, "6", "--", "false").returncode == 1


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    script = f"{RANK}; [ $rank = 0 ] && exit 3; trap '' TERM; while :; do read -t 1 <> <(:); done"
    done = launch(tmp_path, "2", "--", "bash", "-c", script, WORKER_GRACE="1")
    assert done.returncode == 3


def test_sigterm_is_handed_on(tmp_path: Path) -> None:
    script = f"{RANK}; trap 'exit 75' TERM; touch {tmp_path}/ready_$rank; while :; do read -t 1 <> <(:); done"
    environ = {**os.environ, "WORKER_LOGS": str(tmp_path / "logs")}
    process = subprocess.Popen(["bash", str(SCRIPT), "2", "--", "bash", "-c", script], env=environ)
    while not all((tmp_path / f"ready_{rank}").exists() for rank in range(2)):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 75


@pytest.mark.parametrize("words", [(), ("2",), ("two", "--", "true"), ("0", "--", "true"), ("2", "true", "x")])
def test_what_is_no_command(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = launch(tmp_path, *words)
    assert done.returncode == 2 and "usage:" in done.stderr
