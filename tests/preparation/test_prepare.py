import sys
import textwrap

import numpy as np
import pytest
from pose_graph import random_layers, write_graph
from prepared_records import read_clip
from small_clips import CLASSES, write_video

import perfnet_tf
from perfnet_tf.cli.main import main
from perfnet_tf.datasets.catalog import DATASETS
from perfnet_tf.errors import InputError
from perfnet_tf.flow.methods import FLOW_METHODS, register_flow
from perfnet_tf.pose.estimators import POSE_ESTIMATORS
from perfnet_tf.pose.estimators.download import fetch_weights
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.registry import PLUGINS_VARIABLE, load_plugin

ESTIMATOR = """
    import numpy as np
    import perfnet_tf
    from perfnet_tf.pose.people import assemble_people

    class Toy:
        name = "toy"

        def __init__(self, weights, max_people):
            self.score = 0.5 if weights is None else float((weights / "score.txt").read_text())
            self.max_people = max_people

        def __call__(self, frames):
            person = np.tile([0.25, 0.75, self.score], (1, 17, 1))
            return assemble_people([person] * len(frames), self.max_people)

    perfnet_tf.register_estimator("toy", Toy)
"""
DATASET = """
    import perfnet_tf
    from perfnet_tf.datasets.catalog import Catalog, VideoIndex
    from perfnet_tf.records.schema import SourceClip

    def read(videos, lists, official_split):
        index = VideoIndex(videos)
        clips = [
            SourceClip(file.stem, index.path_of(file), 0, "all", "train") for file in index.files
        ]
        return Catalog("toyset", ("all",), tuple(clips), notes=(f"split {official_split}",))

    perfnet_tf.register_dataset("toyset", read)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Writes a plugin's file; what it registers is forgotten after the test."""
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    modules = []

    def write(name, text):
        modules.append(name)
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        return path

    yield write
    for name in modules:
        sys.modules.pop(name, None)
    POSE_ESTIMATORS.unregister("toy")
    DATASETS.unregister("toyset")


@pytest.fixture
def videos(tmp_path):
    for name in CLASSES:
        for number in range(2):
            write_video(tmp_path / "videos" / name / f"clip{number}.mp4", frames=6, seed=number)
    return tmp_path / "videos"


def test_an_estimator_of_a_plugin_works_in_worker_processes(videos, tmp_path, plugin):
    path = plugin("toy_estimator", ESTIMATOR)
    output = tmp_path / "records"
    flags = ["--flow=none", "--short_side=24", "--workers=1", "--max_people=2"]
    places = ["--dataset=folder", f"--videos={videos}", f"--output={output}"]
    assert main(["prepare", *places, f"--plugin={path}", "--pose=toy", *flags]) == 0
    clip = read_clip(output, "Up/clip1")
    np.testing.assert_allclose(clip.keypoints[:, 0], np.tile([0.25, 0.75, 0.5], (6, 17, 1)))
    assert not clip.keypoints[:, 1].any() and read_dataset_info(output).pose == "toy"


def test_an_estimator_of_a_plugin_gets_its_weights(videos, tmp_path, plugin):
    load_plugin(plugin("toy_estimator", ESTIMATOR))
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "score.txt").write_text("0.75")
    result = perfnet_tf.prepare(
        videos, tmp_path / "records", pose="toy", pose_weights=weights, flow="none", workers=0
    )
    assert result.num_made == 4 and len(result.info.parameters["pose_weights_sha256"]) == 64
    clip = read_clip(tmp_path / "records", "Up/clip1")
    assert (clip.keypoints[:, 0, :, 2] == 0.75).all()


MOVING_ESTIMATOR = """
    import numpy as np
    import perfnet_tf
    from perfnet_tf.pose.people import assemble_people

    class Moving:
        name = "toy"

        def __init__(self, weights, max_people):
            self.calls = 0

        def __call__(self, frames):
            # The picture is the same in all frames but for its block, which says when it is.
            tops = [np.flatnonzero(frame[:, 15, 0] > 150).min() / 24 for frame in frames]
            shape = np.linspace(0, 0.2, 17)[:, None] * [1, 1, 0]
            people = [[shape + [0.3, top, 0.9 - 0.05 * len(frames)]] for top in tops]
            return assemble_people(np.array(people), 1)

    perfnet_tf.register_estimator("toy", Moving)
"""


def test_pose_of_every_third_frame_is_interpolated(videos, tmp_path, plugin):
    load_plugin(plugin("toy_moving", MOVING_ESTIMATOR))
    options = dict(pose="toy", flow="none", short_side=24, workers=0)
    for every in (1, 3):
        perfnet_tf.prepare(videos, tmp_path / f"every{every}", pose_every=every, **options)
    clips = [read_clip(tmp_path / f"every{every}", "Up/clip0") for every in (1, 3)]
    whole, some = (clip.keypoints[:, 0] for clip in clips)
    # The score says how many frames the estimator saw: 0, 3 and the last of 6.
    np.testing.assert_allclose(whole[..., 2], 0.6, rtol=1e-6)
    np.testing.assert_allclose(some[..., 2], 0.75, rtol=1e-6)
    np.testing.assert_array_equal(some[[0, 3, 5], :, :2], whole[[0, 3, 5], :, :2])
    np.testing.assert_allclose(some[1, :, :2], (2 * whole[0] + whole[3])[:, :2] / 3, atol=1e-6)
    assert read_dataset_info(tmp_path / "every3").parameters["pose_every"] == 3
    assert np.ptp(whole[..., 1], axis=0).min() > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pose_every": 0}, "`pose_every` must be 1 or greater"),
        ({"pose_every": 2, "pose": "none"}, "is for a pose that is estimated"),
    ],
)
def test_a_wrong_pose_every_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        PrepareConfig("name", **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_people", 1001),
        ("short_side", 16385),
        ("flow_bound", float("inf")),
        ("max_seconds", float("inf")),
    ],
)
def test_what_readers_of_the_dataset_would_refuse_is_not_prepared(name, value):
    with pytest.raises(InputError, match=f"`{name}` must be .*Received: {value}"):
        PrepareConfig("name", pose="none", **{name: value})


def test_a_dataset_of_a_plugin_is_prepared_by_its_reader(videos, tmp_path, plugin):
    load_plugin(plugin("toy_dataset", DATASET))
    result = perfnet_tf.prepare(
        videos / "Up",
        tmp_path / "records",
        dataset="toyset",
        official_split=3,
        pose="none",
        flow="none",
        workers=0,
    )
    assert result.info.classes == ("all",) and result.notes == ("split 3",)
    assert result.info == perfnet_tf.read_dataset_info(tmp_path / "records")
    assert result.info.split("train")["num_clips"] == 2


def test_a_registered_flow_method_is_stored(videos, tmp_path):
    def right(frames):
        return np.tile(np.float32([2, 0]), (*frames.shape[:3], 1))

    register_flow("right", right)
    try:
        perfnet_tf.prepare(
            videos, tmp_path / "records", pose="none", flow="right", short_side=24, workers=0
        )
    finally:
        FLOW_METHODS.unregister("right")
    clip = read_clip(tmp_path / "records", "Down/clip0")
    np.testing.assert_allclose(clip.flow[..., 0], 2, atol=0.1)
    np.testing.assert_allclose(clip.flow[..., 1], 0, atol=0.1)


def test_settings_take_the_weights_that_the_cache_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="posenet needs weights"):
        perfnet_tf.PrepareConfig("toy")
    write_graph(tmp_path / "graph", random_layers(np.random.default_rng(0)), fused=True)
    folder = fetch_weights("posenet_mobilenet", source=tmp_path / "graph")
    assert perfnet_tf.PrepareConfig("toy").pose_weights == str(folder)
    named = perfnet_tf.PrepareConfig("toy", pose_weights="posenet_mobilenet")
    assert named.pose_weights == str(folder)


def test_former_flag_names_are_accepted(videos, tmp_path, capsys):
    (tmp_path / "lists").mkdir()
    lines = [f"{name}/clip{i}.mp4,{split}" for name in CLASSES for i, split in enumerate("ab")]
    text = "\n".join(["path,split", *lines]).replace(",a", ",train").replace(",b", ",test")
    (tmp_path / "lists" / "splits.csv").write_text(text)
    words = ["--dataset=folder", f"--videos={videos}", f"--output={tmp_path / 'records'}"]
    words += ["--pose=none", "--flow=none", "--workers=0", "--split=2"]
    assert main(["prepare", *words, f"--splits={tmp_path / 'lists'}"]) == 0
    errors = capsys.readouterr().err
    assert "note: --split is now --official_split." in errors
    assert "note: --splits is now --lists." in errors
    assert read_dataset_info(tmp_path / "records").split("test")["num_clips"] == 2
    assert main(["prepare", *words, "--official_split=first"]) == 2
    assert main(["prepare", *words[:-1], "--official_split=first"]) == 2
    assert "--official_split is a number, or all" in capsys.readouterr().err
