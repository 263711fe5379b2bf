"""PERF-Net's Tables 2, 3, 4, 6 and 7 as data: every row, its networks and its accuracies.

A row is one network, or the late fusion of several; a network is trained once a seed and shared by
all rows and tables that name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.pose.variants import BEST_VARIANT, POSE_VARIANTS
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
        unlabelled: whether clips without labels add to its batches.
        drawing: attributes of `PoseRenderConfig` that make this network; empty keeps the settings'.
        distill: attributes of `DistillConfig` that do.
    """

    name: str
    stream: str
    teachers: tuple[str, ...] = ()
    loss: str = "separate"
    start: str | None = None
    unlabelled: bool = False
    drawing: Mapping[str, Any] = field(default_factory=dict)
    distill: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return "student" if self.teachers or self.start else self.stream

    def starts_from(self, student_start: str | None) -> str | None:
        """Name of the network whose weights it starts from, where students start from that one."""
        return student_start if self.teachers else self.start


@dataclass(frozen=True)
class PaperAccuracy:
    """Accuracies that the paper states, in percent; None where it states none."""

    top1: float
    top5: float | None = None


@dataclass(frozen=True)
class PaperRow:
    """One line of a table.

    Attributes:
        name: short, unique in the table; what `rows` of `ReproduceConfig` takes.
        title: as the report shows it.
        networks: names of networks whose logits are summed. A name that is listed twice is two runs
            of different seeds.
        paper: backbone -> the paper's figure.
        group: heading above the row.
    """

    name: str
    title: str
    networks: tuple[str, ...]
    paper: Mapping[str, PaperAccuracy] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables.

    Attributes:
        name: what the command takes.
        title: of the report.
        dataset: what the paper measured it on; empty for a table that is not the paper's.
        rows: in the paper's order.
        baseline: name of the row that the others are compared with; None compares none.
        highlight: name of the row whose gains order the table of classes.
    """

    name: str
    title: str
    dataset: str
    rows: tuple[PaperRow, ...]
    baseline: str | None = RGB
    highlight: str = "student_separate"

    def row(self, name: str) -> PaperRow:
        """The row called `name`, or called so earlier.

        Raises:
            InputError: there is no such row.
        """
        names = [row.name for row in self.rows]
        check_choice(f"A row of {self.name}", current_row_name(name), names)
        return self.rows[names.index(current_row_name(name))]

    def selected(self, names: tuple[str, ...] | list[str]) -> tuple[PaperRow, ...]:
        """The rows `names`, in the table's order; all of them if there are no names.

        Raises:
            InputError: there is no such row.
        """
        chosen = {self.row(name).name for name in names}
        return tuple(row for row in self.rows if not chosen or row.name in chosen)


#: Earlier names of networks, and so of rows and of folders of runs; other names are as they were.
EARLIER_NETWORKS = {
    "pose_rgb_bar_6_ratio": "pose_rgb_bar_6",
    "pose_black_dot_13_ratio": "pose_black_dot_13",
    "pose_black_bar_13_ratio": "pose_black_bar_13",
    "pose_rgb_dot_13_ratio": "pose_rgb_dot_13",
}
_EARLIER_ROWS = {
    **{old: new for new, old in EARLIER_NETWORKS.items()},
    "rgb+pose_black": "rgb+pose_black_bar_13_ratio",
    f"pose_{BEST_VARIANT}": POSE,
}


def current_row_name(name: str) -> str:
    """What the row is called that had the name `name` in earlier versions."""
    return _EARLIER_ROWS.get(name, name)


def drawing_network(variant: str) -> str:
    """Name of the network that sees people drawn as `pose.variants` calls it."""
    return POSE if variant == BEST_VARIANT else f"{POSE}_{variant}"


def _taught(name: str, loss: str = "separate", **distill: Any) -> Network:
    """A student of flow and pose that matches them otherwise than by Eq. 1."""
    return Network(f"student_{name}", RGB, (FLOW, POSE), loss=loss, distill=distill)


def _drawing(variant: str) -> Network:
    drawing = POSE_VARIANTS[variant]
    names = ("background", "marker", "num_colors", "ratio_aware")
    values = {name: getattr(drawing, name) for name in names}
    return Network(drawing_network(variant), POSE, drawing=values)


#: Of terms between probabilities or standardised logits, which are smaller than squared errors.
_ALIKE = {FLOW: 1.0, POSE: 1.0}

#: Name -> network. `pose` is drawn as Table 2's last row: on the frame, bars, 13 colours, thickness
#: by the person's size.
NETWORKS = {
    network.name: network
    for network in (
        Network(RGB, RGB),
        Network(FLOW, FLOW),
        Network(POSE, POSE),
        *(_drawing(variant) for variant in POSE_VARIANTS if variant != BEST_VARIANT),
        Network("rgb_from_pose", RGB, start=POSE),
        Network("student_flow", RGB, (FLOW,)),
        Network("student_pose", RGB, (POSE,)),
        Network("student_unified", RGB, (FLOW, POSE), loss="unified"),
        Network("student_separate", RGB, (FLOW, POSE)),
        Network("student_unlabelled", RGB, (FLOW, POSE), unlabelled=True),
        _taught("standardized", term="standardized", teacher_weights=_ALIKE),
        _taught("kl", term="kl", temperature=2.0, teacher_weights=_ALIKE),
        _taught("fusion", "unified", term="kl", temperature=4.0, teacher_weights={"unified": 1.0}),
        _taught("confidence", clip_weights="confidence"),
        _taught("windows", teacher_windows=5),
        _taught("features", feature_weight=1.0),
    )
}


def _drawing_row(variant: str, top1: float, top5: float) -> PaperRow:
    drawing = POSE_VARIANTS[variant]
    background = "RGB" if drawing.background == "rgb" else drawing.background
    thickness = "ratio-aware" if drawing.ratio_aware else "uniform"
    title = f"on {background}, {drawing.marker}s, {drawing.num_colors} colours, {thickness}"
    name = drawing_network(variant)
    return PaperRow(name, title, (name,), {R3D50_G: PaperAccuracy(top1, top5)})


_ON_BLACK = drawing_network("black_bar_13_ratio")


def _fusion_row(
    networks: tuple[str, ...], paper: Mapping[str, PaperAccuracy], group: str = ""
) -> PaperRow:
    titles = {RGB: "RGB", FLOW: "Flow", POSE: "Pose", _ON_BLACK: "Pose (on black)"}
    title = " + ".join(titles[name] for name in networks)
    return PaperRow("+".join(networks), title, networks, paper, group)


_FUSION_FIGURES: dict[tuple[str, ...], dict[str, PaperAccuracy]] = {
    (RGB,): {S3D_G: PaperAccuracy(77.8, 93.9), R3D50_G: PaperAccuracy(80.4, 95.2)},
    (FLOW,): {S3D_G: PaperAccuracy(68.3, 88.4), R3D50_G: PaperAccuracy(69.5, 89.2)},
    (POSE,): {S3D_G: PaperAccuracy(76.8, 93.4), R3D50_G: PaperAccuracy(79.3, 94.5)},
    (RGB, RGB): {R3D50_G: PaperAccuracy(80.4, 95.6)},
    (RGB, FLOW): {S3D_G: PaperAccuracy(79.2, 94.5), R3D50_G: PaperAccuracy(81.4, 95.6)},
    (RGB, _ON_BLACK): {R3D50_G: PaperAccuracy(79.9, 94.2)},
    (RGB, POSE): {S3D_G: PaperAccuracy(79.2, 94.6), R3D50_G: PaperAccuracy(81.1, 95.9)},
    (RGB, FLOW, POSE): {S3D_G: PaperAccuracy(80.3, 95.4), R3D50_G: PaperAccuracy(82.0, 96.5)},
}
_TEACHERS_GROUP = "Teachers, and late fusions (the paper's figures: Table 3)"

TABLES = {
    table.name: table
    for table in (
        PaperTable(
            "table2",
            "Table 2: renderings of the pose stream",
            "Kinetics-600",
            (
                _drawing_row("rgb_bar_6_uniform", 77.8, 93.9),
                _drawing_row("rgb_bar_6_ratio", 78.1, 93.9),
                _drawing_row("rgb_bar_13_uniform", 77.9, 93.8),
                _drawing_row("black_dot_13_ratio", 33.7, 52.5),
                _drawing_row("black_bar_13_ratio", 34.0, 52.9),
                _drawing_row("rgb_dot_13_ratio", 78.0, 93.6),
                _drawing_row("rgb_bar_13_ratio", 79.3, 94.3),
            ),
            baseline=None,
            highlight=POSE,
        ),
        PaperTable(
            "table3",
            "Table 3: late fusion of RGB, flow and pose",
            "Kinetics-600",
            tuple(_fusion_row(names, paper) for names, paper in _FUSION_FIGURES.items()),
            highlight="rgb+flow+pose",
        ),
        PaperTable(
            "table4",
            "Table 4: RGB-only students of flow and pose",
            "Kinetics-600",
            (
                PaperRow(
                    RGB,
                    "RGB, no teacher",
                    (RGB,),
                    _FUSION_FIGURES[(RGB,)],
                    "RGB-only at test",
                ),
                # Not in the paper: what students that start from the pose teacher owe to that.
                PaperRow(
                    "rgb_from_pose",
                    "RGB, no teacher, from the pose network's weights",
                    ("rgb_from_pose",),
                    group="RGB-only at test",
                ),
                PaperRow(
                    "student_flow",
                    "student of flow",
                    ("student_flow",),
                    {S3D_G: PaperAccuracy(78.3, 94.3), R3D50_G: PaperAccuracy(80.6, 94.6)},
                    "RGB-only at test",
                ),
                PaperRow(
                    "student_pose",
                    "student of pose",
                    ("student_pose",),
                    {S3D_G: PaperAccuracy(78.4, 94.2), R3D50_G: PaperAccuracy(80.4, 94.7)},
                    "RGB-only at test",
                ),
                PaperRow(
                    "student_unified",
                    "student of flow and pose, unified loss",
                    ("student_unified",),
                    {R3D50_G: PaperAccuracy(80.7, 95.3)},
                    "RGB-only at test",
                ),
                PaperRow(
                    "student_separate",
                    "student of flow and pose, separate loss (PERF-Net)",
                    ("student_separate",),
                    {S3D_G: PaperAccuracy(78.9, 94.6), R3D50_G: PaperAccuracy(82.0, 95.7)},
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
        PaperTable(
            "table6",
            "Table 6: streams and student on more classes",
            "Kinetics-700",
            (
                PaperRow(RGB, "RGB", (RGB,), {S3D_G: PaperAccuracy(63.5, 85.1)}),
                PaperRow(FLOW, "Flow", (FLOW,), {S3D_G: PaperAccuracy(51.0, 75.8)}),
                PaperRow(POSE, "Pose", (POSE,), {S3D_G: PaperAccuracy(61.3, 83.5)}),
                PaperRow(
                    "student_separate",
                    "RGB-only student of flow and pose (PERF-Net)",
                    ("student_separate",),
                    {S3D_G: PaperAccuracy(67.9, 87.9)},
                ),
            ),
        ),
        # Not in the paper: other terms than Eq. 1's.
        PaperTable(
            "terms",
            "Students of flow and pose by how they match their teachers",
            "",
            (
                PaperRow(RGB, "RGB, no teacher", (RGB,)),
                PaperRow(
                    "rgb_from_pose",
                    "RGB, no teacher, from the pose network's weights",
                    ("rgb_from_pose",),
                ),
                *(
                    PaperRow(f"student_{name}", title, (f"student_{name}",))
                    for name, title in (
                        ("separate", "squared errors of logits (Eq. 1)"),
                        ("standardized", "squared errors of standardised logits"),
                        ("kl", "divergence of probabilities, temperature 2"),
                        ("fusion", "divergence from the late fusion of both, temperature 4"),
                        ("confidence", "Eq. 1, by the teacher's trust in the label"),
                        ("windows", "Eq. 1, teachers' means of five windows, computed once"),
                        ("features", "Eq. 1, and squared errors of pooled features"),
                    )
                ),
            ),
        ),
    )
}

#: Not in the paper, see `reproduction.few_clips`.
FEW_CLIPS = PaperTable(
    "few_clips",
    "Few labelled clips",
    "",
    (
        PaperRow(RGB, "RGB, no teacher", (RGB,)),
        PaperRow(
            "rgb_from_pose", "RGB, no teacher, from the pose network's weights", ("rgb_from_pose",)
        ),
        PaperRow("student_separate", "student of flow and pose", ("student_separate",)),
        PaperRow(
            "student_unlabelled",
            "student of flow and pose, also of unlabelled clips",
            ("student_unlabelled",),
        ),
        *(_fusion_row(names, {}) for names in ((FLOW,), (POSE,), (FLOW, POSE), (RGB, FLOW, POSE))),
    ),
)

#: Table 7: what the S3D-G student was pre-trained on -> dataset -> top-1 after fine-tuning, the
#: mean of the three official splits.
TABLE7 = {
    "kinetics600": {"ucf101": PaperAccuracy(98.2), "hmdb51": PaperAccuracy(82.0)},
    "kinetics700": {"ucf101": PaperAccuracy(98.6), "hmdb51": PaperAccuracy(83.2)},
}
TABLE_NAMES = (*TABLES, "table7", FEW_CLIPS.name)


def networks_of(
    rows: tuple[PaperRow, ...], student_start: str | None = None
) -> tuple[Network, ...]:
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
