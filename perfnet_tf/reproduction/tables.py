"""PERF-Net's Tables 2, 3, 4, 6 and 7 as data: every row with the networks it needs and its figures.

A row is one network, or the late fusion of several; a network is trained once a seed and shared by
all rows and tables that name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.streams import FLOW, POSE, RGB

#: What settings are chosen by: the networks of one stream, and the RGB networks with teachers or
#: that start as such a student does.
KINDS = (RGB, FLOW, POSE, "student")

S3D_G, R3D50_G = "s3d_g", "r3d50_g"
#: Backbone -> how the paper writes it.
BACKBONE_TITLES = {name: backbone.title for name, backbone in BACKBONES.items()}


@dataclass(frozen=True)
class Network:
    """What is trained, but for its settings and its seed.

    Attributes:
        name: part of the names of its runs.
        stream: what it sees.
        teachers: names of the networks that teach it; without any it learns from labels only.
        loss: of distillation.
        start: name of the network whose weights it starts from; None: students may start from
            some (`starts_from`), all others from none.
        drawing: attributes of `PoseRenderConfig` that make this network; empty keeps the settings'.
    """

    name: str
    stream: str
    teachers: tuple[str, ...] = ()
    loss: str = "separate"
    start: str | None = None
    drawing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return "student" if self.teachers or self.start else self.stream

    def starts_from(self, student_start: str | None) -> str | None:
        """Name of the network whose weights it starts from, where students start from that one."""
        return student_start if self.teachers else self.start


@dataclass(frozen=True)
class Figure:
    """Accuracies that the paper states, in percent; None where it states none."""

    top1: float
    top5: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: short, unique in the table; what `--rows` takes.
        title: as the report shows it.
        networks: names of networks whose logits are summed. A name that stands twice is two runs
            of different seeds.
        paper: backbone -> the paper's figure.
        group: heading that the row stands under.
    """

    name: str
    title: str
    networks: tuple[str, ...]
    paper: Mapping[str, Figure] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
        name: what the command takes.
        title: of the report.
        dataset: what the paper measured it on.
        rows: in the paper's order.
        baseline: name of the row that the others are compared with; None compares none.
        climax: name of the row that the table leads up to.
    """

    name: str
    title: str
    dataset: str
    rows: tuple[Row, ...]
    baseline: str | None = RGB
    climax: str = "student_separate"

    def row(self, name: str) -> Row:
        """The row `name`.

        Raises:
            InputError: there is no such row.
        """
        check_choice(f"A row of {self.name}", name, [row.name for row in self.rows])
        return next(row for row in self.rows if row.name == name)

    def selected(self, names: tuple[str, ...] | list[str]) -> tuple[Row, ...]:
        """The rows `names`, in the table's order; all of them if there are no names.

        Raises:
            InputError: there is no such row.
        """
        for name in names:
            self.row(name)
        return tuple(row for row in self.rows if not names or row.name in names)


def _drawn(background: str, marker: str, num_colors: int, *, ratio_aware: bool) -> Network:
    drawing = {
        "background": background,
        "marker": marker,
        "num_colors": num_colors,
        "ratio_aware": ratio_aware,
    }
    words = (POSE, background, marker, str(num_colors), *([] if ratio_aware else ["uniform"]))
    return Network("_".join(words), POSE, drawing=drawing)


_POSE_DRAWINGS = (
    _drawn("rgb", "bar", 6, ratio_aware=False),
    _drawn("rgb", "bar", 6, ratio_aware=True),
    _drawn("rgb", "bar", 13, ratio_aware=False),
    _drawn("black", "dot", 13, ratio_aware=True),
    _drawn("black", "bar", 13, ratio_aware=True),
    _drawn("rgb", "dot", 13, ratio_aware=True),
)

#: Name -> network. `pose` is drawn as Table 2's last row: on the frame, bars, 13 colours, thickness
#: by the person's size.
NETWORKS = {
    network.name: network
    for network in (
        Network(RGB, RGB),
        Network(FLOW, FLOW),
        Network(POSE, POSE),
        *_POSE_DRAWINGS,
        Network("rgb_from_pose", RGB, start=POSE),
        Network("student_flow", RGB, (FLOW,)),
        Network("student_pose", RGB, (POSE,)),
        Network("student_unified", RGB, (FLOW, POSE), loss="unified"),
        Network("student_separate", RGB, (FLOW, POSE)),
    )
}


def _drawing_row(network: Network, title: str, top1: float, top5: float) -> Row:
    return Row(network.name, title, (network.name,), {R3D50_G: Figure(top1, top5)})


def _fusion_row(networks: tuple[str, ...], paper: Mapping[str, Figure], group: str = "") -> Row:
    titles = {RGB: "RGB", FLOW: "Flow", POSE: "Pose", "pose_black_bar_13": "Pose (on black)"}
    title = " + ".join(titles[name] for name in networks)
    name = "+".join(networks).replace("pose_black_bar_13", "pose_black")
    return Row(name, title, networks, paper, group)


_FUSION_FIGURES: dict[tuple[str, ...], dict[str, Figure]] = {
    (RGB,): {S3D_G: Figure(77.8, 93.9), R3D50_G: Figure(80.4, 95.2)},
    (FLOW,): {S3D_G: Figure(68.3, 88.4), R3D50_G: Figure(69.5, 89.2)},
    (POSE,): {S3D_G: Figure(76.8, 93.4), R3D50_G: Figure(79.3, 94.5)},
    (RGB, RGB): {R3D50_G: Figure(80.4, 95.6)},
    (RGB, FLOW): {S3D_G: Figure(79.2, 94.5), R3D50_G: Figure(81.4, 95.6)},
    (RGB, "pose_black_bar_13"): {R3D50_G: Figure(79.9, 94.2)},
    (RGB, POSE): {S3D_G: Figure(79.2, 94.6), R3D50_G: Figure(81.1, 95.9)},
    (RGB, FLOW, POSE): {S3D_G: Figure(80.3, 95.4), R3D50_G: Figure(82.0, 96.5)},
}
_TEACHERS_GROUP = "Teachers, and late fusions (the paper's figures: Table 3)"

TABLES = {
    table.name: table
    for table in (
        Table(
            "table2",
            "Table 2: renderings of the pose stream",
            "Kinetics-600",
            (
                *(
                    _drawing_row(network, title, *figure)
                    for network, title, figure in zip(
                        _POSE_DRAWINGS,
                        (
                            "on RGB, bars, 6 colours, uniform",
                            "on RGB, bars, 6 colours, ratio-aware",
                            "on RGB, bars, 13 colours, uniform",
                            "on black, dots, 13 colours, ratio-aware",
                            "on black, bars, 13 colours, ratio-aware",
                            "on RGB, dots, 13 colours, ratio-aware",
                        ),
                        (
                            (77.8, 93.9),
                            (78.1, 93.9),
                            (77.9, 93.8),
                            (33.7, 52.5),
                            (34.0, 52.9),
                            (78.0, 93.6),
                        ),
                        strict=True,
                    )
                ),
                _drawing_row(NETWORKS[POSE], "on RGB, bars, 13 colours, ratio-aware", 79.3, 94.3),
            ),
            baseline=None,
            climax=POSE,
        ),
        Table(
            "table3",
            "Table 3: late fusion of RGB, flow and pose",
            "Kinetics-600",
            tuple(_fusion_row(names, paper) for names, paper in _FUSION_FIGURES.items()),
            climax="rgb+flow+pose",
        ),
        Table(
            "table4",
            "Table 4: RGB-only students of flow and pose",
            "Kinetics-600",
            (
                Row(
                    RGB,
                    "RGB, no teacher",
                    (RGB,),
                    _FUSION_FIGURES[(RGB,)],
                    "RGB-only at test",
                ),
                # Not in the paper: what students that start from the pose teacher owe to that.
                Row(
                    "rgb_from_pose",
                    "RGB, no teacher, from the pose network's weights",
                    ("rgb_from_pose",),
                    group="RGB-only at test",
                ),
                Row(
                    "student_flow",
                    "student of flow",
                    ("student_flow",),
                    {S3D_G: Figure(78.3, 94.3), R3D50_G: Figure(80.6, 94.6)},
                    "RGB-only at test",
                ),
                Row(
                    "student_pose",
                    "student of pose",
                    ("student_pose",),
                    {S3D_G: Figure(78.4, 94.2), R3D50_G: Figure(80.4, 94.7)},
                    "RGB-only at test",
                ),
                Row(
                    "student_unified",
                    "student of flow and pose, unified loss",
                    ("student_unified",),
                    {R3D50_G: Figure(80.7, 95.3)},
                    "RGB-only at test",
                ),
                Row(
                    "student_separate",
                    "student of flow and pose, separate loss (PERF-Net)",
                    ("student_separate",),
                    {S3D_G: Figure(78.9, 94.6), R3D50_G: Figure(82.0, 95.7)},
                    "RGB-only at test",
                ),
                *(
                    _fusion_row(names, _FUSION_FIGURES.get(names, {}), _TEACHERS_GROUP)
                    for names in (
                        (FLOW,),
                        (POSE,),
                        (RGB, FLOW),
                        (RGB, POSE),
                        (FLOW, POSE),
                        (RGB, FLOW, POSE),
                    )
                ),
            ),
        ),
        Table(
            "table6",
            "Table 6: streams and student on more classes",
            "Kinetics-700",
            (
                Row(RGB, "RGB", (RGB,), {S3D_G: Figure(63.5, 85.1)}),
                Row(FLOW, "Flow", (FLOW,), {S3D_G: Figure(51.0, 75.8)}),
                Row(POSE, "Pose", (POSE,), {S3D_G: Figure(61.3, 83.5)}),
                Row(
                    "student_separate",
                    "RGB-only student of flow and pose (PERF-Net)",
                    ("student_separate",),
                    {S3D_G: Figure(67.9, 87.9)},
                ),
            ),
        ),
    )
}

#: Table 7: what the S3D-G student was pre-trained on -> dataset -> top-1 after fine-tuning, the
#: mean of the three official splits.
TABLE7 = {
    "kinetics600": {"ucf101": Figure(98.2), "hmdb51": Figure(82.0)},
    "kinetics700": {"ucf101": Figure(98.6), "hmdb51": Figure(83.2)},
}
TABLE_NAMES = (*TABLES, "table7")


def networks_of(rows: tuple[Row, ...], student_start: str | None = None) -> tuple[Network, ...]:
    """Every network that the rows need, each once, and after those that it needs itself.

    Args:
        rows: of a table.
        student_start: name of the network whose weights students start from.

    Raises:
        InputError: no row.
    """
    if not rows:
        raise InputError("A table needs at least one row. Received: none.")
    named = [NETWORKS[name] for row in rows for name in row.networks]
    wanted = {network.name for network in named}
    for network in named:
        wanted.update(network.teachers)
        start = network.starts_from(student_start)
        if start is not None:
            wanted.add(start)
    return tuple(network for name, network in NETWORKS.items() if name in wanted)
