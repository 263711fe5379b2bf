"""train, distill and finetune: what their flags mean, and that they do the job."""

import dataclasses
import types

import pytest
from prepared_clips import write_tiny_dataset

from perfnet_tf.cli import distill, finetune, train
from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, DistillConfig, ExperimentConfig
from perfnet_tf.errors import InputError
from perfnet_tf.presets import PRESETS, load_preset
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.training import trainer

COMMANDS = {"train": train, "distill": distill, "finetune": finetune}


@pytest.fixture
def called(monkeypatch):
    """The configuration and the rest that a command would train with."""
    calls = []

    def record(arguments, config, **options):
        calls.append((config, options))
        return 0

    for module in COMMANDS.values():
        monkeypatch.setattr(module, "run_training", record)
    return calls


def run(*arguments):
    return main(list(arguments))


def config_of(called, *arguments):
    assert run("train", "--data=d", "--output=o", "--stream=rgb", *arguments) == 0
    return called[-1][0]


def test_without_flags_the_defaults_train(called):
    assert config_of(called) == ExperimentConfig()


def test_a_preset_sets_everything_and_flags_override_it(called):
    preset = PRESETS["small"]
    assert config_of(called, "--preset=small") == preset
    config = config_of(
        called,
        "--preset=small",
        "--stream=flow",
        "--epochs=3",
        "--batch=8",
        "--nomirror",
        "--dropout=0.25",
        "--seed=4",
        "--pose_colors=6",
        "--nopose_ratio_aware",
        "--gating=cell",
    )
    assert config.stream == "flow"
    assert (config.train.epochs, config.train.batch_size, config.train.seed) == (3, 8, 4)
    assert config.train.learning_rate == preset.train.learning_rate
    assert not config.train.mirror
    assert config.model.dropout_rate == 0.25
    assert config.model.options == {**preset.model.options, "gating": "cell"}
    assert config.model.width_multiplier == preset.model.width_multiplier
    assert (config.pose_render.num_colors, config.pose_render.ratio_aware) == (6, False)


def test_fine_tuning_options_are_flags(called):
    flags = [
        "--optimizer=adam",
        "--head_learning_rate_scale=40",
        "--freeze=batch_norm,stem",
        "--class_weights=balanced",
        "--sampling=balanced",
        "--early_stopping_epochs=5",
        "--keep=best",
        "--validate_every_epochs=1",
    ]
    train = config_of(called, "--preset=small", *flags).train
    assert (train.optimizer, train.peak_learning_rate) == ("adam", 3e-5)
    assert (train.head_learning_rate_scale, train.class_weights) == (40, "balanced")
    assert train.freeze == ("batch_norm", "stem")
    assert (train.sampling, train.early_stopping_epochs, train.keep) == ("balanced", 5, "best")
    assert config_of(called, *flags, "--learning_rate=0.001").train.learning_rate == 0.001
    same = config_of(called, "--preset=small", "--optimizer=sgd").train
    assert same == PRESETS["small"].train


def test_another_clip_is_evaluated_as_it_was_trained_by_default(called):
    paper = "--preset=paper_s3d_g_ucf101"
    config = config_of(called, paper, "--clip=16x96x128", "--frame_stride=2")
    assert config.clip == ClipConfig(16, 96, 128, frame_stride=2)
    assert config.resolved_eval_clip == config.clip
    config = config_of(called, paper, "--eval_clip=100x224x298", "--short_side=240")
    assert config.clip == ClipConfig(64, 224, 298, short_side=240)
    assert config.eval_clip == ClipConfig(100, 224, 298, short_side=240)


def test_another_backbone_drops_the_options_of_the_first(called):
    config = config_of(called, "--preset=small", "--gating=cell", "--backbone=r3d50_g")
    assert config.model.options == {"gating": "cell"}
    assert config.model.backbone == "r3d50_g"


def distill_of(called, *arguments):
    assert run("distill", "--data=d", "--output=o", *arguments) == 0
    return called[-1]


def test_teachers_are_named_sources_and_one_weight_is_for_all(called):
    teachers = "--teachers=flow=runs/f,pose=https://tfhub.dev/x?a=b"
    config, options = distill_of(called, teachers, "--teacher_weight=0.5")
    assert options["teachers"] == {"flow": "runs/f", "pose": "https://tfhub.dev/x?a=b"}
    assert options["initial"] is None
    assert config.stream == "rgb"
    assert config.distill == DistillConfig("separate", {"flow": 0.5, "pose": 0.5})
    config, _ = distill_of(called, teachers, "--teacher_weight=pose=3")
    assert config.distill == DistillConfig("separate", {"pose": 3.0})
    config, _ = distill_of(called, teachers, "--loss=unified", "--teacher_weight=2")
    assert config.distill == DistillConfig("unified", {"unified": 2.0})


def test_a_start_brings_its_network_unless_a_preset_does(called, tmp_path):
    from tiny_network import TINY, TinyNetwork

    from perfnet_tf.recognizers.run_directory import save_run

    model = TinyNetwork(2, stream="pose").build_for_stream()
    config = ExperimentConfig(stream="pose", clip=ClipConfig(6, 24, 32), model=TINY)
    start = f"--from={save_run(tmp_path / 'run', config, ['a', 'b'], model).path}"
    config, options = distill_of(called, "--teachers=flow=runs/f", start, "--dropout=0.25")
    assert (config.model.backbone, config.model.dropout_rate) == ("tiny", 0.25)
    assert options["initial"].model.stream == "pose"
    assert (config.stream, config.clip) == ("rgb", ClipConfig(6, 24, 32))
    config, _ = distill_of(called, "--teachers=flow=runs/f", start, "--clip=4x20x28")
    assert config.clip == ClipConfig(4, 20, 28)
    config, _ = distill_of(called, "--teachers=flow=runs/f", start, "--preset=mini")
    assert config.model == PRESETS["mini"].model
    config = config_of(called, start, "--epochs=3")
    assert (config.stream, config.model, config.clip) == ("rgb", TINY, ClipConfig(6, 24, 32))
    config = config_of(called, start, "--preset=mini")
    preset = PRESETS["mini"]
    assert config.model == dataclasses.replace(TINY, dropout_rate=preset.model.dropout_rate)
    assert (config.clip, config.train) == (preset.clip, preset.train)


def test_teachers_weigh_what_the_preset_says_by_default(called):
    teachers = "--teachers=flow=runs/f,pose=runs/p"
    config, _ = distill_of(called, teachers, "--preset=mini")
    assert config.distill == DistillConfig("separate", {"flow": 0.2, "pose": 0.2})
    config, _ = distill_of(called, teachers, "--preset=mini", "--loss=unified")
    assert config.distill == DistillConfig("unified", {"unified": 0.2})
    config, _ = distill_of(called, teachers, "--preset=mini", "--teacher_weight=3")
    assert config.distill == DistillConfig("separate", {"flow": 3.0, "pose": 3.0})
    config, _ = distill_of(called, teachers, "--preset=mini", "--teacher_weight=pose=3")
    assert config.distill == DistillConfig("separate", {"flow": 0.2, "pose": 3.0})
    config, _ = distill_of(called, teachers, "--preset=paper_s3d_g_kinetics")
    assert config.distill == DistillConfig("separate")


def test_distill_matches_logits_as_its_flags_say(called):
    teachers = "--teachers=flow=runs/f"
    config, options = distill_of(
        called, teachers, "--term=kl", "--temperature=4", "--clip_weights=confidence"
    )
    assert config.distill == DistillConfig(term="kl", temperature=4.0, clip_weights="confidence")
    assert options["unlabelled"] is None
    config, _ = distill_of(called, teachers, "--teacher_windows=3")
    assert config.distill == DistillConfig(teacher_windows=3)
    config, options = distill_of(
        called, teachers, "--preset=mini", "--unlabelled=more", "--unlabelled_batch=5"
    )
    assert config.distill == DistillConfig(teacher_weights={"flow": 0.2}, unlabelled_batch=5)
    assert options["unlabelled"] == "more"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--teachers=runs/f"], "NAME=VALUE"),
        (["--teachers=flow=a", "--unlabelled_batch=4"], "goes with --unlabelled"),
        (["--teachers=flow=a,flow=b"], "twice"),
        (["--teachers=flow=a", "--teacher_weight=much"], "one number"),
        (["--teachers=flow=a", "--teacher_weight=flow=much"], "one number"),
        (["--teachers=flow=a", "--loss=seperate"], "Did you mean 'separate'"),
        (["--teachers=flow=a", "--teacher_weight=-1"], "0 or greater"),
        (
            ["--teachers=flow=a", "--feature_weight=1", "--teacher_windows=2"],
            "Received: --feature_weight=1 with --teacher_windows=2.",
        ),
        (
            ["--teachers=flow=a", "--temperature=3"],
            "Received: --temperature=3 with --term=squared_error.",
        ),
        ([], "--teachers is required"),
        (["--teachers=flow=a", "--from=nowhere"], "No run and no SavedModel"),
    ],
)
def test_bad_flags_are_refused(called, refuses, flags, message):
    refuses(["distill", "--data=d", "--output=o", *flags], message)
    assert not called


@pytest.fixture
def tiny_networks(monkeypatch):
    from tiny_network import build_tiny

    from perfnet_tf.recognizers import run_directory
    from perfnet_tf.training import start

    monkeypatch.setattr(start, "build_from_config", build_tiny)
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)


def test_teachers_student_and_fine_tuning_from_the_command_line(
    tiny_networks, tmp_path, capsys, monkeypatch
):
    from prepared_clips import write_tiny_dataset

    from perfnet_tf.recognizers.run_directory import load_run

    data = write_tiny_dataset(tmp_path / "data")
    two = write_tiny_dataset(tmp_path / "two", num_classes=2)
    common = ["--clip=6x24x32", "--short_side=28", "--epochs=1", "--batch=5", "--noprogress"]
    for stream in ("flow", "pose"):
        output = f"--output={tmp_path / stream}"
        assert run("train", f"--data={data}", f"--stream={stream}", output, *common) == 0
    assert f"perfnet evaluate --models={tmp_path / 'pose'}" in capsys.readouterr().out
    teachers = f"--teachers=flow={tmp_path / 'flow'},pose={tmp_path / 'pose'}"
    student = f"--output={tmp_path / 'student'}"
    assert run("distill", f"--data={data}", teachers, student, *common) == 0
    tuned = [f"--data={two}", f"--from={tmp_path / 'student'}", f"--output={tmp_path / 'tuned'}"]
    assert run("finetune", *tuned, "--epochs=1", "--batch=5", "--noprogress") == 0
    loaded = load_run(tmp_path / "tuned")
    assert loaded.classes == ("class0", "class1")
    assert loaded.config.clip == ClipConfig(6, 24, 32, short_side=28)
    assert loaded.config.distill is None
    assert loaded.config.train.learning_rate == 0.005

    # What a run used is a preset for the next.
    like_it = [f"--preset={tmp_path / 'flow' / 'config.json'}", "--noprogress"]
    output = f"--output={tmp_path / 'like'}"
    assert run("train", f"--data={data}", "--stream=pose", output, *like_it) == 0
    flow = load_run(tmp_path / "flow").config
    assert load_run(tmp_path / "like").config == flow.replace(stream="pose")
    assert load_preset(tmp_path / "flow" / "config.json") == flow

    # A flow network from RGB weights: network, clips and two of the three classes are theirs.
    capsys.readouterr()
    start = [f"--from={tmp_path / 'student'}", "--stream=flow", "--epochs=1", "--batch=5"]
    output = f"--output={tmp_path / 'flow_from_rgb'}"
    assert run("train", f"--data={two}", *start, output) == 0
    assert (
        "first weights from a network of rgb, first kernels averaged over colour and repeated over "
        "(dx, dy); classifier: 2 of 2 classes carried over by name" in capsys.readouterr().err
    )
    loaded = load_run(tmp_path / "flow_from_rgb")
    assert (loaded.config.stream, loaded.config.clip) == ("flow", ClipConfig(6, 24, 32, 1, 28))
    assert loaded.config.model == load_run(tmp_path / "student").config.model
    assert loaded.record["carried_over"]["stream"] == "rgb"

    shard = next(data.glob("train-*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    again = [f"--output={tmp_path / 'again'}", "--stream=rgb", *common]
    assert run("train", f"--data={data}", *again) == 2
    assert f"{shard} is damaged" in capsys.readouterr().err


def test_a_validation_fold_is_held_out_of_the_training_clips(monkeypatch, tmp_path, refuses):
    data = write_tiny_dataset(tmp_path / "data")
    seen = []

    def fake_train(config, data, output, **options):
        seen.append(read_dataset_info(data))
        return types.SimpleNamespace(path=output, record={"steps": 1})

    monkeypatch.setattr(trainer, "train", fake_train)
    arguments = ["train", f"--data={data}", "--output=o", "--stream=rgb"]
    assert run(*arguments, "--validation_fold=2") == 0
    splits = seen[0].splits
    assert splits.keys() == {"train", "val"}
    assert sum(split["num_clips"] for split in splits.values()) == 15
    assert seen[0].parameters["validation_fold"] == 2 and (data / "validation2").is_dir()
    refuses([*arguments, "--validation_fold=4"], "validation fold must be in [0, 4)")
    splits = ["--from=f", "--official_splits=all", "--validation_fold=0"]
    refuses(["finetune", f"--data={data}", "--output=o", *splits], "Leave one out")


def test_from_must_be_a_run_or_a_saved_model(tmp_path):
    from perfnet_tf.recognizers.load import load

    with pytest.raises(InputError, match="No run and no SavedModel"):
        load(str(tmp_path), trainable=True)


def test_a_preset_is_a_name_or_a_file(refuses, tmp_path):
    flags = ["train", "--data=d", "--output=o", "--stream=rgb"]
    refuses([*flags, "--preset=smal"], "--preset must be one of paper_r3d50_g_kinetics")
    refuses([*flags, "--preset=smal"], "Did you mean 'small'?")
    refuses([*flags, f"--preset={tmp_path / 'config.json'}"], "which cannot be read")
    (tmp_path / "config.json").write_text("{}x")
    refuses([*flags, f"--preset={tmp_path / 'config.json'}"], "not valid JSON")
    assert load_preset("mini") == PRESETS["mini"]
