"""Folders of flow as other programs leave them, without TensorFlow."""

import cv2
import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.flow.folder import FlowFolder
from perfnet_tf.flow.stored_files import (
    flow_to_levels,
    levels_to_flow,
    read_flo,
    resize_flow,
    write_flo,
)

STEP = 2 * 20 / 255


def smooth_flow(frames: int = 3, height: int = 24, width: int = 40) -> np.ndarray:
    """Flow that JPEG keeps: waves, some pixels per frame, at rest in the first frame."""
    y, x = np.mgrid[:height, :width]
    dx, dy = 6 * np.sin(x / 9) * np.cos(y / 11), 4 * np.cos((x + y) / 13)
    return np.float32([np.stack([dx, dy], -1) * number for number in range(frames)])


def write_levels(folder, flow, x="flow_x_{:05d}.jpg", y="flow_y_{:05d}.jpg", first=1):
    """As dense_flow's `convertFlowToImage` and `imencode(".jpg")` do, pixel by pixel."""
    for number, frame in enumerate(flow, start=first):
        for axis, name in enumerate((x, y)):
            scaled = 255 * (frame[..., axis].astype(np.float64) + 20) / 40
            levels = np.where(scaled > 255, 255, np.where(scaled < 0, 0, np.rint(scaled)))
            path = folder / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), levels.astype(np.uint8))


def read(folder, *names, **options):
    stored = FlowFolder(folder, **options).find(names)
    return None if stored is None else stored.read(0, stored.num_frames)


class TestLevels:
    def test_known_values(self):
        flow = np.array([-30, -20, 0, 0.2, 20, 30])
        assert flow_to_levels(flow).tolist() == [0, 0, 128, 129, 255, 255]
        np.testing.assert_allclose(
            levels_to_flow(np.uint8([0, 128, 255])), [-128 * STEP, 0, 127 * STEP], rtol=1e-6
        )

    def test_written_and_read_within_a_level_and_rest_exactly(self):
        flow = np.random.default_rng(0).uniform(-20, 20, 1000)
        back = levels_to_flow(flow_to_levels(flow))
        assert np.abs(back - flow).max() <= STEP + 1e-6
        assert levels_to_flow(flow_to_levels(np.zeros(3))).tolist() == [0, 0, 0]

    def test_the_middle_of_the_levels_halves_the_error(self):
        flow = np.random.default_rng(0).uniform(-20, 20, 1000)
        back = levels_to_flow(flow_to_levels(flow), zero=127.5)
        assert np.abs(back - flow).max() <= STEP / 2 + 1e-5

    def test_another_bound(self):
        back = levels_to_flow(flow_to_levels(np.array([12.0]), bound=15), bound=15)
        assert abs(back[0] - 12) <= 30 / 255


class TestLayouts:
    @pytest.mark.parametrize("first", [0, 1])
    def test_denseflow_next_to_its_pictures(self, tmp_path, first):
        flow = smooth_flow()
        write_levels(tmp_path / "Up/clip", flow, first=first)
        for number in range(4):
            (tmp_path / f"Up/clip/img_{number:05d}.jpg").write_bytes(b"a picture")
        back = read(tmp_path, "Up/clip", "clip")
        assert back.dtype == np.float32 and back.shape == flow.shape
        # A level of the quantisation and two of JPEG at OpenCV's quality.
        assert np.abs(back - flow).max() <= 3 * STEP
        assert np.abs(back - flow).mean() <= STEP
        assert not back[0, ..., 0].any()  # at rest

    def test_short_names_as_png_are_within_a_level(self, tmp_path):
        flow = smooth_flow()
        write_levels(tmp_path / "clip", flow, "x_{:05d}.png", "y_{:05d}.png")
        assert np.abs(read(tmp_path, "Up/clip", "clip") - flow).max() <= STEP + 1e-5

    @pytest.mark.parametrize("clip", ["v_Up_g01_c01", "Up/v_Up_g01_c01"])
    def test_twostreamfusion(self, tmp_path, clip):
        flow = smooth_flow()
        write_levels(tmp_path, flow, f"u/{clip}/frame{{:06d}}.jpg", f"v/{clip}/frame{{:06d}}.jpg")
        assert np.abs(read(tmp_path, "Up/v_Up_g01_c01", "v_Up_g01_c01") - flow).max() <= 3 * STEP

    def test_flo_is_exact(self, tmp_path):
        flow = np.random.default_rng(0).normal(0, 30, (3, 5, 7, 2)).astype(np.float32)
        (tmp_path / "Up/clip").mkdir(parents=True)
        for number, frame in enumerate(flow):
            write_flo(tmp_path / f"Up/clip/frame_{number:04d}.flo", frame)
        np.testing.assert_array_equal(read(tmp_path, "Up/clip"), flow)

    def test_flo_is_what_opencv_reads_and_writes(self, tmp_path):
        flow = np.random.default_rng(0).normal(0, 30, (5, 7, 2)).astype(np.float32)
        write_flo(tmp_path / "ours.flo", flow)
        np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "ours.flo")), flow)
        cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), flow)
        np.testing.assert_array_equal(read_flo(tmp_path / "theirs.flo"), flow)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_arrays(self, tmp_path, dtype):
        flow = smooth_flow().astype(dtype)
        (tmp_path / "Up").mkdir()
        np.save(tmp_path / "Up/clip.npy", flow)
        np.testing.assert_array_equal(read(tmp_path, "Up/clip"), flow.astype(np.float32))

    def test_nothing(self, tmp_path):
        assert read(tmp_path, "Up/clip", "clip") is None
        (tmp_path / "clip").mkdir()
        (tmp_path / "clip/img_00001.jpg").touch()
        assert read(tmp_path, "Up/clip", "clip") is None


class TestRefusals:
    def refuses(self, folder, message):
        with pytest.raises(InputError, match=message):
            read(folder, "clip")

    def test_one_component(self, tmp_path):
        write_levels(tmp_path / "clip", smooth_flow())
        (tmp_path / "clip/flow_y_00003.jpg").unlink()
        self.refuses(tmp_path, "one of dy for each frame.*with 3, and .* with 2")

    def test_a_gap(self, tmp_path):
        write_levels(tmp_path / "clip", smooth_flow())
        for axis in "xy":
            (tmp_path / f"clip/flow_{axis}_00002.jpg").unlink()
        self.refuses(tmp_path, "lacks 1 of 3, the first being number 2")

    def test_sizes(self, tmp_path):
        write_levels(tmp_path / "clip", smooth_flow())
        write_levels(tmp_path / "clip", smooth_flow(1, 20, 30), first=2)
        self.refuses(tmp_path, "one size.*with 30x20 and 40x24")

    def test_a_damaged_picture(self, tmp_path):
        write_levels(tmp_path / "clip", smooth_flow())
        (tmp_path / "clip/flow_x_00002.jpg").write_bytes(b"no picture")
        self.refuses(tmp_path, "must decode.*flow_x_00002.jpg")

    def test_a_file_that_is_cut_off_or_unknown(self, tmp_path):
        (tmp_path / "clip").mkdir()
        path = tmp_path / "clip/1.flo"
        write_flo(path, np.zeros((3, 4, 2)))
        path.write_bytes(path.read_bytes()[:-1])
        self.refuses(tmp_path, "two floats for each pixel.*95 bytes for 4x3")
        path.write_bytes(b"PIEH")
        self.refuses(tmp_path, "begins with 202021.25")
        write_flo(path, np.full((3, 4, 2), 1e10))
        self.refuses(tmp_path, "known everywhere")

    def test_other_arrays(self, tmp_path):
        np.save(tmp_path / "clip.npy", np.zeros((3, 4, 5, 3)))
        self.refuses(tmp_path, r"float \[frames, height, width, 2\].*float64 \[3, 4, 5, 3\]")
        np.save(tmp_path / "clip.npy", np.array([{"a": 1}], object), allow_pickle=True)
        self.refuses(tmp_path, "not a readable array")


def test_vectors_scale_with_their_frames():
    flow = np.full((2, 10, 20, 2), (4, 3), np.float32)
    np.testing.assert_allclose(
        resize_flow(flow, 30, 40), np.full((2, 30, 40, 2), (8, 9)), rtol=1e-6
    )
    np.testing.assert_allclose(resize_flow(flow, 5, 5), np.full((2, 5, 5, 2), (1, 1.5)), rtol=1e-6)
    assert resize_flow(flow, 10, 20) is flow
