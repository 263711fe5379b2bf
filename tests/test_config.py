import dataclasses

import pytest

from perfnet_tf.config import (
    ClipConfig,
    DistillConfig,
    ExperimentConfig,
    ModelConfig,
    PoseRenderConfig,
    TrainConfig,
)
from perfnet_tf.errors import InputError
from perfnet_tf.presets import PRESETS


def test_clip_is_read_as_frames_height_width():
    clip = ClipConfig.parse("64x224x298", frame_stride=2)
    assert (clip.num_frames, clip.height, clip.width, clip.frame_stride) == (64, 224, 298, 2)
    assert str(clip) == "64x224x298"


@pytest.mark.parametrize("text", ["", "64", "64x224", "64x224x224x3", "axbxc", "64*224*224"])
def test_clip_in_another_form_is_refused(text):
    with pytest.raises(InputError, match="FRAMESxHEIGHTxWIDTH"):
        ClipConfig.parse(text)


def test_frames_keep_the_papers_ratio_of_resize_to_crop():
    assert ClipConfig(64, 224, 224).resized_short_side == 256
    assert ClipConfig(64, 224, 298).resized_short_side == 256
    assert ClipConfig(16, 112, 112).resized_short_side == 128
    assert ClipConfig(250, 256, 256, short_side=256).resized_short_side == 256


def test_crop_larger_than_the_resized_frame_is_refused():
    with pytest.raises(InputError, match="short_side"):
        ClipConfig(64, 224, 224, short_side=200)


def test_learning_rate_defaults_to_the_papers_scaled_to_the_batch():
    assert TrainConfig(batch_size=2048).peak_learning_rate == pytest.approx(1.6)
    assert TrainConfig(batch_size=16).peak_learning_rate == pytest.approx(0.0125)
    assert TrainConfig(epochs=22).resolved_warmup_epochs == pytest.approx(2.0)


@pytest.mark.parametrize("preset", PRESETS, ids=str)
def test_presets_survive_json(preset):
    config = PRESETS[preset]
    assert ExperimentConfig.from_json(config.to_json()) == config


def test_every_option_survives_json():
    config = ExperimentConfig(
        stream="pose",
        clip=ClipConfig(8, 96, 80, frame_stride=3, short_side=101),
        eval_clip=ClipConfig(9, 64, 65),
        model=ModelConfig("s3d", 0.25, 0.1, 0.0, {"gating": "none"}),
        pose_render=PoseRenderConfig("dot", 6, False, "black", 0.4, 0.1),
        distill=DistillConfig("unified", {"flow": 2.0}),
        train=TrainConfig(
            3,
            4,
            0.1,
            0.5,
            0.8,
            False,
            "mixed_bfloat16",
            7,
            11,
            2,
            1,
            optimizer="adamw",
            label_smoothing=0.1,
            accumulate=2,
            mixup=0.2,
            clip_norm=2.5,
        ),
    )
    defaults = ExperimentConfig()
    for field in dataclasses.fields(config):
        assert getattr(config, field.name) != getattr(defaults, field.name), field.name
    assert ExperimentConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model": null}', "ModelConfig must be a JSON object. Received: None"),
        ('{"distill": {"temperature": "hot"}}', "wrong type"),
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ('{"strem": "rgb"}', "has no strem"),
        ('{"stream": "rbg"}', "Did you mean 'rgb'"),
        ('{"clip": {"num_frames": 0}}', "num_frames"),
        ('{"clip": {"num_frames": "many"}}', "wrong type"),
        ('{"model": {"backbone": "r3d50g"}}', "Did you mean 'r3d50_g'"),
        ('{"train": {"learning_rate": -1}}', "learning_rate"),
        ('{"train": {"optimizer": "adamax"}}', "Did you mean 'adam"),
        ('{"train": {"label_smoothing": 1}}', r"`label_smoothing` must be in \[0, 1\)"),
        ('{"train": {"rematerialize": true, "activation_gib": 2}}', "Leave one out"),
        ('{"train": {"activation_gib": 0}}', "`activation_gib` must be greater than 0"),
        ('{"train": {"clip_norm": 0}}', "`clip_norm` must be greater than 0"),
        ('{"distill": {"loss": "both"}}', "separate, unified"),
    ],
)
def test_a_config_that_breaks_a_rule_says_which(text, message):
    with pytest.raises(InputError, match=message):
        ExperimentConfig.from_json(text)
