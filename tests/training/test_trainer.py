import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import (
    ClipConfig,
    DistillConfig,
    ExperimentConfig,
    ModelConfig,
    TrainConfig,
)
from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.models import precision
from perfnet_tf.recognizers.recognizer import Teacher
from perfnet_tf.recognizers.run_directory import load_run
from perfnet_tf.saved_model import export_saved_model, load_saved_model
from perfnet_tf.training.trainer import train

#: 15 clips in batches of 4: epochs end after 4, 8 and 12 steps.
CONFIG = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("tiny", dropout_rate=0.5, weight_decay=0.001),
    train=TrainConfig(epochs=3, batch_size=4, learning_rate=0.2, checkpoint_every_steps=3),
)


def changed(**train_options):
    values = {**vars(CONFIG.train), **train_options}
    return CONFIG.replace(train=TrainConfig(**values))


def rows(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def without_times(history):
    timed = ("clips_per_second", "input_wait")
    return [{key: row[key] for key in row if key not in timed} for row in history]


def weights(run):
    return [variable.numpy() for variable in run.model.variables]


def assert_close(some, others, tolerance=1e-6):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance)


def flow_teacher(flow):
    return tf.reduce_mean(flow, axis=[1, 2, 3]) @ tf.reshape(tf.range(6.0), [2, 3])


@pytest.fixture(scope="module")
def unstopped(data, tmp_path_factory):
    return train(CONFIG, data, tmp_path_factory.mktemp("runs") / "unstopped", progress=False)


@pytest.mark.parametrize("step", [2, 7, 9])
def test_a_killed_run_arrives_where_it_would_have_arrived(
    data, tmp_path, before_step, unstopped, step
):
    output = tmp_path / "run"
    with before_step(step):
        train(CONFIG, data, output, progress=False)
    with pytest.raises(InputError, match="has no weights"):
        load_run(output)
    resumed = train(CONFIG, data, output, progress=False)
    assert_close(weights(resumed), weights(unstopped))
    assert without_times(rows(output)) == without_times(rows(unstopped.path))


def test_a_run_leaves_what_the_module_documents(unstopped):
    names = {path.name for path in unstopped.path.iterdir()}
    assert names == {
        "config.json",
        "classes.txt",
        "run.json",
        "history.csv",
        "weights.index",
        "weights.data-00000-of-00001",
        "tensorboard",
    }
    history = rows(unstopped.path)
    assert [(row["epoch"], row["step"]) for row in history] == [("1", "4"), ("2", "8"), ("3", "12")]
    assert float(history[-1]["loss"]) == pytest.approx(
        float(history[-1]["cross_entropy"]) + float(history[-1]["weight_decay"]), abs=1e-4
    )
    assert unstopped.record["dataset"]["num_clips"] == 15
    assert_close(weights(load_run(unstopped.path)), weights(unstopped), 0)
    events = list((unstopped.path / "tensorboard").iterdir())
    assert len(events) == 1


def test_the_run_that_training_returns_can_be_exported(unstopped, tmp_path):
    exported = load_saved_model(export_saved_model(unstopped, tmp_path / "export"))
    clip = np.random.default_rng(0).random((2, 6, 24, 32, 3), np.float32)
    expected = unstopped.model(clip, training=False)
    np.testing.assert_allclose(exported(clip), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(exported(clip, training=True) - expected).max() > 1e-3  # dropout


def test_a_finished_run_is_returned_as_it_is(data, unstopped, capsys):
    before = (unstopped.path / "weights.index").stat().st_mtime_ns
    again = train(CONFIG, data, unstopped.path)
    assert "nothing is left to train" in capsys.readouterr().err
    assert (unstopped.path / "weights.index").stat().st_mtime_ns == before
    assert_close(weights(again), weights(unstopped), 0)


def test_another_configuration_or_a_foreign_folder_is_refused(data, unstopped, tmp_path):
    with pytest.raises(InputError, match=r"train.learning_rate was 0.2, is 0.1"):
        train(changed(learning_rate=0.1), data, unstopped.path)
    with pytest.raises(InputError, match="initial was None"):
        train(CONFIG, data, unstopped.path, initial=unstopped)
    (tmp_path / "photo.jpg").write_text("")
    with pytest.raises(InputError, match="a new or an empty folder"):
        train(CONFIG, data, tmp_path)


def test_evaluation_clips_may_change_and_removed_weights_of_teachers_may_not(
    data, tmp_path, unstopped
):
    output = shutil.copytree(unstopped.path, tmp_path / "run")
    changed = CONFIG.replace(eval_clip=ClipConfig(5, 24, 32, short_side=28))
    again = train(changed, data, output, progress=False)
    assert_close(weights(again), weights(unstopped), 0)
    assert load_run(output).config == again.config == changed

    config = json.loads((output / "config.json").read_text())
    config["distill"] = {"loss": "separate", "teacher_weights": {"flow": 0.5}}
    (output / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="holds another run: distill"):
        train(changed, data, output, progress=False)


def test_steps_per_execution_changes_nothing_but_the_calls(data, tmp_path, unstopped):
    run = train(changed(steps_per_execution=5), data, tmp_path / "run", progress=False)
    assert_close(weights(run), weights(unstopped))


@pytest.mark.parametrize(
    ("number", "left_by", "status"),
    [(signal.SIGTERM, SystemExit, 143), (signal.SIGINT, KeyboardInterrupt, None)],
)
def test_a_signal_saves_at_the_next_step(
    data, tmp_path, before_step, unstopped, number, left_by, status, capsys
):
    before = signal.getsignal(number)
    with before_step(5, lambda: os.kill(os.getpid(), number)):
        with pytest.raises(left_by) as error:
            train(changed(checkpoint_every_steps=None), data, tmp_path / "run")
    assert getattr(error.value, "code", None) == status
    assert "stopped after step 6 of 12" in capsys.readouterr().err
    assert signal.getsignal(number) == before
    resumed = train(changed(checkpoint_every_steps=None), data, tmp_path / "run", progress=False)
    assert_close(weights(resumed), weights(unstopped))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(data, tmp_path):
    with pytest.raises(FailureError, match=r"infinite or NaN at step \d+ of 12.*Lower"):
        train(changed(learning_rate=1e30, warmup_epochs=0.0), data, tmp_path / "r", progress=False)
    with pytest.raises(InputError, match="has no weights"):
        load_run(tmp_path / "r")


def test_progress_is_a_line_an_epoch_where_there_is_no_terminal(data, tmp_path, capsys):
    train(changed(validate_every_epochs=2), data, tmp_path / "run")
    warning, *lines = capsys.readouterr().err.strip().splitlines()
    assert warning.startswith("warning: 12 steps are too few")
    assert len(lines) == 4
    assert lines[0].endswith(": 1 device, 4 clips each: a global batch of 4 clips")
    assert lines[1].startswith("epoch 1/3: loss ")
    assert "clips_per_second" in lines[1] and "left" in lines[1]
    validated = [row["val_top1"] for row in rows(tmp_path / "run")]
    assert validated[0] == "" and all(0 <= float(value) <= 1 for value in validated[1:])


def test_too_few_steps_for_batch_norm_are_warned_of(data, tmp_path, capsys):
    slow = CONFIG.replace(train=changed(epochs=1).train)  # 4 steps at a momentum of 0.9
    run = train(slow, data, tmp_path / "short")
    assert "warning: 4 steps are too few for the network's batch norms" in capsys.readouterr().err
    train(slow, data, tmp_path / "further", initial=run)
    assert "too few" not in capsys.readouterr().err
    # Averages of RGB are none of flow.
    train(slow.replace(stream="flow"), data, tmp_path / "flow", initial=run)
    assert "warning: 4 steps are too few" in capsys.readouterr().err


def test_a_long_epoch_is_not_silent(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("perfnet_tf.training.progress.LONGEST_SILENCE", 0.0)
    train(changed(epochs=1), data, tmp_path / "run")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in lines] == [
        "step 1/4",
        "step 2/4",
        "step 3/4",
        "step 4/4",
    ]
    assert "clips/s" in lines[0] and "left" in lines[0]


def test_a_student_is_distilled_from_runs_and_functions(data, tmp_path):
    flow = train(CONFIG.replace(stream="flow"), data, tmp_path / "flow", progress=False)
    config = CONFIG.replace(distill=DistillConfig("separate", {"pose": 2.0}))
    teachers = {"flow": flow.path, "pose": Teacher(lambda x: tf.zeros([4, 3]), "pose")}
    run = train(config, data, tmp_path / "student", teachers=teachers, progress=False)
    assert run.record["teachers"] == {"flow": str(flow.path), "pose": "a function"}
    last = {name: float(value) for name, value in rows(run.path)[-1].items()}
    total = last["cross_entropy"] + last["mse_flow"] + 2 * last["mse_pose"] + last["weight_decay"]
    assert last["loss"] == pytest.approx(total, abs=1e-4)
    assert load_run(run.path).config.distill == config.distill


def test_clips_without_labels_train_a_student_and_a_resumed_run_is_the_same(
    data, tmp_path, killed_and_resumed
):
    from prepared_clips import write_tiny_dataset

    others = write_tiny_dataset(tmp_path / "others", num_classes=2)
    config = CONFIG.replace(distill=DistillConfig(unlabelled_batch=2))
    teachers = {"flow": Teacher(flow_teacher, "flow")}
    options = {"teachers": teachers, "unlabelled": others}
    whole = train(config, data, tmp_path / "whole", **options, progress=False)
    resumed = killed_and_resumed(7, config, data, tmp_path / "resumed", **options)
    assert_close(weights(resumed), weights(whole))
    assert whole.record["unlabelled"]["num_clips"] == 10
    assert whole.record["steps"] == 12  # epochs count the clips with labels
    without = train(config, data, tmp_path / "without", teachers=teachers, progress=False)
    assert (
        max(abs(a - b).max() for a, b in zip(weights(without), weights(whole), strict=True)) > 0.01
    )
    with pytest.raises(InputError, match="holds another run: unlabelled"):
        train(config, data, tmp_path / "whole", teachers=teachers, progress=False)


def test_clips_without_labels_that_do_not_fit_are_refused(data, tmp_path):
    from prepared_clips import make_clip, write_dataset

    teachers = {"flow": Teacher(flow_teacher, "flow")}
    with pytest.raises(InputError, match="`unlabelled` without `teachers`"):
        train(CONFIG, data, tmp_path / "run", unlabelled=data)
    clips = [make_clip(i, 0, frames=9, height=48, width=64) for i in range(3)]
    slow = write_dataset(tmp_path / "slow", {"train": clips}, num_classes=1, fps=5.0)
    with pytest.raises(InputError, match="5.0 fps in .*slow"):
        train(CONFIG, data, tmp_path / "run", teachers=teachers, unlabelled=slow)
    no_flow = write_dataset(tmp_path / "rgb", {"train": clips}, num_classes=1, flow=False)
    with pytest.raises(InputError, match="flow"):
        train(CONFIG, data, tmp_path / "run", teachers=teachers, unlabelled=no_flow)
    assert not (tmp_path / "run").exists()


def test_a_damaged_record_without_a_label_is_named(data, tmp_path):
    from prepared_clips import write_tiny_dataset

    others = write_tiny_dataset(tmp_path / "others")
    shard = next(others.glob("train-*.tfrecord"))
    contents = bytearray(shard.read_bytes())
    contents[200:260] = bytes(60)
    shard.write_bytes(contents)
    teachers = {"flow": Teacher(flow_teacher, "flow")}
    with pytest.raises(InputError, match=f"{shard.name} is damaged"):
        train(CONFIG, data, tmp_path / "run", teachers=teachers, unlabelled=others, progress=False)


def test_a_teacher_of_other_classes_is_refused_before_anything_is_written(data, tmp_path):
    teacher = Teacher(lambda x: x, "rgb", ("class0", "class1", "class9"))
    with pytest.raises(InputError, match="lacks class2 and has class9"):
        train(CONFIG, data, tmp_path / "run", teachers={"rgb": teacher})
    assert not (tmp_path / "run").exists()


def test_fine_tuning_starts_from_the_weights_of_the_run(data, tmp_path, unstopped):
    still = changed(learning_rate=1e-30, epochs=1)
    still = still.replace(model=ModelConfig("tiny", dropout_rate=0.0, weight_decay=0.001))
    run = train(still, data, tmp_path / "same", initial=unstopped, progress=False)
    names = [variable.name for variable in run.model.trainable_variables]
    for name, ours, theirs in zip(
        names, run.model.trainable_variables, unstopped.model.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert run.record["initial"] == str(unstopped.path)


def test_fine_tuning_on_other_classes_keeps_all_but_the_classifier(tmp_path, unstopped):
    from prepared_clips import write_tiny_dataset

    other = write_tiny_dataset(tmp_path / "other", num_classes=2)
    still = changed(learning_rate=1e-30, epochs=1)
    run = train(still, other, tmp_path / "run", initial=unstopped.path, progress=False)
    assert run.model.num_classes == 2
    np.testing.assert_array_equal(run.model.unit.conv.kernel, unstopped.model.unit.conv.kernel)


def test_fine_tuning_another_network_is_refused(data, tmp_path, unstopped):
    other = CONFIG.replace(model=ModelConfig("tiny", options={"batch_norm": False}))
    with pytest.raises(InputError, match="weights of the same network"):
        train(other, data, tmp_path / "options", initial=unstopped)
    with pytest.raises(InputError, match="for rgb in .* for flow"):
        options = CONFIG.replace(stream="flow", model=other.model)
        train(options, data, tmp_path / "flow", initial=unstopped)


def test_bfloat16_trains_and_is_kept_in_float32(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision, "bfloat16_slowdown", lambda: 5.0)
    run = train(changed(precision="mixed_bfloat16"), data, tmp_path / "run")
    assert "note: a video's convolution takes 5 times as long" in capsys.readouterr().err
    assert run.model.unit.conv.compute_dtype == "bfloat16"
    assert {v.dtype for v in run.model.variables} == {tf.float32}
    assert np.isfinite(float(rows(run.path)[-1]["loss"]))


def test_fewer_clips_than_a_batch_still_train(data, tmp_path):
    run = train(changed(batch_size=20, epochs=3), data, tmp_path / "run", progress=False)
    assert [row["step"] for row in rows(run.path)] == ["1", "2", "3"]


def with_other_records(data, folder, split="train"):
    """The dataset as it would be of other videos: as many clips, other bytes."""
    shutil.copytree(data, folder)
    info = json.loads((folder / "dataset.json").read_text())
    info["splits"][split]["sha256"][0] = "0" * 64
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def test_other_records_of_as_many_clips_are_another_run(data, tmp_path, unstopped):
    other = with_other_records(data, tmp_path / "data")
    with pytest.raises(InputError, match="another run: dataset.records_sha256 was '"):
        train(CONFIG, other, unstopped.path, progress=False)
    train(CONFIG, with_other_records(data, tmp_path / "test", "test"), unstopped.path)


def test_a_run_of_an_earlier_version_does_not_state_its_records(data, tmp_path, unstopped):
    output = shutil.copytree(unstopped.path, tmp_path / "run")
    record = json.loads((output / "run.json").read_text())
    del record["dataset"]["records_sha256"]
    (output / "run.json").write_text(json.dumps(record))
    again = train(CONFIG, with_other_records(data, tmp_path / "data"), output, progress=False)
    assert_close(weights(again), weights(unstopped), 0)


def test_a_refusal_names_what_of_the_data_differs(data, tmp_path, unstopped):
    info = json.loads((data / "dataset.json").read_text())
    info["versions"]["av"] = "1.2.3"
    other = shutil.copytree(data, tmp_path / "data")
    (other / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="another run: dataset.versions.av was .*, is '1.2.3'"):
        train(CONFIG, other, unstopped.path, progress=False)
