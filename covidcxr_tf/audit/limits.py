"""Limits that verdicts are judged by, with the reason of each; ``limits.toml`` holds ours, a user may give others."""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from covidcxr_tf.audit.finding import Finding, Verdict
from covidcxr_tf.catalog import AUDITS, nearest
from covidcxr_tf.errors import ConfigError

KEYS = ("warn", "fail", "bad_is", "reason")


@dataclass(frozen=True)
class Limits:
    """From where on one check's value is doubtful and bad.

    Attributes
    ----------
    warn, fail : float
        `fail` lies on the bad side of `warn`, or is equal to it.
    bad_is : "above" or "below"
        The bad side. A value equal to a limit has reached it.
    reason : str
        Why these numbers.
    """

    warn: float
    fail: float
    bad_is: Literal["above", "below"]
    reason: str

    def verdict(self, value: float) -> Verdict:
        """Return the verdict on a value."""
        sign = 1 if self.bad_is == "above" else -1
        if sign * value >= sign * self.fail:
            return "fail"
        return "warn" if sign * value >= sign * self.warn else "pass"

    def as_dict(self) -> dict[str, Any]:
        """Return the limits as ``audit.json`` has them."""
        return {"warn": self.warn, "fail": self.fail, "bad_is": self.bad_is, "reason": self.reason}

    def judge(
        self,
        name: str,
        quantity: str,
        measured: Mapping[str, Any],
        sentence: str,
        details: Mapping[str, Any] | None = None,
        *,
        judged: float | None = None,
    ) -> Finding:
        """Return the finding on a measured value, ``{"value", "ci95", "why"...}`` as in ``metrics.json``.

        `judged` is what the verdict is about, where that is another number than the value.
        A value that is not defined makes the check not applicable; `sentence` is then replaced by why.
        """
        more = {key: entry for key, entry in measured.items() if key not in ("value", "ci95")} | dict(details or {})
        if measured["value"] is None:
            return self.skip(name, str(measured.get("why", "not defined on these films")), more)
        bounds = measured.get("ci95")
        value = float(measured["value"])
        return Finding(
            name,
            quantity,
            value,
            None if bounds is None else (float(bounds[0]), float(bounds[1])),
            self.verdict(value if judged is None else judged),
            sentence,
            self.as_dict(),
            more,
        )

    def skip(self, name: str, why: str, details: Mapping[str, Any] | None = None) -> Finding:
        """Return that a check does not apply, and why."""
        return Finding(
            name, "", None, None, "not applicable", f"Not checked: {why}.", self.as_dict(), dict(details or {})
        )


def information(area: float | None) -> float | None:
    """Return how far an AUC lies from chance, on its own scale: 0.1 tells as much as 0.9, the other way round."""
    return None if area is None else max(area, 1 - area)


def load_limits(path: str | Path | None = None) -> dict[str, Limits]:
    """Return the limits of every check: ours, with those of a file of the same form over them.

    Raises
    ------
    ConfigError
        For a file that is not there or no TOML, a check or key that there is not, or limits out of order.
    """
    ours = importlib.resources.files("covidcxr_tf.audit").joinpath("limits.toml").read_text(encoding="utf-8")
    tables: dict[str, Any] = tomllib.loads(ours)
    if path is not None:
        for name, over in _read(Path(path)).items():
            if name not in tables:
                known = list(AUDITS)
                raise ConfigError(
                    f"no check '{name}'", where=path, expected=", ".join(known), remedy=nearest(name, known)
                )
            tables[name] = tables[name] | over if isinstance(over, dict) else over
    return {name: _limits(name, table, path) for name, table in tables.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", where=path, expected="a TOML file of limits") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"no TOML: {fault}", where=path, expected="a TOML file of limits") from None


def _limits(name: str, table: Any, path: str | Path | None) -> Limits:
    where = f"{path or 'limits.toml'}, [{name}]"
    unknown = [key for key in table if key not in KEYS] if isinstance(table, dict) else ["(no table)"]
    if unknown:
        raise ConfigError(f"unknown key '{unknown[0]}'", where=where, expected=", ".join(KEYS))
    try:
        found = Limits(float(table["warn"]), float(table["fail"]), table["bad_is"], str(table["reason"]))
    except (TypeError, ValueError):
        raise ConfigError("warn and fail are to be numbers", where=where) from None
    if found.bad_is not in ("above", "below"):
        raise ConfigError(f"bad_is = '{found.bad_is}'", where=where, expected="above or below")
    sign = 1 if found.bad_is == "above" else -1
    if not sign * found.fail >= sign * found.warn:
        raise ConfigError(
            f"warn = {found.warn} lies beyond fail = {found.fail}", where=where, expected=f"fail {found.bad_is} warn"
        )
    return found
