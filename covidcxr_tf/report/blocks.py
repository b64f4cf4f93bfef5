"""What a report's sections are made of; the template knows how each kind looks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone`: empty, ``lead``, ``note`` or ``warn``."""

    words: str
    tone: str = ""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row; `numeric` columns are set right."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()
    note: str = ""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Facts:
    """Names and values, one pair a line."""

    rows: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Bar:
    """One value with its interval on an axis: all in the axis' own unit; None where undefined.

    `zones` are (from, to, verdict) in that unit. `tone`: empty, ``first``, ``few``, ``pass``, ``warn``, ``fail``...
    """

    label: str
    value: float | None
    interval: tuple[float, float] | None
    words: str
    note: str = ""
    tone: str = ""
    zones: Sequence[tuple[float, float, str]] = ()
    top: float = 1.0

    def at(self, value: float) -> str:
        """Return where a value lies on the axis, in per cent of its length."""
        return f"{100 * min(max(value / self.top, 0.0), 1.0):.2f}"


@dataclass(frozen=True)
class Bars:
    """Values with intervals above each other; `guide` is drawn through all rows."""

    caption: str
    rows: Sequence[Bar]
    guide: float | None = 0.5
    legend: str = ""
    kind: ClassVar[str] = "bars"


@dataclass(frozen=True)
class Finding:
    """One check of an audit."""

    name: str
    verdict: str
    bar: Bar
    sentence: str
    quantity: str
    limit: str
    reason: str


@dataclass(frozen=True)
class Findings:
    """All checks of an audit."""

    rows: Sequence[Finding]
    kind: ClassVar[str] = "findings"


@dataclass(frozen=True)
class Picture:
    """A picture inside the page."""

    content: bytes
    alt: str
    caption: str = ""
    mime: str = "image/png"

    @property
    def uri(self) -> str:
        """The picture as ``data:`` address."""
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode('ascii')}"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room."""

    rows: Sequence[Picture]
    wide: bool = False
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Confusion:
    """Films by true class (rows) and class called (columns), each cell with its share of the row."""

    caption: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    kind: ClassVar[str] = "confusion"

    def share(self, row: int, column: int) -> float:
        """Return a cell's share of its row, 0 where the row is empty."""
        total = sum(self.counts[row])
        return self.counts[row][column] / total if total else 0.0


@dataclass(frozen=True)
class Film:
    """One film of the failure gallery."""

    name: str
    words: Sequence[tuple[str, str]]
    picture: Picture | None = None


@dataclass(frozen=True)
class Films:
    """The failure gallery."""

    rows: Sequence[Film]
    kind: ClassVar[str] = "films"


@dataclass(frozen=True)
class Missing:
    """What the run folder does not hold, and the command that makes it."""

    what: str
    command: str = ""
    kind: ClassVar[str] = "missing"


@dataclass(frozen=True)
class Answered:
    """One item of a checklist. `state`: ``filled``, ``partly`` or ``person``."""

    number: str
    part: str
    asks: str
    state: str
    answer: str


@dataclass(frozen=True)
class Checklist:
    """A reporting checklist."""

    caption: str
    rows: Sequence[Answered]
    kind: ClassVar[str] = "checklist"

    def count(self, state: str) -> int:
        """Return how many items are in a state."""
        return sum(row.state == state for row in self.rows)


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    title: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "folded"


Block = (
    Text | Table | Facts | Bars | Findings | Pictures | Confusion | Films | Missing | Checklist | Folded
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """One chapter of a page; `key` is its anchor."""

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    def missing(self) -> list[Missing]:
        """Return what is missing in this section."""
        return [block for block in self.blocks if isinstance(block, Missing)]
