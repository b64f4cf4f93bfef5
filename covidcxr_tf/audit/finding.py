"""What one check says: a number, its interval, a verdict by a stated limit, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "warn", "fail", "not applicable"]
#: From good to bad; a check that does not apply counts for nothing.
ORDER: tuple[Verdict, ...] = ("not applicable", "pass", "warn", "fail")


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes
    ----------
    name : str
        Of the check, as ``covidcxr list audits`` has it.
    quantity : str
        What `value` is, with its unit.
    value : float or None
        None where the check does not apply.
    ci95 : (float, float) or None
        Interval over patients; None where there is none, and `details` says why.
    verdict : str
        ``pass``, ``warn``, ``fail`` or ``not applicable``.
    sentence : str
        For a clinician.
    limits : dict
        ``warn``, ``fail``, ``bad_is`` ("above" or "below") and ``reason``: what the verdict was judged by.
    details : dict
        Further numbers, ready for JSON.
    """

    name: str
    quantity: str
    value: float | None
    ci95: tuple[float, float] | None
    verdict: Verdict
    sentence: str
    limits: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as ``audit.json`` has it."""
        return {
            "name": self.name,
            "quantity": self.quantity,
            "value": self.value,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "verdict": self.verdict,
            "sentence": self.sentence,
            "limits": self.limits,
            "details": self.details,
        }


def worst(findings: list[Finding]) -> Verdict:
    """Return the worst verdict of a list, ``not applicable`` of an empty one."""
    return max((one.verdict for one in findings), key=ORDER.index, default="not applicable")
