"""Tables: one description, shown in a terminal (rich) or written as aligned Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from unicodedata import combining, east_asian_width

if TYPE_CHECKING:
    import rich.table

__all__ = ["Cell", "Column", "Table"]

Cell: TypeAlias = str | int | float | None
"""None is shown as an empty cell."""


@dataclass(frozen=True)
class Column:
    """Heading and format of a column.

    Attributes:
        title: Heading.
        format: A format specification for numbers, such as ``".2f"``; a cell that is a string is
            shown as it is. Columns with a format are right-aligned.
    """

    title: str
    format: str = ""


@dataclass
class Table:
    """Rows under columns.

    Example:
        >>> table = Table([Column("layer"), Column("ms", ".2f")], title="Profile")
        >>> table.add("conv1", 0.5)
        >>> print(table.to_markdown())
        | layer |   ms |
        |:------|-----:|
        | conv1 | 0.50 |
    """

    columns: Sequence[Column]
    title: str = ""
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Appends a row.

        Raises:
            ValueError: Not one cell per column.
        """
        if len(cells) != len(self.columns):
            raise ValueError(f"a row of {len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def texts(self) -> list[list[str]]:
        """The cells as text, row by row."""
        return [
            [_text(cell, column.format) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]

    def to_markdown(self) -> str:
        """A GitHub-flavoured table whose source is aligned too; no title, no final newline."""
        titles = [_escape(column.title) for column in self.columns]
        rows = [[_escape(text) for text in row] for row in self.texts()]
        right = [bool(column.format) for column in self.columns]
        widths = [max(3, *(_width(row[i]) for row in [titles, *rows])) for i in range(len(titles))]

        def line(cells: Sequence[str]) -> str:
            padded = (
                " " * (w - _width(c)) + c if r else c + " " * (w - _width(c))
                for c, w, r in zip(cells, widths, right, strict=True)
            )
            return "| " + " | ".join(padded) + " |"

        rule = "|".join(
            "-" * (w + 1) + ":" if r else ":" + "-" * (w + 1)
            for w, r in zip(widths, right, strict=True)
        )
        return "\n".join([line(titles), f"|{rule}|", *(line(row) for row in rows)])

    def to_rich(self) -> rich.table.Table:
        """The table for a ``rich`` console."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        shown = RichTable(title=self.title or None, box=box.SIMPLE_HEAD, title_justify="left")
        for column in self.columns:
            shown.add_column(column.title, justify="right" if column.format else "left")
        for row in self.texts():
            shown.add_row(*(Text(text) for text in row))
        return shown


def _text(cell: Cell, specification: str) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else format(cell, specification)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _width(text: str) -> int:
    """Columns that the text takes in a terminal."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
