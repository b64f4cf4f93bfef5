"""Reads broken and foreign files by the thousand: each is a film or an ImageError, in 2 s and 600 MB, without noise.

Run: python scripts/hostile.py [--mutants 2000] [--seed 0] [--json]. Sets: the files of pydicom and pydicom-data, the
test pictures in Pillow's source archive (fetched once from the package index that pip is set to), and mutants made by
seed (`hostile_mutants`). Each file is read in a process of its own kind that lives on, so that a hang or a dead decoder
costs one process and is counted.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import click
from hostile_bombs import bombs
from hostile_mutants import mutants

LIMIT_S, LIMIT_MB, LIMIT_LINES = 2.0, 600.0, 3
"""What one file may cost: seconds of computing, megabytes beyond the process's own, lines on stderr and stdout."""

LARGEST_S = 4.0
"""What a bomb may cost: honest films of the largest size that is read, 100 Mpx, take 3 s."""

HANG_S, SILENT_S = 20.0, 600.0
"""Seconds of computing, and on the clock, after which a read counts as hung: a busy machine takes its time."""

WORKER = Path(__file__).with_name("hostile_worker.py")
PYTHON_SUFFIXES = (".py", ".pyc", ".pyi")


@dataclass
class Tally:
    """What came of a set of files.

    Attributes
    ----------
    faults : list of (str, str)
        File and what it did that no file may make the reader do.
    """

    name: str
    files: int = 0
    films: int = 0
    refusals: int = 0
    crashes: int = 0
    over: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    lines: int = 0
    skipped: str = ""
    faults: list[tuple[str, str]] = field(default_factory=list)
    limit_s: float = LIMIT_S

    def add(self, name: str, answer: dict[str, Any]) -> None:
        """Count one file."""
        self.files += 1
        self.films += answer["kind"] == "film"
        self.refusals += answer["kind"] == "refused"
        self.slowest_s, self.peak_mb = max(self.slowest_s, answer["seconds"]), max(self.peak_mb, answer["mb"])
        self.lines += len(answer["lines"])
        if answer["kind"] == "crash":
            self.crashes += 1
            self.faults.append((name, answer["detail"]))
        for value, limit, what in (
            (answer["seconds"], self.limit_s, "s"),
            (answer["mb"], LIMIT_MB, "MB"),
            (len(answer["lines"]), LIMIT_LINES, "lines"),
        ):
            if value > limit:
                self.over += 1
                self.faults.append((name, f"{value:.4g} {what}, allowed {limit:g}: {answer['detail'][:120]}"))


class Reader:
    """The process that reads; started again when it hangs or dies."""

    def __init__(self, hang_s: float = HANG_S) -> None:
        self._hang_s = hang_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read(self, name: str, path: Path | None = None, content: bytes | None = None) -> dict[str, Any]:
        """Return what the process says of a file: kind, detail, seconds, mb, lines."""
        process = self._started()
        assert process.stdin is not None
        asked = {"name": name} | ({"path": str(path)} if content is None else {"bytes": len(content)})
        process.stdin.write(json.dumps(asked).encode() + b"\n" + (content or b""))
        process.stdin.flush()
        line = self._line(process)
        if line:
            return json.loads(line)
        died = process.poll()
        self._stop()
        how = f"hung for {self._hang_s:g} s" if died is None else f"the process died ({died})"
        return {
            "kind": "crash",
            "detail": how,
            "seconds": self._hang_s if died is None else 0.0,
            "mb": 0.0,
            "lines": [],
        }

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            words = [sys.executable, str(WORKER)]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            if self._line(self._process) != b"ready\n":
                raise click.ClickException("the reading process does not start; try: python scripts/hostile_worker.py")
        return self._process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the next line, b"" if the process hangs or is gone."""
        assert process.stdout is not None
        begun, start = _computed(process.pid), time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not selector.select(1.0):
                if _computed(process.pid) - begun > self._hang_s or time.monotonic() - start > SILENT_S:
                    return b""
        line = process.stdout.readline()
        if not line:
            process.wait()
        return line

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:  # what was not read any more
                        continue
            self._process = None


def _computed(process: int) -> float:
    """Return the seconds that a process has computed; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tally(
    name: str, files: Iterable[tuple[str, Path | None, bytes | None]], reader: Reader, limit_s: float = LIMIT_S
) -> Tally:
    """Have all files of a set read."""
    counted = Tally(name, limit_s=limit_s)
    for label, path, content in files:
        counted.add(label, reader.read(label, path, content))
    return counted


def mutant_files(count: int, seed: int, kind: str) -> Iterator[tuple[str, Path | None, bytes | None]]:
    """Give the mutants of one kind among `count` of all three."""
    for mutant in mutants(count, seed, only=kind):
        yield mutant.name, None, mutant.content


def pydicom_files() -> list[Path]:
    """Return the data files of pydicom and, where it is installed, of pydicom-data."""
    folders = []
    for package in ("pydicom", "data_store"):
        found = importlib.util.find_spec(package)
        folders += [Path(place) / "data" for place in (found.submodule_search_locations or [])] if found else []
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if path.suffix not in PYTHON_SUFFIXES]


def pillow_pictures(cache: Path) -> tuple[Path | None, str]:
    """Return the folder of Pillow's test pictures, fetched and unpacked where it is missing, or why there is none."""
    version = importlib.metadata.version("pillow")
    folder = cache / f"pillow-{version}-images"
    if folder.is_dir():
        return folder, ""
    cache.mkdir(parents=True, exist_ok=True)
    archive = next(cache.glob(f"pillow-{version}.tar.gz"), None) or _fetched(version, cache)
    if archive is None:
        return None, (
            f"no source archive of Pillow {version} can be had: check the network, or put pillow-{version}.tar.gz "
            f"(https://pypi.org/project/pillow/{version}/#files) into {cache}"
        )
    with tempfile.TemporaryDirectory(dir=cache) as aside:
        unpacked = Path(aside) / "images"
        with tarfile.open(archive) as packed:
            for member in packed:
                inside = PurePosixPath(member.name).parts[1:]
                if member.isfile() and inside[:2] == ("Tests", "images"):
                    member.name = str(PurePosixPath(*inside[2:]))
                    packed.extract(member, unpacked, filter="data")
        unpacked.rename(folder)
    return folder, ""


def _fetched(version: str, cache: Path) -> Path | None:
    words = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pillow", f"pillow=={version}"]
    done = subprocess.run([sys.executable, *words, "--dest", str(cache)], capture_output=True, check=False)
    archive = cache / f"pillow-{version}.tar.gz"
    return archive if done.returncode == 0 and archive.is_file() else None


def all_sets(count: int, seed: int, cache: Path, say: Any) -> list[Tally]:
    """Have every set read and return what came of it."""
    done = []
    with Reader() as reader:
        folder, why = pillow_pictures(cache)
        sets: list[tuple[str, Iterable[tuple[str, Path | None, bytes | None]]]] = [
            ("pydicom and pydicom-data", [(str(path), path, None) for path in pydicom_files()])
        ]
        if folder is not None:
            pictures = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            sets.append(("Pillow's test images", [(str(path), path, None) for path in pictures]))
        sets += [(f"{kind} mutants", mutant_files(count, seed, kind)) for kind in ("PNG", "JPEG", "DICOM")]
        others = ((one.name, None, one.content) for one in mutants(count // 5, seed, ("others",)))
        sets.append(("TIFF, WebP, GIF, BMP mutants", others))
        for name, files in sets:
            say(f"{name} ...")
            done.append(tally(name, files, reader))
        largest = ((name, None, content) for name, content in bombs())
        done.append(tally("bombs of 100 Mpx and 200,000 parts", largest, reader, LARGEST_S))
        if folder is None:
            done.append(Tally("Pillow's test images", skipped=why))
    return done


def table(tallies: list[Tally]) -> str:
    """Return the counts as a Markdown table, the sum last."""
    whole = Tally("all")
    for one in tallies:
        for name in ("files", "films", "refusals", "crashes", "over", "lines"):
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
        whole.slowest_s, whole.peak_mb = max(whole.slowest_s, one.slowest_s), max(whole.peak_mb, one.peak_mb)
    rows = [
        "| set | files | films | right refusals | crashes | over a limit | lines said | slowest s | peak MB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in (*tallies, whole):
        numbers = (one.files, one.films, one.refusals, one.crashes, one.over, one.lines)
        cells = " | ".join(f"{number:,}" for number in numbers)
        rows.append(f"| {one.name} | {cells} | {one.slowest_s:.2f} | {one.peak_mb:.0f} |")
    return "\n".join(rows)


@click.command()
@click.option("--mutants", "count", default=2000, show_default=True, type=click.IntRange(0), help="PNG, JPEG, DICOM.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Keeps Pillow's pictures.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def main(count: int, seed: int, cache: Path | None, as_json: bool) -> None:
    """Read every hostile file there is and print what came of it; exit code 1 where one was no film and no refusal."""
    home = Path(os.environ.get("COVIDCXR_CACHE") or Path.home() / ".cache" / "covidcxr")
    done = all_sets(count, seed, cache or home / "hostile", lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps([one.__dict__ for one in done], indent=2))
    else:
        click.echo(table(done))
    for one in done:
        for name, what in one.faults:
            click.echo(f"{one.name}: {name}: {what}", err=True)
        if one.skipped:
            click.echo(f"{one.name}: skipped: {one.skipped}", err=True)
    if any(one.faults for one in done):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
