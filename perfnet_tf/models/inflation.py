"""From an image network to a video network that computes the same for a still clip.

Source: Carreira & Zisserman 2017 (I3D, arXiv:1705.07750), Sec. 2.4: a 2-D kernel is repeated over
its frames and divided by their number. On a still clip every activation then equals the image
network's, away from the clip's ends, where padding with zeros takes part.

Image networks have no gates. A gate that starts at its middle, 1/2, learns best but would halve
what it gates; so the layer before it is doubled. Both are exact in floating point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: What a gate without weights multiplies by: sigmoid(0).
NEUTRAL_GATE = 0.5


def inflate_kernel(kernel: np.ndarray, num_frames: int) -> np.ndarray:
    """Repeats an image's kernel over time.

    Args:
        kernel: `[height, width, channels, filters]`.
        num_frames: of the result.

    Returns:
        `[num_frames, height, width, channels, filters]`, whose sum over frames is `kernel`.
    """
    return np.repeat(kernel[None] / num_frames, num_frames, axis=0)


def identity_kernel(num_frames: int, channels: int, scale: float = 1.0) -> np.ndarray:
    """A temporal kernel that returns `scale` times its input, at the clip's ends, too.

    Returns:
        float32 `[num_frames, 1, 1, channels, channels]`; `num_frames` is odd.
    """
    kernel = np.zeros([num_frames, 1, 1, channels, channels], np.float32)
    kernel[num_frames // 2, 0, 0] = scale * np.eye(channels)
    return kernel


def rgb_kernel_for_flow(kernel: np.ndarray) -> np.ndarray:
    """The kernel of a first convolution for the two channels of flow.

    Source: Wang et al. 2016 (TSN, arXiv:1608.00859), cross-modality initialisation: the mean over
    red, green and blue for each channel. Times 3/2, so that the kernel's sum stays.

    Args:
        kernel: `[..., 3, filters]`, such as `[height, width, 3, filters]`.

    Returns:
        `[..., 2, filters]`.
    """
    return np.repeat(kernel.mean(axis=-2, keepdims=True) * 1.5, 2, axis=-2)


def residual_scales(gated: Sequence[bool], gated_block: bool) -> list[tuple[float, float]]:
    """How the cells of a residual block are scaled so that neutral gates leave it unchanged.

    A cell adds its residual to its input and passes the sum through a ReLU, which both keep a
    positive factor; so the factors of the gates are undone where the block begins.

    Args:
        gated: of each cell, whether its output is gated.
        gated_block: whether the block's output is gated.

    Returns:
        For each cell: the factor of its input, and that of its output before its gate.
    """
    factor = NEUTRAL_GATE ** -(sum(gated) + gated_block)
    scales = []
    entering = 1.0
    for has_gate in gated:
        scales.append((entering, factor))
        factor *= NEUTRAL_GATE if has_gate else 1.0
        entering = factor
    return scales
