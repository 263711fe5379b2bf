"""Records of flow that was computed before, and their flow as files again."""

import cv2
import numpy as np
import pytest
from prepared_records import read_clip
from small_clips import CLASSES, write_video

import perfnet_tf
from perfnet_tf.cli.main import main
from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import dequantize_flow, quantize_flow
from perfnet_tf.flow.stored_files import write_flo
from perfnet_tf.preparation.outcomes import PreparationError
from perfnet_tf.records.folder import read_dataset_info, read_failures

FRAMES, HEIGHT, WIDTH = 6, 48, 64


@pytest.fixture
def videos(tmp_path):
    for name in CLASSES:
        for number in range(2):
            write_video(tmp_path / "videos" / name / f"clip{number}.mp4", frames=FRAMES)
    return tmp_path / "videos"


def make_flow(frames=FRAMES - 1, height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[:height, :width] / 10
    return np.float32([np.stack([number + np.sin(x), y - 2], -1) for number in range(frames)])


def write_all(folder, flow, clips=("Up/clip0", "Up/clip1", "Down/clip0", "Down/clip1")):
    for clip in clips:
        (folder / clip).mkdir(parents=True)
        for number, frame in enumerate(flow, start=1):
            write_flo(folder / clip / f"{number:05d}.flo", frame)
    return folder


def prepare(videos, output, flow_path, **options):
    options = {"pose": "none", "short_side": HEIGHT, "workers": 0, **options}
    return perfnet_tf.prepare(videos, output, flow="folder", flow_path=flow_path, **options)


def stored(flow):
    return dequantize_flow(quantize_flow(flow))


def test_flow_is_stored_as_it_is_and_the_last_frame_repeated(videos, tmp_path):
    flow = make_flow()
    result = prepare(videos, tmp_path / "records", write_all(tmp_path / "flow", flow))
    assert result.info.flow == "folder" and result.info.num_flow_rescaled == 0
    assert result.info.parameters["flow_zero"] == 128
    clip = read_clip(tmp_path / "records", "Up/clip1")
    np.testing.assert_array_equal(clip.flow, stored(np.concatenate([flow, flow[-1:]])))


def test_a_flow_for_every_frame_is_stored_as_it_is(videos, tmp_path):
    flow = make_flow(FRAMES)
    prepare(videos, tmp_path / "records", write_all(tmp_path / "flow", flow))
    np.testing.assert_array_equal(read_clip(tmp_path / "records", "Up/clip1").flow, stored(flow))


def test_flow_of_another_size_is_scaled_with_its_vectors(videos, tmp_path):
    flow = np.full((FRAMES - 1, 24, 16, 2), (1, 1), np.float32)
    result = prepare(videos, tmp_path / "records", write_all(tmp_path / "flow", flow))
    assert result.info.num_flow_rescaled == 4
    assert read_dataset_info(tmp_path / "records") == result.info
    clip = read_clip(tmp_path / "records", "Up/clip0")
    np.testing.assert_allclose(clip.flow[..., 0], WIDTH / 16, atol=0.08)
    np.testing.assert_allclose(clip.flow[..., 1], HEIGHT / 24, atol=0.08)


def test_clips_without_flow_or_with_another_length_are_counted_by_cause(videos, tmp_path, capsys):
    write_all(tmp_path / "flow", make_flow(), ["Up/clip0"])
    write_all(tmp_path / "flow", make_flow(FRAMES - 2), ["Down/clip0"])
    output = tmp_path / "records"
    words = ["--dataset=folder", f"--videos={videos}", f"--output={output}", "--pose=none"]
    words += ["--flow=folder", f"--flow_path={tmp_path / 'flow'}", "--workers=0"]
    assert main(["prepare", *words]) == 0
    shown = capsys.readouterr().out
    causes = {failure.clip_id: failure.cause for failure in read_failures(output)}
    assert causes.keys() == {"Up/clip1", "Down/clip0", "Down/clip1"}
    assert f"There is no flow {tmp_path / 'flow/Up/clip1'}." == causes["Up/clip1"]
    assert "with 4 for 6 frames at 25 per second. Compute it again." in causes["Down/clip0"]
    assert "2, such as" in shown and "1, Down/clip0: Flow has as many frames" in shown


def test_flow_of_another_rate_is_refused_with_the_remedy(videos, tmp_path):
    write_all(tmp_path / "flow", make_flow())
    with pytest.raises(PreparationError, match=r"video has 6 at 25 per second.*--fps=0"):
        prepare(videos, tmp_path / "records", tmp_path / "flow", fps=50)
    assert prepare(videos, tmp_path / "own", tmp_path / "flow", fps=None).num_made == 4


def test_flow_of_a_clip_that_is_cut_is_cut(videos, tmp_path):
    flow = make_flow()
    write_all(tmp_path / "flow", flow)
    prepare(videos, tmp_path / "records", tmp_path / "flow", max_seconds=0.12)
    clip = read_clip(tmp_path / "records", "Up/clip0")
    np.testing.assert_array_equal(clip.flow, stored(flow[: clip.num_frames]))


def test_settings_that_contradict(videos, tmp_path, refuses):
    words = ["prepare", "--dataset=folder", f"--videos={videos}", f"--output={tmp_path / 'o'}"]
    words.append("--pose=none")
    refuses([*words, "--flow=folder", "--flow_path=/nowhere"], "--flow_path must be a folder")
    refuses([*words, "--flow=dis", f"--flow_path={videos}"], "--flow=folder, or leave the path out")
    refuses([*words, "--flow=folder", "--flow_zero=300"], "--flow_zero must be from 0 to 255")


@pytest.mark.parametrize("form", ["flo", "jpeg"])
def test_stored_flow_is_written_and_prepared_again(videos, tmp_path, form):
    first, again, files = (tmp_path / name for name in ("first", "again", "files"))
    prepare(videos, first, write_all(tmp_path / "flow", make_flow()))
    assert main(["convert", f"--data={first}", f"--output={files}", f"--flow={form}"]) == 0
    if form == "jpeg":
        names = sorted(path.name for path in (files / "Up/clip0").iterdir())
        assert names[0] == "flow_x_00001.jpg" and len(names) == 2 * (FRAMES - 1)
        picture = cv2.imread(str(files / "Up/clip0/flow_x_00001.jpg"), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (HEIGHT, WIDTH)
    prepare(videos, again, files)
    clips = [read_clip(folder, "Down/clip1").flow for folder in (first, again)]
    # A level of the records, and one of the files with two of JPEG's.
    tolerance = 0 if form == "flo" else 20 / 127 + 3 * 40 / 255
    np.testing.assert_allclose(*clips, rtol=0, atol=tolerance)


def test_conversion_needs_flow_and_an_empty_folder(videos, tmp_path, refuses):
    data = tmp_path / "records"
    perfnet_tf.prepare(videos, data, pose="none", flow="none", workers=0)
    words = ["convert", f"--data={data}"]
    refuses([*words, f"--output={tmp_path / 'files'}", "--flow=flo"], "needs optical flow")
    refuses([*words, f"--output={videos}", "--flow=flo"], "needs optical flow")
    refuses([*words, f"--output={tmp_path / 'files'}"], "Received: neither. Give --keypoints or")
    both = ["--flow=flo", "--keypoints=coco"]
    refuses([*words, f"--output={tmp_path / 'files'}", *both], "Received: both")


def test_python_users_see_the_argument(videos, tmp_path):
    with pytest.raises(InputError, match="`flow_path` must be a folder"):
        prepare(videos, tmp_path / "records", tmp_path / "nowhere")
