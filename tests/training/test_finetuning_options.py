"""What fine-tuning may change: frozen layers, the head's rate, the optimizer, class weights."""

import json

import numpy as np
import pytest

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.training.class_weights import balanced_weights
from perfnet_tf.training.history import read_history
from perfnet_tf.training.trainer import train

#: 15 clips in batches of 4: epochs end after 4, 8 and 12 steps.
CONFIG = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("tiny", dropout_rate=0.5, weight_decay=0.5),
    train=TrainConfig(
        epochs=1, batch_size=4, learning_rate=0.1, warmup_epochs=0.0, checkpoint_every_steps=3
    ),
)


def changed(**train_options):
    return CONFIG.replace(train=TrainConfig(**{**vars(CONFIG.train), **train_options}))


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    return train(CONFIG, data, tmp_path_factory.mktemp("runs") / "first", progress=False)


def unchanged(run, first):
    """Names of the variables of the convolution unit that are those of `first`."""
    units = [one.model.unit for one in (run, first)]
    parts = {name: [getattr(unit.norm, name) for unit in units] for name in NORM}
    parts["kernel"] = [unit.conv.kernel for unit in units]
    return {name for name, pair in parts.items() if np.array_equal(*pair)}


NORM = {"gamma", "beta", "moving_mean", "moving_variance"}


@pytest.mark.parametrize(
    ("freeze", "kept"),
    [
        (["batch_norm"], NORM),
        (["stem"], NORM | {"kernel"}),
        (["all_but_head"], NORM | {"kernel"}),
        (["unit", "batch_norm"], NORM | {"kernel"}),
    ],
)
def test_what_is_frozen_stays_as_it_was(data, tmp_path, first, freeze, kept):
    config = changed(freeze=freeze, validate_every_epochs=1)
    run = train(config, data, tmp_path / "run", initial=first, progress=False)
    assert unchanged(run, first) == kept
    assert run.config.train.freeze == tuple(freeze)
    assert len(run.model.trainable_variables) == 5, "a finished network can be trained further"
    if "stem" in freeze:
        # Of the classifier only, in the mean over the steps: between its first and its last value.
        decay = [np.sum(one.model.classifier.kernel.numpy() ** 2) / 4 for one in (first, run)]
        assert float(read_history(run.path)[0]["weight_decay"]) <= max(decay) * 1.01


def test_an_unknown_name_is_refused_before_anything_is_written(data, tmp_path):
    with pytest.raises(InputError, match="`freeze` must be one of batch_norm, stem, all_but_head"):
        train(changed(freeze=["conv1"]), data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="freeze is a sequence of names"):
        TrainConfig(freeze="stem")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_classifier_moves_further_in_the_first_step_by_its_scale(
    data, tmp_path, first, optimizer
):
    moves = []
    for scale in (1.0, 8.0):
        config = changed(
            batch_size=15, optimizer=optimizer, learning_rate=1e-3, head_learning_rate_scale=scale
        )
        output = tmp_path / f"{scale}"
        run = train(config, data, output, initial=first, progress=False)
        moves.append(
            [
                one.numpy() - other.numpy()
                for one, other in zip(
                    run.model.trainable_variables, first.model.trainable_variables, strict=True
                )
            ]
        )
        assert read_history(run.path)[0]["learning_rate"] == "0.001"
    names = [variable.name for variable in first.model.trainable_variables]
    for name, one, eight in zip(names, *moves, strict=True):
        factor = 8 if "classifier" in name else 1
        np.testing.assert_allclose(eight, factor * one, atol=2e-6, err_msg=name)
    largest = max(np.abs(move).max() for move in moves[0])
    if optimizer == "adam":
        assert largest == pytest.approx(1e-3, rel=0.05)


@pytest.mark.parametrize("step", [7, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_with_every_option_arrives_where_it_would_have_arrived(
    data, tmp_path, killed_and_resumed, first, step
):
    config = changed(
        epochs=3,
        optimizer="adam",
        learning_rate=0.01,
        head_learning_rate_scale=8.0,
        freeze=["batch_norm"],
        class_weights="balanced",
        sampling="balanced",
    )
    expected = train(config, data, tmp_path / "whole", initial=first, progress=False)
    resumed = killed_and_resumed(step, config, data, tmp_path / "killed", initial=first)
    for one, other in zip(resumed.model.variables, expected.model.variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_balanced_weights_by_hand():
    weights = balanced_weights({"a": 6, "b": 2, "d": 4}, ["a", "b", "c", "d"])
    assert weights == pytest.approx([12 / 18, 2.0, 1.0, 1.0])


def test_a_run_of_before_these_options_is_still_the_same(data, tmp_path, first):
    new = ("optimizer", "head_learning_rate_scale", "freeze", "class_weights")
    new += ("sampling", "early_stopping_epochs", "keep")
    path = first.path / "config.json"
    values = json.loads(path.read_text())
    for name in new:
        del values["train"][name]
    path.write_text(json.dumps(values))
    again = train(CONFIG, data, first.path, progress=False)
    assert again.config == CONFIG
    with pytest.raises(InputError, match=r"train.freeze was \[\], is \['stem'\]"):
        train(changed(freeze=["stem"]), data, first.path, progress=False)
