"""Names as a report may show them: as they are, or so that nobody outside can tell film, patient or hospital."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from covidcxr_tf.data.pseudonyms import Pseudonyms

HIDDEN = "(not shown)"
UNKNOWN = "unknown"  # what a source is called where the manifest names none


class Names:
    """Names as they are."""

    anonymous = False

    def film(self, path: str) -> str:
        """Return the name of a film."""
        return path

    def source(self, name: str) -> str:
        """Return the name of a source."""
        return name

    def text(self, words: str) -> str:
        """Return free text of a file."""
        return words

    def setting(self, value: Any) -> Any:
        """Return a value of a config, or of what else may hold a place on a disk."""
        return value


class Disguise(Names):
    """Names that only who holds the run can turn back.

    Parameters
    ----------
    key : bytes
        Of the hashes. A film's path could be guessed and hashed; with a key that no reader has (the bytes of the run's
        predictions) that does not help, and the same run gives the same names each time.
    sources : iterable of str
        All sources of the run: they become ``source A``, ``source B``, ...
    """

    anonymous = True

    def __init__(self, key: bytes, sources: Iterable[str]) -> None:
        self._names = Pseudonyms(hashlib.sha256(key).digest())
        known = sorted({name for name in sources if name and name != UNKNOWN})
        self._sources = {name: f"source {_letters(number)}" for number, name in enumerate(known)}
        words = sorted(map(re.escape, known), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)({'|'.join(words)})(?!\w)") if words else None

    def film(self, path: str) -> str:
        """Return a keyed hash."""
        return self._names.name("film", path)

    def source(self, name: str) -> str:
        """Return a letter for a source."""
        return self._sources.get(name, name if name == UNKNOWN else "another source")

    def text(self, words: str) -> str:
        """Return text with the sources' letters in place of their names."""
        if self._pattern is None:
            return words
        return self._pattern.sub(lambda found: self._sources[found[0]], words)

    def setting(self, value: Any) -> Any:
        """Return a value without places on a disk and without sources' names."""
        if isinstance(value, Mapping):
            return {self.setting(name): self.setting(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.setting(item) for item in value]
        if not isinstance(value, str):
            return value
        return HIDDEN if "/" in value or "\\" in value else self.text(value)


def _letters(number: int) -> str:
    """Return A, B, ... Z, AA, AB, ..."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
