import dataclasses

import numpy as np
import pytest

from perfnet_tf.config import DistillConfig, PoseRenderConfig
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores
from perfnet_tf.pose.variants import BEST_VARIANT, POSE_VARIANTS
from perfnet_tf.reproduction import content
from perfnet_tf.reproduction.plan import partner_seed, plan_runs, row_runs, rows_by_backbone
from perfnet_tf.reproduction.reproduce import ReproduceConfig
from perfnet_tf.reproduction.results import Reproduction, RowResult
from perfnet_tf.reproduction.settings import REPRODUCTION_PRESETS, choose_settings
from perfnet_tf.reproduction.tables import NETWORKS, TABLE7, TABLES, networks_of


def figures(table, backbone):
    return {
        row.name: (row.paper[backbone].top1, row.paper[backbone].top5)
        for row in TABLES[table].rows
        if backbone in row.paper
    }


def planned(table, seeds=(0,), *, preset="mini", rows=(), backbone=None):
    settings = choose_settings(preset, backbone=backbone)
    chosen = rows_by_backbone(TABLES[table].selected(rows), settings, only_stated=preset == "paper")
    return plan_runs(chosen, settings, seeds)


def test_the_figures_are_the_papers():
    # Read from the paper by hand, once more: every table's first, last and oddest rows.
    assert figures("table2", "r3d50_g")["pose_black_dot_13_ratio"] == (33.7, 52.5)
    assert figures("table2", "r3d50_g")["pose_rgb_bar_13_uniform"] == (77.9, 93.8)
    assert figures("table2", "r3d50_g")["pose"] == (79.3, 94.3)
    assert figures("table3", "s3d_g") == {
        "rgb": (77.8, 93.9),
        "flow": (68.3, 88.4),
        "pose": (76.8, 93.4),
        "rgb+flow": (79.2, 94.5),
        "rgb+pose": (79.2, 94.6),
        "rgb+flow+pose": (80.3, 95.4),
    }
    assert figures("table3", "r3d50_g")["rgb+rgb"] == (80.4, 95.6)
    assert figures("table3", "r3d50_g")["rgb+pose_black_bar_13_ratio"] == (79.9, 94.2)
    assert figures("table4", "r3d50_g")["student_unified"] == (80.7, 95.3)
    assert figures("table4", "r3d50_g")["student_separate"] == (82.0, 95.7)
    assert "student_unified" not in figures("table4", "s3d_g")
    assert figures("table4", "s3d_g")["student_separate"] == (78.9, 94.6)
    assert figures("table6", "s3d_g")["student_separate"] == (67.9, 87.9)
    assert TABLE7["kinetics700"]["hmdb51"].top1 == 83.2


def test_table_2_draws_people_as_its_rows_say():
    drawn = {run.network.name: run.config.pose_render for run in planned("table2")}
    assert len(drawn) == 7 == len(set(map(repr, drawn.values())))
    assert drawn["pose"] == PoseRenderConfig("bar", 13, True, "rgb")
    assert drawn["pose_black_dot_13_ratio"] == PoseRenderConfig("dot", 13, True, "black")
    assert drawn["pose_rgb_bar_6_uniform"] == PoseRenderConfig("bar", 6, False, "rgb")


def test_a_drawing_has_one_name_in_every_command():
    networks = {run.network.name: run.config.pose_render for run in planned("table2")}
    for name, drawing in POSE_VARIANTS.items():
        network = "pose" if name == BEST_VARIANT else f"pose_{name}"
        assert networks[network] == drawing
        assert TABLES["table2"].row(f"pose_{name}").name == network


def test_earlier_names_of_rows_are_the_rows_they_were():
    drawn = {run.network.name: run.config.pose_render for run in planned("table2")}
    for earlier, drawing in {
        "pose_rgb_bar_6_uniform": PoseRenderConfig("bar", 6, False, "rgb"),
        "pose_rgb_bar_6": PoseRenderConfig("bar", 6, True, "rgb"),
        "pose_rgb_bar_13_uniform": PoseRenderConfig("bar", 13, False, "rgb"),
        "pose_black_dot_13": PoseRenderConfig("dot", 13, True, "black"),
        "pose_black_bar_13": PoseRenderConfig("bar", 13, True, "black"),
        "pose_rgb_dot_13": PoseRenderConfig("dot", 13, True, "rgb"),
    }.items():
        (row,) = TABLES["table2"].selected([earlier])
        assert drawn[row.name] == drawing, earlier
    assert TABLES["table3"].row("rgb+pose_black").networks == ("rgb", "pose_black_bar_13_ratio")


def test_tables_share_runs_and_teachers_come_first():
    table3, table4 = planned("table3", (0, 1, 2)), planned("table4", (0, 1, 2))
    shared = {run.name: run for run in table3 if run.network.name in ("rgb", "flow", "pose")}
    assert len(shared) == 9
    for run in table4:
        if run.name in shared:
            assert run == shared[run.name]
    names = [run.name for run in table4]
    for run in table4:
        assert all(
            names.index(teacher) < names.index(run.name) for teacher in run.teachers.values()
        )
    student = next(run for run in table4 if run.name == "s3d_g-student_separate-seed2")
    assert student.teachers == {"flow": "s3d_g-flow-seed2", "pose": "s3d_g-pose-seed2"}
    weights = {"flow": 0.2, "pose": 0.2}
    assert student.config.train.seed == 2
    assert student.config.distill == DistillConfig("separate", weights)


def test_two_networks_of_one_stream_are_two_seeds():
    row = TABLES["table3"].row("rgb+rgb")
    runs = lambda seeds, seed: row_runs(row, "s3d_g", seeds, seed)  # noqa: E731
    assert runs((0, 1, 2), 2) == ("s3d_g-rgb-seed2", "s3d_g-rgb-seed0")
    assert {frozenset(runs((0, 1, 2), seed)) for seed in (0, 1, 2)} == {
        frozenset({f"s3d_g-rgb-seed{a}", f"s3d_g-rgb-seed{b}"}) for a, b in ((0, 1), (1, 2), (0, 2))
    }
    # With fewer than three seeds a run more is needed, or two of the sums would be the same.
    assert partner_seed((0, 1), 1) == 2 and partner_seed((4,), 4) == 5
    names = [run.name for run in planned("table3", (4,), rows=("rgb+rgb",))]
    assert names == ["s3d_g-rgb-seed4", "s3d_g-rgb-seed5"]


def test_the_paper_preset_trains_what_the_paper_states():
    names = {run.name for run in planned("table4", preset="paper")}
    assert "r3d50_g-student_unified-seed0" in names
    assert "s3d_g-student_unified-seed0" not in names
    assert {run.backbone for run in planned("table2", preset="paper")} == {"r3d50_g"}
    rates = {run.backbone: run.config.train.batch_size for run in planned("table3", preset="paper")}
    assert rates == {"s3d_g": 306, "r3d50_g": 2048}


def test_settings_change_by_kind_and_keep_weights_that_a_loss_has():
    def change(kind, config):
        if kind == "student":
            weights = {"flow": 2.0, "pose": 3.0, "unified": 4.0}
            config = config.replace(distill=DistillConfig(teacher_weights=weights))
        epochs = {"flow": 5, "student": 9}.get(kind, 7)
        return config.replace(train=dataclasses.replace(config.train, epochs=epochs))

    settings = choose_settings("mini", change)
    rows = {"s3d_g": TABLES["table4"].rows}
    configs = {run.network.name: run.config for run in plan_runs(rows, settings, (0,))}
    epochs = {name: config.train.epochs for name, config in configs.items()}
    assert (epochs["rgb"], epochs["flow"], epochs["student_unified"]) == (7, 5, 9)
    assert configs["student_separate"].distill.teacher_weights == {"flow": 2.0, "pose": 3.0}
    assert configs["student_unified"].distill == DistillConfig("unified", {"unified": 4.0})
    assert configs["student_flow"].distill.teacher_weights == {"flow": 2.0}
    assert configs["rgb"].distill is None


def test_reports_state_each_students_own_teaching_and_every_changed_setting():
    def change(kind, config):
        tuned = {"optimizer": "adam"} if kind == "flow" else {"mixup": 0.2}
        return config.replace(train=dataclasses.replace(config.train, **tuned))

    table = TABLES["terms"]
    plan = plan_runs({"s3d_g": table.rows}, choose_settings("mini", change), (0,))
    reproduction = Reproduction(
        table, "mini", "toy", "test", (1, 1), 9, (0,), plan, results=(), notes=(), command=""
    )
    shown = content.settings(reproduction)
    teachers = {key: value for key, value in shown.items() if key.startswith("teachers of")}
    assert len(teachers) == sum(bool(run.teachers) for run in plan)
    assert teachers["teachers of student separate"] == "weights flow=0.2, pose=0.2"
    assert teachers["teachers of student kl"] == "weights flow=1, pose=1; term=kl, temperature=2.0"
    unified = "weights unified=1; loss=unified, term=kl, temperature=4.0"
    assert teachers["teachers of student fusion"] == unified
    assert shown["optimizer (S3D-G flow)"] == "adam" and "optimizer (S3D-G rgb)" not in shown
    assert shown["mixup (S3D-G student)"] == "0.2" and "mixup (S3D-G flow)" not in shown


@pytest.mark.parametrize(
    ("table", "rows", "compares"),
    [
        ("table3", ("rgb", "flow"), True),
        ("table3", ("flow", "pose"), False),
        ("table2", ("pose",), False),
    ],
)
def test_a_difference_from_rgb_is_explained_where_it_is_shown(table, rows, compares):
    scores = ClipScores(("a", "b"), np.array([0, 1]), np.eye(2), ("x", "y"))
    results = [RowResult(row, "s3d_g", {0: scores}) for row in TABLES[table].selected(rows)]
    reproduction = Reproduction(
        TABLES[table], "mini", "toy", "test", (1, 1), 9, (0,), (), results, notes=(), command=""
    )
    shown = content.results_table(reproduction)
    assert ("over RGB" in shown.columns) is compares
    assert ("Over RGB" in shown.notes[0]) is compares


def test_students_of_other_terms_differ_from_equation_1_by_their_term_alone():
    runs = {run.network.name: run for run in planned("terms")}
    usual = runs["student_separate"].config.distill
    found = {
        name.removeprefix("student_"): run.config.distill
        for name, run in runs.items()
        if name.startswith("student_") and name != "student_separate"
    }
    alike = {"teacher_weights": {"flow": 1.0, "pose": 1.0}}
    assert found == {
        "standardized": dataclasses.replace(usual, term="standardized", **alike),
        "kl": dataclasses.replace(usual, term="kl", temperature=2.0, **alike),
        "fusion": DistillConfig("unified", {"unified": 1.0}, term="kl", temperature=4.0),
        "confidence": dataclasses.replace(usual, clip_weights="confidence"),
        "windows": dataclasses.replace(usual, teacher_windows=5),
        "features": dataclasses.replace(usual, feature_weight=1.0),
    }
    assert {runs[f"student_{name}"].network.kind for name in found} == {"student"}
    assert not any(row.paper for row in TABLES["terms"].rows)


def test_what_a_start_gives_by_itself_is_a_row_where_students_have_one():
    def rows(**options):
        config = ReproduceConfig(TABLES["table4"], choose_settings("mini"), "mini", **options)
        return {row.name for row in config.selected_rows}

    assert rows(student_start="pose") - rows() == {"rgb_from_pose"}
    assert rows(rows=("rgb_from_pose",)) == {"rgb_from_pose"}
    runs = {run.network.name: run for run in planned("table4", rows=("rgb_from_pose",))}
    assert list(runs) == ["pose", "rgb_from_pose"]
    ours, student = runs["rgb_from_pose"], planned("table4", rows=("student_separate",))[-1]
    assert ours.start == "s3d_g-pose-seed0" and not ours.teachers
    assert ours.config == student.config.replace(distill=None)


def test_networks_are_listed_once_and_bad_names_refused():
    rows = TABLES["table4"].selected(["student_separate", "rgb+flow+pose"])
    assert [network.name for network in networks_of(rows)] == [
        "rgb",
        "flow",
        "pose",
        "student_separate",
    ]
    assert all(teacher in NETWORKS for n in NETWORKS.values() for teacher in n.teachers)
    with pytest.raises(InputError, match="Did you mean 'student_flow'"):
        TABLES["table4"].selected(["student_flaw"])
    with pytest.raises(InputError, match="`seeds` takes different"):
        planned("table4", (0, 0))


def test_mini_students_weigh_each_term_alike_and_start_from_the_pose_teacher():
    configs = {run.name: run.config for run in planned("table4")}
    weights = {
        student: dict(configs[f"s3d_g-{student}-seed0"].distill.teacher_weights)
        for student in ("student_flow", "student_separate", "student_unified")
    }
    assert weights == {
        "student_flow": {"flow": 0.2},
        "student_separate": {"flow": 0.2, "pose": 0.2},
        "student_unified": {"unified": 0.2},
    }
    starts = {name: preset.student_start for name, preset in REPRODUCTION_PRESETS.items()}
    assert starts == {
        "paper": None,
        "small": "pose",
        "mini": "pose",
        "finetune_i3d": None,
        "demo": "pose",
    }
    assert REPRODUCTION_PRESETS["paper"].views == (1, 1)


def test_from_kinetics_weights_flow_alone_is_trained_from_its_first_layer_on():
    preset = REPRODUCTION_PRESETS["finetune_i3d"]
    assert preset.start == "i3d_kinetics400"
    kinds = preset.settings["i3d"]
    assert {kind: bool(config.train.freeze) for kind, config in kinds.items()} == {
        "rgb": True,
        "flow": False,
        "pose": True,
        "student": True,
    }
    assert kinds["flow"].model.options == {"batch_norm_momentum": 0.9}
    assert len({config.clip for config in kinds.values()}) == 1
