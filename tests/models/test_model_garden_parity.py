"""R3D50 against `ResNet3D` of TensorFlow's Model Garden, with the same weights."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.models.resnet3d import TEMPORAL_KERNELS, ResNet3D50


def model_garden(gated):
    from official.vision.modeling.backbones.resnet_3d import ResNet3D

    return ResNet3D(
        50,
        temporal_strides=[1, 1, 1, 1],
        temporal_kernel_sizes=TEMPORAL_KERNELS["table1"],
        use_self_gating=[gated] * 4,
        # Both are 2 by default, also in configurations that mean to keep every frame.
        stem_conv_temporal_stride=1,
        stem_pool_temporal_stride=1,
        norm_momentum=0.9,
        norm_epsilon=1e-5,
    )


def copy_weights(theirs, ours):
    """Copies a `ResNet3D`'s weights, convolution by convolution."""
    stem, norm = theirs.layers[1:3]
    pairs = [(stem, ours.conv1.conv), (norm, ours.conv1.norm)]
    cells = [cell for block in ours.blocks for cell in block.cells]
    blocks = [layer for layer in theirs.layers if type(layer).__name__ == "BottleneckBlock3D"]
    for block, cell in zip(blocks, cells, strict=True):
        pairs += [(block._temporal_conv, cell.temporal.conv), (block._norm1, cell.temporal.norm)]
        pairs += [(block._spatial_conv, cell.spatial.conv), (block._norm2, cell.spatial.norm)]
        pairs += [(block._expand_conv, cell.expand.conv), (block._norm3, cell.expand.norm)]
        if cell.shortcut is not None:
            pairs += [(block._shortcut_conv, cell.shortcut.conv)]
            pairs += [(block._norm0, cell.shortcut.norm)]
        if cell.residual_gating is not None:
            kernel, bias = block._self_gating.get_weights()
            cell.residual_gating.set_weights([kernel[0, 0, 0], bias])
    for source, target in pairs:
        target.set_weights(source.get_weights())


@pytest.mark.parametrize("gated", [False, True])
def test_feature_maps_equal_model_gardens(gated):
    theirs = model_garden(gated)
    rng = np.random.default_rng(0)
    for layer in theirs.submodules:
        if not layer.weights:  # shortcuts that cells do not use
            continue
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            layer.set_weights([rng.uniform(0.5, 1.5, size) for _ in range(4)])
        elif type(layer).__name__ == "SelfGating":
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.1, kernel.shape), rng.normal(size=bias.shape)])
    ours = ResNet3D50(5, gating="block_residual" if gated else "none").build_for_stream()
    copy_weights(theirs, ours)
    clip = rng.integers(0, 256, (2, 3, 32, 40, 3), np.uint8)
    normalized = clip / np.float32(127.5) - 1
    for training in (False, True):
        expected = theirs(normalized, training=training)
        outputs = ours.endpoints(clip, training=training)
        for level in "2345":
            difference = tf.reduce_max(tf.abs(outputs[f"res{level}"] - expected[level]))
            assert difference < 1e-4 * tf.reduce_max(tf.abs(expected[level]))
    # The step in training mode moved the statistics alike.
    norm = ours.blocks[3].cells[2].expand.norm
    their_norm = next(layer._norm3 for layer in reversed(theirs.layers) if hasattr(layer, "_norm3"))
    np.testing.assert_allclose(norm.moving_variance, their_norm.moving_variance, rtol=1e-3)
