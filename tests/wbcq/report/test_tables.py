"""Tables in Markdown and in a terminal."""

from __future__ import annotations

import io

import pytest

from wbcq.report.tables import Column, Table


@pytest.fixture
def table() -> Table:
    table = Table([Column("layer"), Column("ms", ".2f"), Column("n", ",d")], title="Times")
    table.add("conv1", 1.234, 1234567)
    table.add("a|b\nc", None, "many")
    return table


def test_markdown(table: Table) -> None:
    assert table.to_markdown().splitlines() == [
        "| layer  |   ms |         n |",
        "|:-------|-----:|----------:|",
        "| conv1  | 1.23 | 1,234,567 |",
        "| a\\|b c |      |      many |",
    ]


def test_wide_characters_line_up() -> None:
    table = Table([Column("name"), Column("x")])
    table.add("細胞", "a")
    table.add("e\u0301osine", "b")
    lines = table.to_markdown().splitlines()
    assert lines[2] == "| 細胞   | a   |"
    assert lines[3] == "| e\u0301osine | b   |"


def test_no_rows() -> None:
    assert Table([Column("a"), Column("b", "d")]).to_markdown() == "| a   |   b |\n|:----|----:|"


def test_row_of_wrong_length(table: Table) -> None:
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        table.add("x", 1)


def test_terminal(table: Table) -> None:
    rich_console = pytest.importorskip("rich.console")
    table.add("[bold]not markup[/bold]", 2.0, 3)
    output = io.StringIO()
    rich_console.Console(file=output, width=80).print(table.to_rich())
    text = output.getvalue()
    assert "Times" in text
    assert "1,234,567" in text
    assert "[bold]not markup[/bold]" in text
