"""Where DICOM films lie: a folder, a DICOMDIR, a zip. Nothing outside is read, and only films are written."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from covidcxr_tf.data.paths import is_inside
from covidcxr_tf.errors import DataError, ImageError
from covidcxr_tf.imaging.opening import MAX_BYTES, decoding
from covidcxr_tf.progress import Progress

MAX_UNPACKED = 64 << 30
"""Most bytes unpacked of one zip (64 GiB), counted as they come: what a zip states of itself may be wrong."""

MAX_MEMBERS = 500_000
DIRECTORY = "DICOMDIR"
_CHUNK = 1 << 20


class Found(NamedTuple):
    """Files that may be films.

    Attributes
    ----------
    root : Path
        Resolved folder that they lie in.
    files : list of (str, str)
        Path relative to `root`, and the name that the place gives it (the same, but in a zip).
    skipped : list of (str, str)
        Name and reason of what is left out.
    """

    root: Path
    files: list[tuple[str, str]]
    skipped: list[tuple[str, str]]


def find_dicom(place: Path, unpacked: Path) -> Found:
    """Return what lies in a folder, what a DICOMDIR lists, or what a zip holds.

    Parameters
    ----------
    place : Path
        A folder (walked, links to folders not followed), a DICOMDIR, or a zip.
    unpacked : Path
        Folder, only for the user, that a zip's films go to under names of their own: no name in a zip becomes a path.

    Raises
    ------
    DataError
        If it is none of these, or a zip holds too much.
    """
    if place.is_dir():
        return _in_folder(place.resolve())
    if not place.is_file():
        raise DataError("there is no such folder", where=place, expected="a folder of DICOM films, a DICOMDIR or a zip")
    if zipfile.is_zipfile(place):
        return _in_zip(place, unpacked)
    return _in_directory(place)


def _in_folder(folder: Path) -> Found:
    found = Found(folder, [], [])
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.upper() != DIRECTORY:
                _take(found, os.path.relpath(os.path.join(here, name), folder))
    return found


def _take(found: Found, relative: str) -> None:
    path = found.root / relative
    name = PurePosixPath(Path(relative)).as_posix()
    if not is_inside(os.path.realpath(path), str(found.root)):
        found.skipped.append((name, "is a link that leads outside the folder"))
    elif not path.is_file():
        found.skipped.append((name, "is no file" if path.exists() else "is not there"))
    else:
        found.files.append((name, name))


def _in_directory(path: Path) -> Found:
    import pydicom

    with decoding(str(path), "DICOMDIR", quotes=False):
        listing = pydicom.dcmread(path, stop_before_pixels=True)
        records = listing.get("DirectoryRecordSequence")
        if records is None:
            raise ImageError(
                "is no DICOMDIR and no zip", where=path, expected="a folder of DICOM films, a DICOMDIR or a zip"
            )
        found = Found(path.parent.resolve(), [], [])
        for number, record in enumerate(records, start=1):
            parts = record.get("ReferencedFileID")
            if record.get("DirectoryRecordType") == "IMAGE" and parts:
                _take_listed(found, [parts] if isinstance(parts, str) else list(parts), number)
    return found


def _take_listed(found: Found, parts: list[str], number: int) -> None:
    if any(part in ("", ".", "..") or set(part) & set('/\\\0:"') for part in parts):
        found.skipped.append((f"record {number}", "its path leads outside the folder"))
        return
    relative = os.path.join(*parts)
    # Many systems show the capitals of a disc's names as small letters.
    lower = relative.lower()
    _take(found, lower if not (found.root / relative).exists() and (found.root / lower).exists() else relative)


def _in_zip(path: Path, unpacked: Path) -> Found:
    found = Found(unpacked.resolve(), [], [])
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as cause:
        raise DataError("the zip is damaged", where=path, remedy="get the original file again") from cause
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > MAX_MEMBERS:
            raise DataError(f"the zip has {len(members)} files", where=path, expected=f"at most {MAX_MEMBERS}")
        found.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        progress = Progress(len(members), "unpack", "files")
        total = 0
        for member in members:
            total += _unpack(archive, member, found, MAX_UNPACKED - total)
            progress.advance()
            if total >= MAX_UNPACKED:
                raise DataError(f"the zip unpacks to more than {MAX_UNPACKED} bytes", where=path)
        progress.close()
    return found


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, found: Found, room: int) -> int:
    """Write a member that begins as DICOM does under a name of its own; return the bytes it took."""
    name = "".join(sign if sign.isprintable() else "?" for sign in member.filename)
    reason = _refusal(member)
    if reason:
        found.skipped.append((name, reason))
        return 0
    own = f"{len(found.files) + 1:06d}.dcm"
    place = found.root / own
    count = 0
    try:
        with archive.open(member) as stream:
            chunks = _chunks(stream, min(MAX_BYTES, room))
            first = next(chunks, b"")
            if not _begins_as_dicom(first):
                found.skipped.append((name, "is not DICOM"))
                return len(first)
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as target:
                count += target.write(first)
                for chunk in chunks:
                    count += target.write(chunk)
    except _TooLong:
        place.unlink(missing_ok=True)
        if room <= MAX_BYTES:
            return room
        found.skipped.append((name, f"unpacks to more than {MAX_BYTES} bytes"))
        return count
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError):
        place.unlink(missing_ok=True)
        found.skipped.append((name, "is damaged in the zip"))
        return count
    found.files.append((own, name))
    return count


class _TooLong(Exception):
    pass


def _chunks(stream: IO[bytes], most: int) -> Iterator[bytes]:
    total = 0
    while chunk := stream.read(_CHUNK):
        total += len(chunk)
        if total > most:
            raise _TooLong
        yield chunk


def _refusal(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        return "its path leads outside the zip"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > MAX_BYTES:
        return f"has {member.file_size} bytes, more than {MAX_BYTES}"
    if path.name.upper() == DIRECTORY:
        return "is a DICOMDIR, a list of films"
    return None


def _begins_as_dicom(content: bytes) -> bool:
    return content[128:132] == b"DICM" or content[:2] in (b"\x08\x00", b"\x00\x08", b"\x02\x00", b"\x00\x02")
