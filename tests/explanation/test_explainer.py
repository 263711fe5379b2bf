import dataclasses
import json

import browser
import cv2
import numpy as np
import pytest
import tf_keras
from prepared_clips import make_clip, write_dataset
from small_clips import write_video
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, DistillConfig, ExperimentConfig
from perfnet_tf.errors import InputError
from perfnet_tf.explanation import explainer
from perfnet_tf.explanation.explainer import Explainer, RecordFootage, VideoFootage
from perfnet_tf.explanation.picture import overlay_heat, write_explanation
from perfnet_tf.inspection.stored_clip import open_clip
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.video.decode import read_video

CLASSES = ("class0", "class1", "class2")
STREAMS = ("rgb", "pose", "flow")
CLIP = ClipConfig(4, 24, 32, frame_stride=2, short_side=28)


def make_run(stream, tmp_path, clip=CLIP):
    config = ExperimentConfig(stream=stream, clip=ClipConfig(2, 8, 8), eval_clip=clip)
    model = build_tiny(config.model, len(CLASSES), stream)
    kernel = model.classifier.kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape).astype(np.float32))
    return Run(tmp_path / stream, config, CLASSES, model)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    tf_keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(stream, folder) for stream in STREAMS]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [make_clip(i, i % 3, frames=20, height=48, width=80) for i in range(3)]
    return write_dataset(tmp_path_factory.mktemp("data") / "d", {"test": clips}, num_classes=3)


@pytest.fixture(scope="module")
def explained(runs, data):
    footage = RecordFootage(open_clip(data, "class1/clip1"))
    return Explainer(runs)(footage)


def test_every_network_gets_the_central_clip_of_its_own_stream(explained, runs, data):
    assert (explained.name, explained.label) == ("class1/clip1", "class1")
    # Every second of 7 frames in the middle of 20, at 25 a second.
    np.testing.assert_allclose(explained.seconds, np.array([6, 8, 10, 12]) / 25)
    assert tuple(s.stream for s in explained.streams) == STREAMS
    assert [(s.network, s.endpoint) for s in explained.streams] == [
        (name, "unit") for name in STREAMS
    ]
    for stream in explained.streams:
        # The crop of 24x32 at a short side of 28, of frames stored with one of 48.
        assert stream.pictures.shape == stream.backdrop.shape == (4, 41, 55, 3)
        assert stream.pictures.dtype == np.uint8
        assert stream.heat.shape == (4, 24, 32)
        assert stream.heat.max() == pytest.approx(1)
        assert stream.explained == stream.predicted
        assert 1 / 3 < stream.probability < 1
    rgb, pose, flow = explained.streams
    stored = open_clip(data, "class1/clip1").decode([6])["rgb"][0]
    # The central crop of the stored frame, pixel for pixel.
    np.testing.assert_array_equal(rgb.pictures[0], stored[3:44, 12:67])
    np.testing.assert_array_equal(flow.backdrop, rgb.pictures)
    assert (pose.pictures != rgb.pictures).any()
    # All of it moves right and up: one colour.
    assert np.ptp(flow.pictures.reshape(-1, 3), axis=0).max() <= 2


def test_networks_of_one_stream_are_distinguished(runs, data):
    rgb, pose, flow = runs
    taught = dataclasses.replace(rgb.config, distill=DistillConfig())
    student = dataclasses.replace(rgb, config=taught, path=rgb.path.with_name("taught"))
    other = dataclasses.replace(rgb, path=rgb.path.with_name("other"))
    footage = RecordFootage(open_clip(data, "class0/clip0"))

    def titles(*runs):
        return [stream.title for stream in Explainer(runs)(footage).streams]

    assert titles(rgb, pose, flow, student) == ["RGB", "pose", "flow", "student"]
    assert titles(rgb, other, student) == ["RGB, rgb", "RGB, other", "student"]


def test_another_class_can_be_explained(runs, data):
    footage = RecordFootage(open_clip(data, "class0/clip0"))
    for label in CLASSES:
        for stream in Explainer(runs, label=label)(footage).streams:
            assert stream.explained == label


def test_networks_side_by_side_see_the_same_frames(runs, tmp_path):
    other = make_run("rgb", tmp_path, ClipConfig(6, 24, 32, short_side=28))
    with pytest.raises(InputError, match="same frames"):
        Explainer([*runs, other])
    assert Explainer([*runs, other], clip=CLIP).endpoints == ["unit"] * 4


def test_bad_questions_are_refused(runs, data):
    with pytest.raises(InputError, match="at least one network"):
        Explainer([])
    with pytest.raises(InputError, match="label must be a class"):
        Explainer(runs, label="Waving")
    with pytest.raises(InputError, match="endpoint must be"):
        Explainer(runs, endpoint="res5")


def test_records_without_a_stream_are_refused(runs, tmp_path):
    clips = [make_clip(0, 0, frames=9, height=48, width=64)]
    data = write_dataset(tmp_path / "d", {"test": clips}, num_classes=3, flow=False)
    with pytest.raises(InputError, match="do not hold flow"):
        Explainer(runs)(RecordFootage(open_clip(data, "class0/clip0")))


def test_flow_and_people_of_a_video_are_found(runs, tmp_path):
    write_video(tmp_path / "a.mp4", frames=30)
    footage = VideoFootage(tmp_path / "a.mp4", fps=25.0, short_side=48, pose="keypoints")
    found = footage.sources(np.array([3, 5, 29]), STREAMS)
    assert found["rgb"].shape == (3, 48, 64, 3)
    assert found["keypoints"].shape == (3, 1, 17, 3)
    # The block moves by 2 pixels per frame down; the last frame repeats the flow before it.
    block = found["flow"][0, 8:14, 25:35]
    assert np.median(block[..., 1]) == pytest.approx(2, abs=0.5)
    assert np.median(block[..., 0]) == pytest.approx(0, abs=0.3)
    before = footage.sources(np.array([28]), ("flow",))["flow"]
    np.testing.assert_array_equal(found["flow"][2], before[0])
    explained = Explainer(runs)(footage)
    assert explained.label is None
    assert len(explained.streams) == 3


def test_a_video_that_keeps_its_own_rate_is_read_for_as_many_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(explainer, "MAX_SECONDS", 1.5)
    write_video(tmp_path / "a.mp4", frames=100, fps=50)
    assert VideoFootage(tmp_path / "a.mp4", fps=None, short_side=48).num_frames == 75


def test_heat_covers_what_it_speaks_for_only():
    picture = np.full((40, 60, 3), 100, np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[1, 1] = 1
    covered = overlay_heat(picture, heat)
    changed = (covered != picture).any(axis=-1)
    assert changed[15, 15]
    assert covered[15, 15, 0] > covered[15, 15, 2]  # the strongest is red
    assert not changed[:, 31:].any()
    assert not changed[31:].any()


@pytest.mark.parametrize(("frames", "wider"), [(1, False), (4, True)])
def test_picture_grows_with_what_it_shows(explained, tmp_path, frames, wider):
    write_explanation([explained, explained], tmp_path / "new" / "a.png", num_frames=frames)
    height, width = cv2.imread(str(tmp_path / "new" / "a.png")).shape[:2]
    if wider:  # six rows of four frames, twice, one under the other
        assert height > 1.5 * width
    else:  # two rows of three networks, twice, beside each other
        assert width > 2 * height


def test_video_shows_inputs_above_heat_maps(explained, tmp_path):
    write_explanation([explained, explained], tmp_path / "a.mp4")
    video = read_video(tmp_path / "a.mp4")
    assert len(video.frames) == 8
    assert video.source_fps == pytest.approx(12.5)
    height, width = video.frames.shape[1:3]
    assert width / height == pytest.approx(3 * 55 / (2 * 41 + 11), abs=0.1)
    tile = width // 3
    upper = video.frames[0, 30 : height // 2 - 10, 5 : tile - 5].astype(int)
    lower = video.frames[0, height // 2 + 10 : height - 30, 5 : tile - 5].astype(int)
    rows = min(len(upper), len(lower))
    assert abs(upper[:rows] - lower[:rows]).mean() > 5


def test_a_browser_plays_the_video_of_classes_in_any_script(explained, tmp_path):
    streams = [dataclasses.replace(stream, explained="Бег") for stream in explained.streams]
    named = dataclasses.replace(explained, name="größe", label="Χορός", streams=streams)
    write_explanation([named], tmp_path / "a.mp4")
    write_explanation([named], tmp_path / "a.png")
    frame = read_video(tmp_path / "a.mp4").frames[1]
    height, width = frame.shape[:2]
    points = [(width // 4, height // 2), (width * 3 // 4, height // 3)]
    shown = browser.play(tmp_path / "a.mp4", 0.1, points)
    assert (shown.width, shown.height) == (width, height)
    np.testing.assert_allclose(shown.colors, [frame[y, x] for x, y in points], atol=8)


def test_bad_outputs_are_refused(explained, tmp_path):
    with pytest.raises(InputError, match="FILE.png or FILE.mp4"):
        write_explanation([explained], tmp_path / "a.gif")
    with pytest.raises(InputError, match="0 clips"):
        write_explanation([], tmp_path / "a.png")
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(InputError, match="cannot be written"):
        write_explanation([explained], tmp_path / "file" / "a.png")
