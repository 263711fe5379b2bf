import numpy as np
import pytest

from perfnet_tf.models.inflation import (
    identity_kernel,
    inflate_kernel,
    residual_scales,
    rgb_kernel_for_flow,
)


def test_an_inflated_kernel_sums_to_the_images():
    kernel = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    inflated = inflate_kernel(kernel, 5)
    assert inflated.shape == (5, 2, 3, 4, 5)
    np.testing.assert_allclose(inflated.sum(axis=0), kernel)
    np.testing.assert_array_equal(inflated[0], inflated[4])


def test_an_identity_kernel_takes_the_middle_frame():
    kernel = identity_kernel(3, 2, scale=2.0)
    np.testing.assert_array_equal(kernel[1, 0, 0], [[2, 0], [0, 2]])
    np.testing.assert_array_equal(kernel[::2], np.zeros((2, 1, 1, 2, 2)))


def test_flow_channels_share_the_mean_of_colours():
    kernel = np.arange(6.0).reshape(1, 1, 3, 2)  # red 0 1, green 2 3, blue 4 5
    flow = rgb_kernel_for_flow(kernel)
    np.testing.assert_array_equal(flow, [[[[3, 4.5], [3, 4.5]]]])
    np.testing.assert_allclose(flow.sum(axis=2), kernel.sum(axis=2))


@pytest.mark.parametrize(
    ("gated", "gated_block", "expected"),
    [
        ([False, False], False, [(1, 1), (1, 1)]),
        ([False, False, False], True, [(1, 2), (2, 2), (2, 2)]),
        ([True, True, True], False, [(1, 8), (4, 4), (2, 2)]),
    ],
)
def test_a_block_doubles_for_each_gate_that_follows(gated, gated_block, expected):
    assert residual_scales(gated, gated_block) == expected
