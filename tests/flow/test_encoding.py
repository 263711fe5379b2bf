import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from perfnet_tf.errors import InputError
from perfnet_tf.flow.dis import compute_dis
from perfnet_tf.flow.encoding import (
    FLOW_BOUND,
    decode_flow,
    dequantize_flow,
    encode_flow,
    flow_legend,
    flow_to_color,
    quantize_flow,
)
from perfnet_tf.video.decode import read_video


@pytest.fixture
def flow():
    return np.random.default_rng(0).uniform(-20, 20, [3, 7, 11, 2]).astype(np.float32)


@pytest.mark.parametrize("bound", [5.0, FLOW_BOUND])
@pytest.mark.parametrize("convert", [np.asarray, tf.constant], ids=["numpy", "tensorflow"])
def test_levels_bring_back_flow_within_half_a_level(flow, bound, convert):
    restored = np.asarray(dequantize_flow(quantize_flow(convert(flow), bound), bound))
    expected = np.clip(flow, -bound, bound)
    assert restored.dtype == np.float32
    assert np.abs(restored - expected).max() <= bound / 254 + 1e-5


def test_rest_is_exact_and_negation_mirrors_the_levels(flow):
    assert quantize_flow(np.zeros(1, np.float32)) == 128
    assert dequantize_flow(np.uint8([128])) == 0
    total = quantize_flow(flow).astype(int) + quantize_flow(-flow)
    np.testing.assert_array_equal(total, 256)


def test_known_levels_and_clipping():
    levels = quantize_flow(np.array([-1e9, -20, -0.0788, 10, 20, 1e9], np.float32), 20.0)
    np.testing.assert_array_equal(levels, [1, 1, 127, 192, 255, 255])  # 10 px is level 63.5 -> even


def test_numpy_and_tensorflow_give_the_same_levels(flow):
    np.testing.assert_array_equal(quantize_flow(tf.constant(flow)).numpy(), quantize_flow(flow))


def test_png_round_trip_holds_the_levels_inside_tf_data(flow):
    pngs = encode_flow(flow)
    assert len(pngs) == 3
    dataset = tf.data.Dataset.from_tensor_slices(pngs).map(decode_flow)
    assert dataset.element_spec.shape.as_list() == [None, None, 2]
    restored = np.stack(list(dataset.as_numpy_iterator()))
    np.testing.assert_array_equal(restored, dequantize_flow(quantize_flow(flow)))


def test_stored_flow_is_an_ordinary_png(flow):
    picture = cv2.imdecode(np.frombuffer(encode_flow(flow)[0], np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.shape[:2] == (7, 11)
    np.testing.assert_array_equal(picture[..., 0], quantize_flow(flow)[0, ..., 0])
    with Image.open(io.BytesIO(encode_flow(flow)[0])) as opened:  # checks every checksum
        assert opened.mode == "LA"
        np.testing.assert_array_equal(np.asarray(opened), quantize_flow(flow)[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 1)])
def test_frames_of_one_row_or_column_are_stored(size):
    flow = np.random.default_rng(0).uniform(-20, 20, [1, *size, 2]).astype(np.float32)
    np.testing.assert_array_equal(
        decode_flow(encode_flow(flow)[0]), dequantize_flow(quantize_flow(flow[0]))
    )


def test_flow_of_real_frames_takes_fewer_bytes_than_by_tensorflows_encoder(real_data):
    for name in ("airdrum.mp4", "abseiling_k400.mp4"):
        frames = read_video(real_data / "clips" / name, short_side=128).frames[10:12]
        flow = compute_dis(frames)[:1]
        by_tensorflow = tf.io.encode_png(quantize_flow(flow[0])).numpy()
        assert len(encode_flow(flow)[0]) < len(by_tensorflow)


def test_middlebury_colors_of_the_four_directions():
    directions = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0]], np.float32)
    red, yellow, cyan, violet, rest = flow_to_color(directions, max_magnitude=1).astype(int)
    np.testing.assert_array_equal(rest, 255)
    np.testing.assert_array_equal(red, [255, 0, 0])
    # By hand from colorcode.cpp: wheel position 54 * (angle / pi + 1) / 2 with 55 hues.
    np.testing.assert_array_equal(yellow, [255, 229, 0])
    np.testing.assert_array_equal(cyan, [0, 209, 255])
    np.testing.assert_array_equal(violet, [88, 0, 255])


def test_speed_fades_to_white_and_is_darkened_beyond_the_maximum():
    slow, full, beyond = flow_to_color([[0.5, 0], [1, 0], [2, 0]], max_magnitude=1).astype(int)
    np.testing.assert_array_equal(slow, [255, 127, 127])
    np.testing.assert_array_equal(full, [255, 0, 0])
    np.testing.assert_array_equal(beyond, [191, 0, 0])


def test_color_takes_any_leading_shape_and_scales_to_the_fastest(flow):
    picture = flow_to_color(flow)
    assert picture.shape == (3, 7, 11, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(flow_to_color(flow * 3), picture)
    np.testing.assert_array_equal(flow_to_color(np.zeros([4, 5, 2])), 255)


def test_legend_is_the_wheel_inside_a_white_square():
    legend = flow_legend(65)
    assert legend.shape == (65, 65, 3)
    np.testing.assert_array_equal(legend[0, 0], 255)
    np.testing.assert_array_equal(legend[32, 32], 255)
    np.testing.assert_array_equal(legend[32, 64], [255, 0, 0])
    assert flow_legend(1).shape == (1, 1, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: quantize_flow(np.zeros(2), 0.0),
        lambda: encode_flow(np.zeros([3, 4, 2])),
        lambda: flow_to_color(np.zeros([3, 4, 3])),
        lambda: flow_to_color(np.zeros([3, 2]), max_magnitude=-1),
        lambda: flow_legend(0),
    ],
)
def test_wrong_input_says_what_was_received(call):
    with pytest.raises(InputError, match="Received"):
        call()
