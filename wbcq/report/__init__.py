"""Tables, plots and files for people to read."""

from wbcq.report.files import replacing, write_text
from wbcq.report.reporter import Reporter, Stage
from wbcq.report.tables import Cell, Column, Table

__all__ = ["Cell", "Column", "Reporter", "Stage", "Table", "replacing", "write_text"]
