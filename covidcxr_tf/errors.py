"""The errors a user can meet, and the exit code of each."""

from __future__ import annotations


class CovidcxrError(Exception):
    """One line that says where, what is wrong, what was expected and what to do.

    Parameters
    ----------
    problem : str
        What is wrong, with the value that came.
    where : str or path, optional
        The file, and if it helps row and column: ``"manifest.csv, row 3, column label"``.
    expected : str, optional
        What would have been right.
    remedy : str, optional
        What the user can do now.
    """

    exit_code = 1

    def __init__(
        self, problem: str, *, where: object = None, expected: str | None = None, remedy: str | None = None
    ) -> None:
        self.problem = problem
        self.where = None if where is None else str(where)
        self.expected = expected
        self.remedy = remedy
        super().__init__(self._line())

    def _line(self) -> str:
        parts = [self.problem]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.remedy:
            parts.append(self.remedy)
        line = "; ".join(parts)
        if self.where:
            line = f"{self.where}: {line}"
        return " ".join(line.split())


class UsageError(CovidcxrError):
    """The command line or a call asks for something that does not exist."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file or an override that cannot be used."""


class DataError(CovidcxrError):
    """Input data that cannot be used."""

    exit_code = 3


class ManifestError(DataError):
    """A manifest (or predictions table) with a fault in a row or column."""


class SplitError(DataError):
    """A split that cannot be made or that breaks its own rules."""


class ImageError(DataError):
    """A film that cannot be read."""


class WeightsError(DataError):
    """A weight or model file that is missing, damaged or of another kind."""


class CheckFailed(CovidcxrError):
    """A check said no (``data check``, ``audit --strict``, ``weights verify``)."""

    exit_code = 4


class RunFailed(CovidcxrError):
    """A run that could not go on (NaN after retries, disk full, a dead worker)."""

    exit_code = 5


class Stopped(CovidcxrError):
    """Stopped by SIGTERM after saving; run again with ``--resume``."""

    exit_code = 75
