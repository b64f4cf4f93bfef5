"""Identifiers turned into names that nobody can turn back without the salt."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from covidcxr_tf.errors import UsageError

SALT_BYTES = 32
_SHORTEST = 32  # characters of a salt that a user brings: 16 bytes in hexadecimal digits
_DIGITS = 20  # 80 bits: no two of a million patients share one


class Pseudonyms:
    """Keyed hashes (HMAC-SHA256) under one salt.

    A plain hash of a patient's number is no secret: all numbers can be tried. With a salt that stays at home they
    cannot, and the same salt gives the same patient the same name in each import.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    @classmethod
    def of_file(cls, path: Path) -> Pseudonyms:
        """Return those of the salt in `path`, which is made, for the user's eyes only, where it is missing.

        Raises
        ------
        UsageError
            If the file is no salt: a folder, not text, or shorter than 32 characters.
        """
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(_read_salt(path))
        salt = secrets.token_hex(SALT_BYTES)
        with os.fdopen(handle, "w") as stream:
            stream.write(salt + "\n")
        return cls(salt.encode())

    def name(self, kind: str, identifier: str) -> str:
        """Return the name of an identifier: the first letter of `kind` and 20 hexadecimal digits.

        The letter keeps spreadsheets from taking the name for a number. One identifier of two kinds has two names.
        """
        digest = hmac.new(self._salt, f"{kind}\0{identifier}".encode(), hashlib.sha256).hexdigest()
        return f"{kind[0]}{digest[:_DIGITS]}"


def seen_by_others(path: Path) -> bool:
    """Return whether the group or everybody may read a file."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _read_salt(path: Path) -> bytes:
    try:
        salt = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError("cannot be read as a salt", where=path, expected="a file of letters and digits") from cause
    if len(salt) < _SHORTEST:
        raise UsageError(
            f"a salt of {len(salt)} characters",
            where=path,
            expected=f"at least {_SHORTEST}",
            remedy="leave --salt-file out to have one made",
        )
    return salt.encode()
