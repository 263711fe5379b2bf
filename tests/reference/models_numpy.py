"""Slow, obvious NumPy versions of what the networks are made of, in float64.

Video is `[batch, frames, height, width, channels]`; padding is TensorFlow's SAME.
"""

import itertools

import numpy as np


def pad_same(video, window, strides, value):
    """Pads so that every stride has a window; the odd element of padding goes behind."""
    widths = [(0, 0)]
    for size, length, stride in zip(video.shape[1:4], window, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + length - size, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(np.float64(video), [*widths, (0, 0)], constant_values=value)


def windows(video, window, strides, value):
    """Yields (output position, window of the video) for every output position."""
    padded = pad_same(video, window, strides, value)
    sizes = [-(-size // stride) for size, stride in zip(video.shape[1:4], strides, strict=True)]
    for position in itertools.product(*map(range, sizes)):
        start = [p * stride for p, stride in zip(position, strides, strict=True)]
        region = [slice(s, s + length) for s, length in zip(start, window, strict=True)]
        yield position, padded[:, region[0], region[1], region[2]]


def conv3d(video, kernel, strides=(1, 1, 1), bias=0.0):
    """kernel: `[frames, height, width, channels, filters]`."""
    sizes = [-(-size // stride) for size, stride in zip(video.shape[1:4], strides, strict=True)]
    outputs = np.zeros([len(video), *sizes, kernel.shape[-1]])
    for position, window in windows(video, kernel.shape[:3], strides, 0.0):
        outputs[(slice(None), *position)] = np.einsum("bthwc,thwcf->bf", window, kernel)
    return outputs + bias


def max_pool3d(video, window, strides):
    sizes = [-(-size // stride) for size, stride in zip(video.shape[1:4], strides, strict=True)]
    outputs = np.zeros([len(video), *sizes, video.shape[-1]])
    for position, region in windows(video, window, strides, -np.inf):
        outputs[(slice(None), *position)] = region.max(axis=(1, 2, 3))
    return outputs


def batch_norm(video, mean, variance, beta, gamma=1.0, epsilon=1e-3):
    return (video - mean) / np.sqrt(variance + epsilon) * gamma + beta


def relu(video):
    return np.maximum(video, 0)


def feature_gating(video, kernel, bias=0.0):
    """kernel: `[channels, channels]`."""
    gated = np.zeros_like(video, dtype=np.float64)
    for clip, outputs in zip(video, gated, strict=True):
        context = clip.reshape(-1, clip.shape[-1]).mean(axis=0)
        outputs[:] = clip / (1 + np.exp(-(context @ kernel + bias)))
    return gated


def frame_pair_logits(features, kernel, bias):
    """TF-slim's head: 2 x height x width VALID average pooling, 1x1x1 convolution, mean in time."""
    frames = features.shape[1]
    length = min(2, frames)
    logits = [
        features[:, start : start + length].mean(axis=(1, 2, 3)) @ kernel + bias
        for start in range(frames - length + 1)
    ]
    return np.mean(logits, axis=0)
