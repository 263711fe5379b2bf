"""The networks at full size: traced, never run."""

import math

import pytest

from perfnet_tf.config import ClipConfig
from perfnet_tf.models.complexity import count_gflops, count_multiply_adds, count_parameters
from perfnet_tf.models.factory import build_model

KINETICS = ClipConfig.parse("250x256x256")
TRAINING = ClipConfig.parse("64x224x224")


def test_r3d50_g_costs_what_the_paper_says():
    model = build_model("r3d50_g", 600)
    assert count_parameters(model) == 34_027_672
    # PERF-Net Table 5: 3666.
    assert count_gflops(model, KINETICS) == pytest.approx(3665.3, abs=0.1)


def test_the_captions_reading_costs_more():
    model = build_model("r3d50_g", 600, temporal_kernels="caption")
    assert count_gflops(model, KINETICS) == pytest.approx(3799.5, abs=0.1)


def test_s3d_g_has_the_size_of_slims():
    model = build_model("s3d_g", 600)
    assert count_parameters(model) == 9_723_848
    assert count_multiply_adds(model, TRAINING) / 1e9 == pytest.approx(64.2, abs=0.05)


def test_s3d_as_torchvision_builds_it_has_torchvisions_parameters():
    model = build_model(
        "s3d",
        400,
        stem_temporal_kernel=7,
        separable_stem=True,
        temporal_batch_norm=True,
        batch_norm_scale=True,
    )
    assert count_parameters(model) == 8_320_048  # torchvision.models.video.s3d


def test_i3d_has_the_size_of_kinetics_i3ds():
    model = build_model("i3d", 400)
    assert sum(math.prod(variable.shape) for variable in model.variables) == 12_704_544
    assert count_multiply_adds(model, TRAINING) / 1e9 == pytest.approx(111.15, abs=0.05)


def test_multiply_adds_of_the_stem_by_hand():
    # Dropping conv1's kernel from 5 frames to 1 saves 4 of 5 x 7 x 7 x 2 multiply-adds at each of
    # 3 x 10 x 12 x 16 outputs.
    clip = ClipConfig(3, 20, 24, short_side=20)
    options = {"width_multiplier": 0.25, "stream": "flow"}
    full = count_multiply_adds(build_model("r3d50", 5, **options), clip)
    flat = count_multiply_adds(build_model("r3d50", 5, stem_temporal_kernel=1, **options), clip)
    assert full - flat == (3 * 10 * 12 * 16) * (4 * 7 * 7 * 2)


def test_classifier_counts_as_a_matrix_product():
    clip = ClipConfig(3, 20, 24, short_side=20)
    small, large = (build_model("r3d50", n, width_multiplier=0.25) for n in (5, 105))
    assert count_multiply_adds(large, clip) - count_multiply_adds(small, clip) == 100 * 512
