import dataclasses
import importlib.util
import json
import subprocess
import sys

import cv2
import flow_tvl1 as reference
import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.flow import tvl1_loops as loops
from perfnet_tf.flow.tvl1 import TVL1Params, compute_tvl1, compute_tvl1_at
from perfnet_tf.flow.tvl1_solver import solve_tvl1
from perfnet_tf.threads import set_num_threads
from perfnet_tf.tpu_check.chips import CHIPS
from perfnet_tf.video.decode import read_video

ONE_STEP = TVL1Params(nscales=1, warps=1, outer_iterations=1, epsilon=0)
# Frames of this size share one compiled program across the tests below.
SIZE = (36, 44)


@pytest.fixture(params=["numba", "xla"])
def engine(request):
    return request.param


def textured(height, width, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 1, [height, width, 3]).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def moving_right(num_frames=2, size=SIZE, pixels=1, seed=0):
    """A scene of which each frame shows a window further left, so that content moves right."""
    scene = textured(size[0], size[1] + pixels * num_frames, seed)
    starts = [pixels * (num_frames - 1 - t) for t in range(num_frames)]
    return np.stack([scene[:, start : start + size[1]] for start in starts])


def gray(frames):
    return np.rint(frames.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("median_filtering", [1, 5])
def test_one_linearisation_agrees_with_the_reference(median_filtering, engine):
    params = dataclasses.replace(ONE_STEP, median_filtering=median_filtering)
    frames = moving_right()
    expected = reference.solve(*gray(frames), params)
    flow = compute_tvl1(frames, params, engine=engine)[0]
    np.testing.assert_allclose(flow, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.3


def test_whole_algorithm_agrees_with_the_reference(engine):
    # Thresholds and stops amplify rounding at single pixels, so the mean is held tighter.
    frames = moving_right()
    expected = reference.solve(*gray(frames), TVL1Params())
    difference = np.abs(compute_tvl1(frames, engine=engine)[0] - expected)
    assert difference.mean() < 1e-4
    assert difference.max() < 1e-2


@pytest.mark.parametrize("params", [TVL1Params(), TVL1Params.fast()])
def test_translation_is_found_on_every_frame_and_the_last_repeated(params):
    flow = compute_tvl1(moving_right(num_frames=3), params)
    assert flow.shape == (3, *SIZE, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(1, 2)), [[1, 0]] * 3, atol=0.03)
    np.testing.assert_array_equal(flow[2], flow[1])


def test_mirrored_frames_give_mirrored_flow_with_the_sign_of_dx_changed():
    frames = moving_right(seed=3)
    flow = compute_tvl1(frames)[0]
    mirrored = compute_tvl1(frames[:, :, ::-1])[0][:, ::-1] * [-1, 1]
    # Forward differences are not symmetric, so the solutions differ a little.
    assert np.abs(flow - mirrored).mean() < 0.02
    assert np.abs(flow[..., 0]).mean() > 0.9


def test_rest_and_single_frames_are_exactly_zero(engine):
    frames = moving_right(num_frames=3)
    still = np.stack([frames[0], frames[0], frames[1]])
    flow = compute_tvl1(still, engine=engine)
    assert not flow[0].any()
    assert flow[1].any()
    assert not compute_tvl1(frames[:1], engine=engine).any()
    assert not compute_tvl1(still[:2], engine=engine).any()


def test_float_and_grey_frames_give_the_flow_of_the_same_bytes():
    frames = moving_right()
    expected = compute_tvl1(frames)
    np.testing.assert_allclose(compute_tvl1(gray(frames).astype(np.uint8)), expected, atol=1e-6)
    np.testing.assert_allclose(compute_tvl1(gray(frames) / 255.0), expected, atol=0.02)
    # RGB floats are not rounded to whole grey levels on the way.
    assert np.abs(compute_tvl1(frames / 255.0) - expected).mean() < 0.02


def test_pairs_solved_together_give_the_flow_of_pairs_solved_alone():
    frames = np.concatenate([moving_right(2, seed=1), moving_right(2, pixels=2, seed=2)])
    params = TVL1Params(nscales=1)
    alone = compute_tvl1(frames, params, engine="xla")
    together = compute_tvl1(frames, params, engine="xla", pairs_at_once=2)
    np.testing.assert_allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("params", [TVL1Params(), TVL1Params.fast()])
def test_engines_agree_on_real_frames(params, real_data):
    frames = read_video(real_data / "clips" / "airdrum.mp4", short_side=70).frames[10:13]
    flow = {name: compute_tvl1(frames, params, engine=name) for name in ("numba", "xla")}
    distance = np.linalg.norm(flow["numba"] - flow["xla"], axis=-1)
    assert distance.mean() < 2e-4
    # Thresholds amplify rounding where the motion is ambiguous.
    assert np.quantile(distance, 0.999) < 0.02
    assert np.linalg.norm(flow["xla"], axis=-1).mean() > 0.3


def test_only_the_moving_square_moves():
    frames = np.stack([textured(*SIZE)] * 2)
    square = textured(12, 12, seed=5)
    frames[0, 10:22, 12:24], frames[1, 11:23, 14:26] = square, square
    flow = compute_tvl1(frames)[0]
    np.testing.assert_allclose(np.median(flow[12:20, 14:22], axis=(0, 1)), [2, 1], atol=0.2)
    assert np.abs(flow[:, 36:]).max() < 0.3


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (17, 2), (3, 8)])
def test_any_size_gives_the_flow_of_the_reference(size, engine):
    frames = np.random.default_rng(0).integers(0, 256, [3, *size, 3], np.uint8)
    params = TVL1Params(nscales=1, warps=1, outer_iterations=2, epsilon=0)
    flow = compute_tvl1(frames, params, engine=engine)
    assert flow.shape == (3, *size, 2)
    for index in range(2):
        expected = reference.solve(*gray(frames[index : index + 2]), params)
        np.testing.assert_allclose(flow[index], expected, atol=1e-4)


def test_videos_of_many_sizes_raise_no_warning(caplog):
    params = TVL1Params(nscales=1, warps=1, outer_iterations=1, median_filtering=1)
    for height in range(2, 9):
        compute_tvl1(moving_right(size=(height, 5)), params, engine="xla")
    assert "retracing" not in caplog.text


def test_finite_input_gives_finite_flow(engine):
    frames = moving_right(num_frames=4).astype(np.float32) / 255
    frames[1] = 0
    frames[2] *= 1e6
    frames[3] = 1e30
    assert np.isfinite(compute_tvl1(frames, engine=engine)).all()


def test_frames_of_absurd_brightness_are_survived(engine):
    # Their differences are beyond float32.
    frames = np.random.default_rng(0).choice([-1.3e36, 1.3e36], [3, *SIZE])
    assert compute_tvl1(frames, engine=engine).shape == (3, *SIZE, 2)


def test_flow_of_chosen_frames_is_that_of_the_whole_clip(engine):
    frames = moving_right(num_frames=5)
    expected = compute_tvl1(frames, engine=engine)
    found = compute_tvl1_at(frames, [3, 0, 1], engine=engine)
    np.testing.assert_array_equal(found, expected[[3, 0, 1]])


def test_threads_give_the_flow_of_one_thread():
    frames = np.concatenate([moving_right(3, seed=1), moving_right(3, pixels=2, seed=2)])
    try:
        set_num_threads(1)
        alone = compute_tvl1(frames, engine="numba")
        set_num_threads(4)
        together = compute_tvl1(frames, engine="numba")
    finally:
        set_num_threads(None)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("size", [(5, 5), (23, 9), (40, 61)])
def test_the_compiled_median_is_the_median(size):
    # One round of the filter and nothing else: a frame without texture moves nothing.
    flow = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    found = filtered_by_level(flow)
    for plane, expected in zip(found, flow, strict=True):
        np.testing.assert_array_equal(plane, reference.median(expected).astype(np.float32))


def filtered_by_level(flow):
    height, width = flow.shape[1:]
    state = np.zeros((height, loops.NUM_PLANES, loops.num_columns(width)), np.float32)
    inside = slice(loops.MARGIN, loops.MARGIN + width)
    state[:, [loops.U1, loops.U2], inside] = flow.transpose(1, 0, 2)
    gray = np.zeros((height, width), np.float32)
    numbers = (np.float32(value) for value in (0.25, 0.15, 0.3, 0.01))
    loops.solve_level(state, gray, gray, *numbers, 1, 1, 0, 5)
    return state[:, [loops.U1, loops.U2], inside].transpose(1, 0, 2)


_WITHOUT_NUMBA = """
import importlib.abc, sys, warnings
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "numba":
            raise ImportError("numba is not here")
sys.meta_path.insert(0, Absent())
import numpy as np
from perfnet_tf import InputError, TVL1Params, compute_tvl1
frames = np.random.default_rng(0).integers(0, 256, [2, 9, 8], np.uint8)
params = TVL1Params(nscales=1, warps=1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    flow = [compute_tvl1(frames, params) for _ in range(2)]
said = [str(one.message) for one in caught if "TV-L1" in str(one.message)]
assert len(said) == 1 and "numba is not here" in said[0], said
assert flow[0].any()
try:
    compute_tvl1(frames, params, engine="numba")
except InputError as error:
    assert "choose the engine xla" in str(error)
else:
    raise AssertionError("no error")
"""


def test_without_numba_xla_computes_and_a_warning_says_so():
    subprocess.run([sys.executable, "-c", _WITHOUT_NUMBA], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["v3", "v5e"])
def test_the_same_program_compiles_for_tpus(tmp_path, chip):
    if not all(importlib.util.find_spec(name) for name in ("jax", "libtpu")):
        pytest.skip("jax and libtpu are not installed")
    image = tf.TensorSpec([4, 64, 80], tf.float32)  # larger frames take minutes to compile

    @tf.function(jit_compile=True, autograph=False)
    def solve(first, second):
        return solve_tvl1(first, second, TVL1Params())

    lower = solve.experimental_get_compiler_ir(image, image)
    hlo, result = tmp_path / "flow.hlo", tmp_path / "result.json"
    hlo.write_bytes(lower(stage="hlo_serialized", platform_name="CPU"))
    worker = [sys.executable, "-m", "perfnet_tf.tpu_check.compile_worker"]
    subprocess.run([*worker, str(hlo), CHIPS[chip].topology, str(result)], check=True)
    found = json.loads(result.read_text())
    assert found["error"] is None and not found["host_calls"] and not found["dynamic_shapes"]
    assert found["arguments"] >= 2 * 4 * 64 * 80 * 4  # bytes of the frames
    assert found["outputs"] >= 4 * 64 * 80 * 2 * 4  # and of the flow
    assert found["temporaries"] < 2**28


@pytest.mark.parametrize(
    "call",
    [
        lambda: compute_tvl1(np.zeros([4, 5], np.uint8)),
        lambda: compute_tvl1(moving_right(), pairs_at_once=0),
        lambda: compute_tvl1(moving_right(), engine="numpy"),
        lambda: TVL1Params(tau=0),
        lambda: TVL1Params(warps=0),
        lambda: TVL1Params(nscales=2.5),
        lambda: TVL1Params(scale_step=1.0),
        lambda: TVL1Params(median_filtering=3),
        lambda: TVL1Params(epsilon=-1),
    ],
)
def test_wrong_input_says_what_was_received(call):
    with pytest.raises(InputError, match="Received"):
        call()
