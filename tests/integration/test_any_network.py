"""Every command takes every kind of network that makes sense, and refuses the others by one rule.

| network      | evaluate | explain | predict | distill | finetune |
|--------------|----------|---------|---------|---------|----------|
| run          | yes      | yes     | yes     | yes     | yes      |
| export       | yes      | yes     | yes     | yes     | yes      |
| frozen       | yes      | refused | yes     | yes     | refused  |
| Hub handle   | yes      | yes     | yes     | yes     | yes      |
| plain        | yes      | refused | yes     | yes     | refused  |
| Keras model  | yes      | refused | yes     | yes     | refused  |
| function     | yes      | refused | yes     | yes     | refused  |
"""

import numpy as np
import pytest
import tensorflow as tf
from networks_of_every_kind import CLASSES, CLIP, CONFIG, write_networks
from prepared_clips import write_tiny_dataset
from small_clips import write_video
from tiny_network import build_tiny

import perfnet_tf
from perfnet_tf.cli.main import main
from perfnet_tf.errors import InputError
from perfnet_tf.explanation.explainer import Explainer, VideoFootage
from perfnet_tf.recognizers import exported, run_directory
from perfnet_tf.saved_model import export_saved_model
from perfnet_tf.training import start

#: A handle that TF Hub resolves to the folder of the export.
HUB = "https://tfhub.dev/someone/tiny/1"
KINDS = ("run", "export", "frozen", "hub", "plain", "Keras model", "function")
TRAINABLE = ("run", "export", "hub")
SILENT = ("plain", "Keras model", "function")  # do not say what they see and predict
CALLED_ONLY = "Only a run, or an export of this package that can be trained"
FROZEN = "Only an export that can be trained has weights to restore"


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        for module in (start, run_directory, exported):
            patch.setattr(module, "build_from_config", build_tiny)
        yield patch


@pytest.fixture(scope="module")
def folder(patched, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    write_video(folder / "a.mp4", frames=12)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def networks(folder, patched):
    import tensorflow_hub as hub

    networks = write_networks(folder)
    resolve = hub.resolve
    patched.setattr(hub, "resolve", lambda h: networks["export"] if h == HUB else resolve(h))
    return {**networks, "hub": HUB}


def loaded(networks, kind, **options):
    said = {"stream": "rgb", "classes": CLASSES, "clip": CLIP} if kind in SILENT else {}
    return perfnet_tf.load(networks[kind], **said, **options)


def refusal(kind):
    return FROZEN if kind == "frozen" else CALLED_ONLY


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate(networks, data, kind):
    network = loaded(networks, kind)
    result = perfnet_tf.evaluate_runs([network], data, progress=False)
    assert result["num_clips"] == 7
    assert result["runs"][0]["stream"] == "rgb"
    if isinstance(networks[kind], str):
        assert result["runs"][0]["path"] == networks[kind]
    if kind not in SILENT:
        again = perfnet_tf.evaluate_runs([networks[kind]], data, progress=False)
        assert again["top1"] == result["top1"]


@pytest.mark.parametrize("kind", KINDS)
def test_predict(networks, folder, kind):
    (prediction,) = perfnet_tf.predict_videos([folder / "a.mp4"], loaded(networks, kind))
    assert prediction.classes == CLASSES
    assert prediction.logits.shape == (3,)
    if kind not in SILENT:  # a path is loaded folded
        (folded,) = perfnet_tf.predict_videos([folder / "a.mp4"], networks[kind])
        np.testing.assert_allclose(folded.logits, prediction.logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_explain(networks, folder, kind):
    if kind not in TRAINABLE:
        with pytest.raises(InputError, match=refusal(kind)):
            Explainer([loaded(networks, kind)])
        with pytest.raises(InputError, match=refusal(kind)):
            Explainer([networks[kind]])
        return
    explained = Explainer([networks[kind]])(VideoFootage(folder / "a.mp4"))
    assert explained.streams[0].heat.shape == (6, 24, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_distill(networks, data, tmp_path, kind):
    teacher = loaded(networks, kind)
    run = perfnet_tf.train(CONFIG, data, tmp_path / "run", teachers={"rgb": teacher})
    assert run.record["status"] == "finished"
    if kind != "plain":  # a SavedModel needs its classes
        perfnet_tf.Distiller(run.model, {"rgb": networks[kind]})


@pytest.mark.parametrize("kind", KINDS)
def test_finetune_and_export(networks, data, tmp_path, kind):
    if kind not in TRAINABLE:
        for source in (networks[kind], loaded(networks, kind)):
            with pytest.raises(InputError, match=refusal(kind)):
                perfnet_tf.train(CONFIG, data, tmp_path / "run", initial=source)
        with pytest.raises(InputError, match=refusal(kind)):
            export_saved_model(loaded(networks, kind), tmp_path / "again")
        return
    run = perfnet_tf.train(CONFIG, data, tmp_path / "run", initial=networks[kind])
    assert run.record["initial"] == networks[kind]
    export_saved_model(loaded(networks, kind), tmp_path / "again")
    clip = np.zeros((1, 6, 24, 32, 3), np.uint8)
    again = perfnet_tf.load(tmp_path / "again")
    np.testing.assert_allclose(again(clip), loaded(networks, kind)(clip), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["run", "export", "frozen", "hub", "plain"])
def test_command_line(networks, folder, data, tmp_path, capsys, kind):
    """Folders and handles, through the commands themselves."""
    handle = networks[kind]
    said = ["--stream=rgb", f"--classes={folder / 'classes.txt'}", "--clip=6x24x32"]
    said = said if kind == "plain" else []
    common = [f"--data={data}", "--noprogress"]
    output = f"--output={tmp_path / 'results'}"
    assert main(["evaluate", f"--models={handle}", *said, *common, output]) == 0
    assert main(["predict", str(folder / "a.mp4"), f"--model={handle}", *said]) == 0
    labels = [f"--teacher_labels=rgb={folder / 'classes.txt'}"] if kind == "plain" else []
    short = ["--clip=6x24x32", "--epochs=1", "--batch=4"]
    student = f"--output={tmp_path / 'student'}"
    arguments = [f"--teachers=rgb={handle}", *labels, *short, *common, student]
    assert main(["distill", *arguments]) == 0
    further = {
        "explain": [
            str(folder / "a.mp4"),
            f"--model={handle}",
            f"--output={tmp_path / 'a.png'}",
        ],
        "finetune": [f"--from={handle}", *short, *common, f"--output={tmp_path / 'tuned'}"],
        "export": [f"--model={handle}", f"--output={tmp_path / 'exported'}"],
    }
    for command, arguments in further.items():
        capsys.readouterr()
        status = main([command, *arguments])
        told = capsys.readouterr().err
        if kind in TRAINABLE:
            assert status == 0, told
        else:
            assert status == 2
            assert refusal(kind) in told
            assert "Traceback" not in told


def test_what_a_network_does_not_say_is_asked_for_by_name(networks, folder, data, capsys):
    with pytest.raises(InputError, match="Give `stream` and `classes`"):
        perfnet_tf.load(networks["plain"])
    with pytest.raises(InputError, match="Give `stream`"):
        perfnet_tf.load(networks["function"])
    function = perfnet_tf.load(networks["function"], stream="rgb")
    with pytest.raises(InputError, match="Give `classes`"):
        perfnet_tf.evaluate_runs([function], data)
    with pytest.raises(InputError, match="Give `clip`"):
        perfnet_tf.evaluate_runs([function.renamed(CLASSES)], data)
    with pytest.raises(InputError, match="Received: 3"):
        perfnet_tf.load(3)
    assert main(["predict", str(folder / "a.mp4"), f"--model={networks['plain']}"]) == 2
    assert "Give --stream and --classes" in capsys.readouterr().err


def test_flow_is_computed_for_a_network_that_sees_it(folder):
    def motion(flow):
        return tf.reduce_mean(flow, axis=[1, 2, 3])

    network = perfnet_tf.load(motion, stream="flow", classes=("right", "down"), clip=CLIP)
    (prediction,) = perfnet_tf.predict_videos([folder / "a.mp4"], network)
    assert prediction.logits.shape == (2,)
    assert np.isfinite(prediction.logits).all() and prediction.logits.any()
