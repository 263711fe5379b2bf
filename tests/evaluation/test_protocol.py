import csv
import json
import pathlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from prepared_clips import write_tiny_dataset

from perfnet_tf.config import ClipConfig, ExperimentConfig, PoseRenderConfig
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores, fuse
from perfnet_tf.evaluation.protocol import evaluate_runs
from perfnet_tf.input_pipeline.augment import central_view
from perfnet_tf.input_pipeline.dataset import build_dataset, streams_of
from perfnet_tf.recognizers.run_directory import Run, create_run

CLASSES = ("class0", "class1", "class2")
CLIP = ClipConfig(6, 24, 32, short_side=28)
NUM_CLIPS = 7  # labels 0 1 2 0 1 2 0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def color_model(inputs, training):
    """Right about every clip: red is 20 a class, plus the frames' own share."""
    assert not training
    red = tf.reduce_mean(tf.cast(inputs[..., 0], tf.float32), [1, 2, 3])
    return -tf.square((red[:, None] - 18.0) / 20.0 - tf.range(3.0)) * 3.0


def flow_model(inputs, training):
    """Right about classes 0 and 1; takes 2 for 1."""
    speed = tf.reduce_mean(inputs[..., 0], [1, 2, 3]) * 64 / 37  # pixels of the stored frame
    return -tf.square(tf.minimum(speed[:, None], 2.1) - 1.0 - tf.range(3.0))


def constant_model(inputs, training):
    return tf.tile(tf.constant([[0.5, 1.5, 0.25]]), [tf.shape(inputs)[0], 1])


def make_run(model, *, stream="rgb", classes=CLASSES, clip=CLIP, name="run"):
    config = ExperimentConfig(stream=stream, clip=ClipConfig(9, 16, 16), eval_clip=clip)
    return Run(pathlib.Path(name), config, classes, model)


def test_a_wrong_output_is_refused_before_anything_is_measured(data, tmp_path):
    def never(inputs, training):
        raise AssertionError("it was measured")

    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below", "gs://bucket/results"):
        with pytest.raises(InputError, match="The output must be a"):
            evaluate_runs([make_run(never)], data, output, progress=False)


def test_accuracy_of_networks_that_are_known(data):
    assert evaluate_runs([make_run(color_model)], data)["top1"] == 1.0
    result = evaluate_runs([make_run(flow_model, stream="flow")], data, progress=False)
    assert result["top1"] == pytest.approx(5 / 7)
    assert result["mean_class_accuracy"] == pytest.approx(2 / 3)
    result = evaluate_runs([make_run(constant_model)], data)
    assert (result["top1"], result["top5"]) == (pytest.approx(2 / 7), 1.0)
    assert result["num_clips"] == NUM_CLIPS
    assert (result["dataset"], result["split"], result["fusion"]) == ("tiny", "test", None)


def test_fusion_sums_the_logits_of_streams_and_clips_of_their_own(data, tmp_path):
    runs = [
        make_run(color_model, name="a/run"),
        make_run(
            flow_model, stream="flow", clip=ClipConfig(3, 28, 36, short_side=28), name="b/run"
        ),
    ]
    result = evaluate_runs(runs, data, tmp_path, batch_size=3, progress=False)
    assert [run["name"] for run in result["runs"]] == ["run", "run_2"]
    assert [run["clip"] for run in result["runs"]] == ["6x24x32", "3x28x36"]
    assert result["fusion"] == "sum of logits"
    fused = ClipScores.load(tmp_path / "logits.npz")
    parts = [ClipScores.load(tmp_path / f"logits_{name}.npz") for name in ("run", "run_2")]
    np.testing.assert_array_equal(fused.logits, fuse(parts).logits)
    np.testing.assert_allclose(fused.logits, parts[0].logits + parts[1].logits, rtol=1e-6)
    assert np.ptp(parts[0].logits - parts[1].logits) > 0.1
    np.testing.assert_array_equal(fused.labels, [0, 2, 1, 0, 1, 0, 2])  # shard by shard
    assert result["runs"][1]["top1"] == pytest.approx(5 / 7)


def test_the_batch_size_changes_nothing(data, tmp_path):
    runs = [make_run(color_model), make_run(flow_model, stream="flow")]
    logits = []
    for size in (1, 4, 8):
        evaluate_runs(runs, data, tmp_path / str(size), batch_size=size, progress=False)
        logits.append(ClipScores.load(tmp_path / str(size) / "logits.npz").logits)
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-6)
    np.testing.assert_allclose(logits[0], logits[2], rtol=1e-6)


def test_logits_are_averaged_over_windows_and_crops(data, tmp_path):
    def corner_model(inputs, training):
        pixels = tf.cast(inputs, tf.float32)
        return tf.stack([pixels[:, 0, 0, 0, i] for i in range(3)], axis=1)

    run = make_run(corner_model, clip=ClipConfig(6, 28, 30, short_side=28))
    evaluate_runs([run], data, tmp_path, windows=3, crops=2, progress=False)
    means = ClipScores.load(tmp_path / "logits.npz")
    expected = np.zeros_like(means.logits)
    for start in (0.0, 0.5, 1.0):
        for place in (0.0, 1.0):
            view = central_view()._replace(start=start, top=place, left=place)
            (batch,) = build_dataset(
                data,
                "test",
                clip=run.config.eval_clip,
                streams=["rgb"],
                batch_size=NUM_CLIPS,
                training=False,
                view=view,
            )
            expected += corner_model(batch["rgb"], False).numpy() / 6
    np.testing.assert_allclose(means.logits, expected, rtol=1e-6)
    evaluate_runs([run], data, tmp_path / "central", progress=False)
    central = ClipScores.load(tmp_path / "central" / "logits.npz")
    assert np.abs(central.logits - means.logits).max() > 1
    np.testing.assert_array_equal(central.labels, means.labels)


def test_a_pose_network_sees_the_people_drawn_as_its_run_says(data, tmp_path):
    def mean_model(inputs, training):
        return tf.reduce_mean(tf.cast(inputs, tf.float32), [1, 2, 3])

    run = make_run(mean_model, stream="pose")
    evaluate_runs([run], data, tmp_path, batch_size=NUM_CLIPS, progress=False)
    logits = ClipScores.load(tmp_path / "logits.npz").logits
    (batch,) = build_dataset(
        data, "test", clip=CLIP, streams=["pose"], batch_size=NUM_CLIPS, training=False
    )
    drawn = streams_of(batch, ["pose"], PoseRenderConfig())["pose"]
    np.testing.assert_allclose(logits, mean_model(drawn, False), rtol=1e-6)
    assert not np.allclose(logits, mean_model(batch["rgb"], False), rtol=1e-3)


def test_classes_in_another_order_are_matched_by_name(data, tmp_path):
    def turned(inputs, training):
        return tf.gather(color_model(inputs, training), [2, 0, 1], axis=1)

    run = make_run(turned, classes=("class2", "class0", "class1"))
    assert evaluate_runs([run], data, tmp_path, progress=False)["top1"] == 1.0
    assert ClipScores.load(tmp_path / "logits.npz").classes == CLASSES


def test_clip_overrides_that_of_the_runs(data):
    seen = []

    def spy(inputs, training):
        seen.append(tuple(inputs.shape))
        return constant_model(inputs, training)

    clip = ClipConfig(4, 20, 22, short_side=24)
    evaluate_runs([make_run(spy)], data, clip=clip, progress=False)
    assert seen == [(None, 4, 20, 22, 3)]  # traced once: the last, smaller batch is not retraced


def test_files(data, tmp_path):
    result = evaluate_runs([make_run(flow_model, stream="flow")], data, tmp_path, progress=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == result
    with open(tmp_path / "per_class.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(CLASSES)
    assert [row["num_clips"] for row in rows] == ["3", "2", "2"]
    assert [row["accuracy"] for row in rows] == ["1.0000", "1.0000", "0.0000"]
    assert (rows[2]["mistaken_for"], rows[2]["mistakes"]) == ("class1", "2")
    assert rows[0]["mistaken_for"] == ""
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = {row["clip_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == NUM_CLIPS
    assert rows["class2/clip5"]["predicted"] == "class1"
    assert rows["class2/clip5"]["rank_of_label"] == "2"
    assert cv2.imread(str(tmp_path / "confusion.png")).std() > 10
    assert not list(tmp_path.glob("logits_*"))


def test_other_classes_are_refused(data):
    run = make_run(color_model, classes=("class0", "class1", "Diving"))
    with pytest.raises(InputError, match="run lacks class2 and has Diving besides"):
        evaluate_runs([run], data)


def test_missing_split_data_and_streams_are_refused(data, tmp_path):
    run = make_run(color_model)
    with pytest.raises(InputError, match="split must be one of train, test. Received: 'val'"):
        evaluate_runs([run], data, split="val")
    with pytest.raises(InputError, match="dataset.json"):
        evaluate_runs([run], tmp_path)
    with pytest.raises(InputError, match="at least one network"):
        evaluate_runs([], data)
    for name in ("batch_size", "windows", "crops"):
        with pytest.raises(InputError, match=f"`{name}` must be 1 or greater. Received: 0"):
            evaluate_runs([run], data, **{name: 0})


def test_a_run_without_weights_is_refused(data, tmp_path):
    create_run(tmp_path / "run", ExperimentConfig(), CLASSES)
    with pytest.raises(InputError, match="no weights"):
        evaluate_runs([tmp_path / "run"], data)


def test_a_network_that_diverged_is_refused(data):
    def diverged(inputs, training):
        return constant_model(inputs, training) * float("nan")

    with pytest.raises(InputError, match="must be finite"):
        evaluate_runs([make_run(diverged)], data, progress=False)


def test_damaged_shards_are_reported(tmp_path):
    data = write_tiny_dataset(tmp_path / "data")
    shard = data / "test-00001-of-00002.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-40])
    with pytest.raises(InputError, match="00001.*is damaged"):
        evaluate_runs([make_run(color_model)], data, progress=False)
    middle = len(content) // 2
    shard.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    with pytest.raises(InputError, match="00001.*is damaged"):
        evaluate_runs([make_run(color_model)], data, progress=False)
    shard.unlink()
    with pytest.raises(InputError, match="00001.*is missing"):
        evaluate_runs([make_run(color_model)], data, progress=False)
