"""A report as Markdown, with its figures in separate files."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence

from perfnet_tf.files import write_atomically
from perfnet_tf.reporting.html import Report, Table


def write_markdown(
    report: Report, path: pathlib.Path, figures: Mapping[str, str] | None = None
) -> pathlib.Path:
    """Writes the report's text, tables, settings and commands in one step; returns the path.

    Args:
        report: its charts and pictures are left out.
        path: file to write.
        figures: caption -> picture's path, relative to the file.
    """
    parts = [f"# {escape(report.title)}", *map(escape, report.summary)]
    for table in report.tables:
        parts += [f"## {escape(table.title)}", _table(table), *map(escape, table.notes)]
    if figures:
        parts.append("## Figures")
        parts += [f"![{escape(caption)}]({file})" for caption, file in figures.items()]
    if report.settings:
        rows = [[name, value] for name, value in report.settings.items()]
        parts += ["## Settings", _table(Table("", ["setting", "value"], rows))]
    for what, command in report.commands:
        fence = "`" * (3 + max(map(len, re.findall(r"`{3,}", command)), default=0))
        parts += [escape(what), f"{fence}bash\n{command}\n{fence}"]
    write_atomically(path, "\n\n".join(parts) + "\n")
    return path


def escape(text: str) -> str:
    """Plain text as Markdown that shows it as it is, on one line, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|#$~!&])", r"\\\1", " ".join(text.splitlines()))


def _table(table: Table) -> str:
    lines = [
        _line(table.columns),
        _line(["---", *["---:"] * (len(table.columns) - 1)], raw=True),
    ]
    for row in table.rows:
        heading = len(row) == 1 and len(table.columns) > 1
        if heading:
            lines.append(
                _line([f"**{escape(row[0])}**", *[""] * (len(table.columns) - 1)], raw=True)
            )
        else:
            lines.append(_line(row))
    return "\n".join(lines)


def _line(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else escape(cell) for cell in cells) + " |"
