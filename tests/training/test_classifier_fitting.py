"""A classifier on a network that stays as it is."""

import dataclasses
import json

import numpy as np
import pytest

import perfnet_tf
from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.run_directory import save_run
from perfnet_tf.training import classifier_fitting, view_features
from perfnet_tf.training.classifier_fitting import fit_classifier

CONFIG = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("tiny"),
    train=TrainConfig(epochs=7, batch_size=4),
)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of five other classes, of published weights."""
    model = build_from_config(CONFIG.model, 5)
    folder = tmp_path_factory.mktemp("first") / "run"
    return save_run(folder, CONFIG, list("abcde"), model, pretrained={"license": "MIT"})


@pytest.fixture(scope="module")
def fitted(first, data, tmp_path_factory):
    return fit_classifier(first.path, data, tmp_path_factory.mktemp("fitted") / "run")


def clips_and_labels(data, classes):
    batch = next(
        iter(
            build_dataset(
                data, "train", clip=CONFIG.clip, supervised="rgb", batch_size=15, training=False
            )
        )
    )
    return batch[0], batch[1].numpy()


def test_only_the_classifier_is_new_and_it_answers_the_training_clips(first, fitted, data):
    info = perfnet_tf.read_dataset_info(data)
    assert fitted.classes == info.classes
    head = {id(variable) for variable in fitted.model.classifier.variables}
    for ours, theirs in zip(fitted.model.variables, first.model.variables, strict=True):
        if id(ours) not in head:
            np.testing.assert_array_equal(ours, theirs)
    clips, labels = clips_and_labels(data, info.classes)
    features = first.model.endpoints(clips)["features"].numpy()
    expected = features @ fitted.model.classifier.kernel.numpy()
    expected += fitted.model.classifier.bias.numpy()
    logits = fitted.model(clips).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.mean(logits.argmax(axis=1) == labels) > 0.6
    loaded = perfnet_tf.load_run(fitted.path)
    np.testing.assert_allclose(loaded.model(clips), logits, rtol=1e-5, atol=1e-5)


def test_the_record_says_how_it_was_made(first, fitted):
    record = fitted.record
    assert record["status"] == "finished" and record["initial"] == str(first.path)
    assert record["classifier"] == {"windows": 1, "crops": 1, "decay": None}
    assert record["pretrained"] == {"license": "MIT", "trained_further": True}
    assert f"{record['fitted']['decay']:g}" in record["fitted"]["held_out"]
    assert fitted.config.train.freeze == ("all_but_head",)
    assert fitted.config.resolved_eval_clip == CONFIG.clip


def test_the_same_again_computes_nothing_and_another_is_refused(first, fitted, data, monkeypatch):
    monkeypatch.setattr(view_features, "outputs_of_views", None)
    assert fit_classifier(first.path, data, fitted.path).record == fitted.record
    with pytest.raises(InputError, match=r"classifier.*Choose another `output`"):
        fit_classifier(first.path, data, fitted.path, windows=2)
    with pytest.raises(InputError, match="train.mirror was True, is False"):
        fit_classifier(first.path, data, fitted.path, mirror=False)


def test_every_view_is_an_example(first, data, tmp_path, monkeypatch):
    seen = {}

    def fit(features, labels, num_classes, *, decay, weights):
        seen.update(shape=features.shape, labels=len(labels), decay=decay, weights=weights)
        return real(features, labels, num_classes, decay=decay, weights=weights)

    real = classifier_fitting.fit_softmax_regression
    monkeypatch.setattr(classifier_fitting, "fit_softmax_regression", fit)
    views = {"windows": 1, "crops": 2, "mirror": True}
    fit_classifier(first.path, data, tmp_path / "run", decay=0.5, class_weights="balanced", **views)
    assert seen["shape"][0] == seen["labels"] == 2 * 2 * 15
    assert seen["decay"] == 0.5 and seen["weights"].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("damage", "views_made"),
    [
        (lambda file: None, 1),
        (lambda file: file.write_bytes(b"half"), 2),
        (lambda file: np.savez(file, origin="other weights", features=np.zeros([15, 8])), 2),
    ],
    ids=["whole", "damaged", "of_other_weights"],
)
def test_an_interrupted_one_resumes_after_its_last_view(
    first, fitted, data, tmp_path, monkeypatch, damage, views_made
):
    def interrupted(*arguments):
        computed.append(len(arguments[2]))
        for number, outputs in enumerate(real(*arguments)):
            if number == 1 and len(computed) == 1:
                raise KeyboardInterrupt
            yield outputs

    computed, real = [], view_features.outputs_of_views
    monkeypatch.setattr(view_features, "outputs_of_views", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_classifier(first.path, data, tmp_path / "run")
    with pytest.raises(InputError, match="has not finished"):
        perfnet_tf.load_run(tmp_path / "run")
    with pytest.raises(InputError, match="train.mirror was True, is False"):
        fit_classifier(first.path, data, tmp_path / "run", mirror=False)
    damage(tmp_path / "run" / "features" / "view_0.npz")
    run = fit_classifier(first.path, data, tmp_path / "run")
    assert computed == [2, views_made]
    for ours, theirs in zip(run.model.variables, fitted.model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {file.name for file in run.path.iterdir()} == {
        file.name for file in fitted.path.iterdir()
    }
    assert run.record["status"] == "finished" and run.record["fitted"] == fitted.record["fitted"]


def test_clips_without_labels_are_added_by_what_the_classifier_says(first, data, tmp_path):
    from prepared_clips import write_tiny_dataset

    others = write_tiny_dataset(tmp_path / "others", num_classes=2)
    options = {"decay": 0.01, "windows": 2, "mirror": False}
    alone = fit_classifier(first.path, data, tmp_path / "alone", **options)
    run = fit_classifier(first.path, data, tmp_path / "run", unlabelled=others, **options)
    taken = run.record["fitted"]["unlabelled"]
    info = perfnet_tf.read_dataset_info(others)
    assert list(taken) == list(run.classes)
    assert sum(taken.values()) == info.split("train")["num_clips"]
    assert run.record["unlabelled"]["num_clips"] == sum(taken.values())
    assert not np.allclose(run.model.classifier.kernel, alone.model.classifier.kernel)
    assert not (run.path / "features").exists()
    # The same again is the same run, and one without those clips is another.
    again = fit_classifier(first.path, data, run.path, unlabelled=others, **options)
    assert again.record == run.record
    with pytest.raises(InputError, match=r"unlabelled.*Choose another `output`"):
        fit_classifier(first.path, data, run.path, **options)


def test_clips_without_labels_have_the_same_frame_rate(first, data, tmp_path):
    from prepared_clips import write_tiny_dataset

    others = write_tiny_dataset(tmp_path / "others")
    info = json.loads((others / "dataset.json").read_text())
    (others / "dataset.json").write_text(json.dumps({**info, "fps": 12.5}))
    with pytest.raises(InputError, match="without labels, 12.5 fps"):
        fit_classifier(first.path, data, tmp_path / "run", unlabelled=others)
    assert not (tmp_path / "run").exists()


def test_what_has_no_layers_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="which can only be called"):
        fit_classifier(lambda clips: clips, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_recognizer_serves_too(first, data, tmp_path):
    network = perfnet_tf.load(first.path)
    run = fit_classifier(network, data, tmp_path / "run", clip=dataclasses.replace(CONFIG.clip))
    assert run.record["initial"] == str(first.path)
