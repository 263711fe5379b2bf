"""Numbers and tables of results as text."""

from __future__ import annotations

from perfnet_tf.reporting.html import Table
from perfnet_tf.reproduction.results import Spread
from perfnet_tf.reproduction.tables import PaperAccuracy

#: Keeps a number and its unit on one line.
SPACE = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


def format_spread(spread: Spread, *, signed: bool = False) -> str:
    """Mean and standard deviation in percent or points."""
    mean = f"{100 * spread.mean:+.1f}" if signed else f"{100 * spread.mean:.1f}"
    text = mean.replace("-", _MINUS)
    if spread.deviation is None:
        return text
    return f"{text}{SPACE}\N{PLUS-MINUS SIGN}{SPACE}{100 * spread.deviation:.1f}"


def format_figure(figure: PaperAccuracy | None) -> str:
    """What the paper states: top-1, and top-5 if it does."""
    if figure is None:
        return ""
    return f"{figure.top1:.1f}" + ("" if figure.top5 is None else f", {figure.top5:.1f}")


def format_percent(share: float) -> str:
    """A share in [0, 1] as percent."""
    return f"{100 * share:.1f}{SPACE}%"


def format_points(share: float) -> str:
    """A difference of shares in whole points, with its sign."""
    points = round(100 * share)
    return f"{points:+d}".replace("-", _MINUS) if points else "0"


def format_text_table(table: Table) -> str:
    """A table as aligned lines for a terminal, without its title and notes."""
    widths = [
        max(len(row[column]) for row in (table.columns, *table.rows) if len(row) > max(column, 1))
        for column in range(len(table.columns))
    ]
    lines = []
    for row in (table.columns, *table.rows):
        first = f"{row[0]:<{widths[0]}}"
        others = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([first, *others]).rstrip().replace(SPACE, " "))
    return "\n".join(lines)
