"""One HTML file: what was trained, how well it does, and how to do it again.

`write_report` puts everything into the file itself: pictures are embedded, nothing is fetched, and
every name is escaped. The content comes as plain data (`Report`), so that any set of runs can be
told, not the demo's only.
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from perfnet_tf.errors import InputError
from perfnet_tf.files import write_atomically
from perfnet_tf.opencv import cv2
from perfnet_tf.reporting.html_page import PAGE, STYLE

#: Series colours of the charts and bars: Okabe and Ito's, which the colour-blind tell apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")


@dataclass(frozen=True)
class Result:
    """One line of the results.

    Attributes:
        name: of the network or the fusion.
        group: results of one group are together under its name.
        streams: what has to be computed from a video to use it, such as `RGB` or `RGB, flow`.
        top1, top5: shares of the test clips, in [0, 1].
        num_clips: how many test clips they are shares of.
    """

    name: str
    group: str
    streams: str
    top1: float
    top5: float
    num_clips: int

    def __post_init__(self) -> None:
        if self.num_clips < 1 or not (0 <= self.top1 <= 1 and 0 <= self.top5 <= 1):
            raise InputError(
                "A result is two shares in [0, 1] of at least one clip. Received: "
                f"{self.name!r} with top1={self.top1}, top5={self.top5}, clips={self.num_clips}."
            )


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        title, x_label, y_label: what they say.
        series: name -> (x values, y values); NaN leaves a gap.
        x_ticks: x value -> what stands there; empty writes numbers.
    """

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    x_ticks: Mapping[float, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Picture:
    """An image uint8 RGB `[height, width, 3]` with a caption."""

    image: npt.NDArray[np.uint8]
    caption: str


@dataclass(frozen=True, eq=False)
class ShownPrediction:
    """What a model says about one video.

    Attributes:
        video: its name.
        truth: its class, None if unknown.
        scores: (class, probability), the best first.
        picture: a few of its frames; None shows none.
    """

    video: str
    truth: str | None
    scores: Sequence[tuple[str, float]]
    picture: Picture | None = None


@dataclass(frozen=True)
class Table:
    """A table of text, in its own section.

    Attributes:
        title: of the section.
        columns: their headings; the first column is text, the others are numbers.
        rows: a cell for each column; a row of one cell is a heading for those that follow.
        notes: plain text below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """The content, in the order in which it is shown; what is empty is left out.

    Attributes:
        title, summary: the heading, and paragraphs of plain text below it.
        num_classes: for the accuracy of guessing.
        results: see `Result`.
        result_notes: plain text below the results.
        tables, charts, pictures, predictions: see their classes.
        pictures_title: of the section with the pictures.
        settings: name -> value.
        timings: stage -> seconds.
        commands: (what it does, shell command).
    """

    title: str
    summary: Sequence[str]
    num_classes: int
    results: Sequence[Result] = ()
    result_notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[Picture] = ()
    pictures_title: str = "What the networks see"
    predictions: Sequence[ShownPrediction] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()


def write_report(report: Report, path: str | os.PathLike[str]) -> pathlib.Path:
    """Writes the report as one HTML file, in one step; returns its path."""
    path = pathlib.Path(path)
    sections = [
        ("Results", _results(report)),
        *((table.title, _table(table)) for table in report.tables),
        (report.pictures_title, "".join(map(_figure, report.pictures))),
        ("Training", "".join(map(_chart, report.charts))),
        ("A prediction", "".join(map(_prediction, report.predictions))),
        ("Settings", _pairs(report.settings)),
        ("Time", _timings(report.timings)),
        ("Do it again", _commands(report.commands)),
    ]
    body = "\n".join(
        f"<section><h2>{_text(title)}</h2>\n{content}</section>"
        for title, content in sections
        if content
    )
    summary = "\n".join(f"<p>{_text(paragraph)}</p>" for paragraph in report.summary)
    document = PAGE.format(title=_text(report.title), style=STYLE, summary=summary, body=body)
    write_atomically(path, document)
    return path


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share of `count` independent trials (Wilson 1927).

    Raises:
        InputError: `share` is not in [0, 1], or `count` is below 1.
    """
    if not 0 <= share <= 1 or count < 1:
        raise InputError(
            f"An interval needs a share in [0, 1] of 1 or more trials. Received: {share}, {count}."
        )
    z = 1.959964
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = share * (1 - share) / count + z * z / (4 * count * count)
    half = z * math.sqrt(spread) / (1 + z * z / count)
    return max(center - half, 0.0), min(center + half, 1.0)


def stack_frames(
    rows: Mapping[str, npt.NDArray[np.uint8]], *, height: int = 120, caption: str = ""
) -> Picture:
    """Streams of one clip as one picture: a row each.

    Args:
        rows: name -> uint8 RGB `[frames, height, width, 3]`; all have as many frames.
        height: of each row, pixels.
        caption: by default the rows' names.

    Raises:
        InputError: no rows, or rows of different lengths.
    """
    if not rows or len({len(frames) for frames in rows.values()}) != 1:
        lengths = {name: len(frames) for name, frames in rows.items()}
        raise InputError(f"Rows must have equally many frames. Received: {lengths}.")
    pictures = []
    for frames in rows.values():
        width = round(height * frames.shape[2] / frames.shape[1])
        method = cv2.INTER_AREA if height < frames.shape[1] else cv2.INTER_CUBIC
        resized = [cv2.resize(frame, (width, height), interpolation=method) for frame in frames]
        gap = np.full((height, 4, 3), 255, np.uint8)
        strip = [part for frame in resized for part in (frame, gap)][:-1]
        pictures.append(np.concatenate(strip, axis=1))
    widest = max(picture.shape[1] for picture in pictures)
    padded = [
        np.pad(p, ((0, 4), (0, widest - p.shape[1]), (0, 0)), constant_values=255) for p in pictures
    ]
    image = np.concatenate(padded, axis=0)[:-4]
    return Picture(
        image.astype(np.uint8), caption or "From top to bottom: " + ", ".join(rows) + "."
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NARROW NO-BREAK SPACE}%"


def _results(report: Report) -> str:
    if not report.results:
        return ""
    rows, group = [], None
    for result in report.results:
        if result.group != group:
            group = result.group
            rows.append(f'<tr class="group"><th colspan="6">{_text(group)}</th></tr>')
        low, high = wilson_interval(result.top1, result.num_clips)
        bar = (
            f'<span class="bar"><i style="width:{100 * result.top1:.1f}%"></i>'
            f'<b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b></span>'
        )
        cells = [
            f"<td>{_text(result.name)}</td>",
            f'<td class="wide">{_text(result.streams)}</td>',
            f'<td class="number">{_percent(result.top1)}</td>',
            f'<td class="chart">{bar}</td>',
            f'<td class="number">{_percent(result.top5)}</td>',
            f'<td class="number wide">{result.num_clips}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = (
        '<thead><tr><th></th><th class="wide">needs at test</th><th class="number">top-1</th>'
        '<th class="chart"></th><th class="number">top-5</th>'
        '<th class="number wide">test clips</th></tr></thead>'
    )
    counts = sorted({result.num_clips for result in report.results})
    clips = " or ".join(map(str, counts))
    guess = 1 / report.num_classes
    notes = [
        f"Measured on {clips} test clips of {report.num_classes} classes. "
        f"Guessing gives {_percent(guess)} top-1 and {_percent(min(5 * guess, 1))} top-5. "
        "The thin lines are 95 % confidence intervals of top-1 for this number of clips; "
        "what overlaps widely is not told apart by this test.",
        *report.result_notes,
    ]
    return (
        f'<div class="scroll"><table class="results">{head}<tbody>{"".join(rows)}</tbody></table>'
        f"</div>" + "".join(f'<p class="note">{_text(note)}</p>' for note in notes)
    )


def _table(table: Table) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        first, *others = (_text(value) for value in values)
        numbers = (f'<{tag} class="number">{value}</{tag}>' for value in others)
        return f"<tr><{tag}>{first}</{tag}>{''.join(numbers)}</tr>"

    rows = [
        f'<tr class="group"><th colspan="{len(table.columns)}">{_text(row[0])}</th></tr>'
        if len(row) == 1
        else cells("td", row)
        for row in table.rows
    ]
    return (
        f'<div class="scroll"><table><thead>{cells("th", table.columns)}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        + "".join(f'<p class="note">{_text(note)}</p>' for note in table.notes)
    )


def _figure(picture: Picture) -> str:
    encoded = _png(picture.image)
    caption = _text(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="{encoded}"><figcaption>{caption}</figcaption></figure>'
    )


def _png(image: npt.NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise InputError(f"A picture must be uint8 [height, width, 3]. Received: {image.shape}.")
    return _data_uri(data.tobytes())


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _chart(chart: Chart) -> str:
    return f'<figure><img alt="{_text(chart.title)}" src="{_data_uri(draw_chart(chart))}"></figure>'


def draw_chart(chart: Chart) -> bytes:
    """The chart as a PNG file's content."""
    # Not pyplot: it keeps state for the whole process and may need a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.4), dpi=170, layout="constrained")
    axes = figure.subplots()
    for index, (name, (x, y)) in enumerate(chart.series.items()):
        axes.plot(x, y, label=name, color=COLORS[index % len(COLORS)], linewidth=1.8)
    axes.set_title(chart.title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    if chart.x_ticks:
        axes.set_xticks(list(chart.x_ticks), list(chart.x_ticks.values()))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4")
    axes.set_axisbelow(True)
    if chart.series:
        axes.legend(frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _prediction(prediction: ShownPrediction) -> str:
    rows = []
    for name, probability in prediction.scores:
        right = ' class="right"' if name == prediction.truth else ""
        rows.append(
            f'<tr{right}><td>{_text(name)}</td><td class="chart"><span class="bar">'
            f'<i style="width:{100 * probability:.1f}%"></i></span></td>'
            f'<td class="number">{_percent(probability)}</td></tr>'
        )
    truth = "" if prediction.truth is None else f" Its class is <b>{_text(prediction.truth)}</b>."
    picture = "" if prediction.picture is None else _figure(prediction.picture)
    return (
        f"<p><code>{_text(prediction.video)}</code>.{truth}</p>{picture}"
        f'<table class="prediction">{"".join(rows)}</table>'
    )


def _pairs(pairs: Mapping[str, str]) -> str:
    if not pairs:
        return ""
    items = "".join(
        f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in pairs.items()
    )
    return f"<dl>{items}</dl>"


def _timings(timings: Mapping[str, float]) -> str:
    if not timings:
        return ""
    values = {name: _duration(seconds) for name, seconds in timings.items()}
    return _pairs({**values, "altogether": _duration(sum(timings.values()))})


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f"<p>{_text(what)}</p><pre><code>{_text(command)}</code></pre>"
        for what, command in commands
    )
