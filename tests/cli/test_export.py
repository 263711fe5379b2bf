import json

import pytest
import tf_keras
from tiny_network import build_tiny

from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.models import precision
from perfnet_tf.recognizers import run_directory
from perfnet_tf.saved_model import load_saved_model

CLASSES = ("a b", "c", "d")
METRICS = {
    "top1": 0.5,
    "top5": 1.0,
    "mean_class_accuracy": 0.4,
    "num_clips": 12,
    "dataset": "tiny",
    "split": "test",
    "runs": [{"clip": "6x24x32"}],
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)
    tf_keras.utils.set_random_seed(0)
    config = ExperimentConfig(clip=ClipConfig(6, 24, 32))
    model = build_tiny(config.model, len(CLASSES))
    dataset = {"name": "tiny", "fps": 12.5, "short_side": 48}
    run_directory.save_run(tmp_path / "run", config, CLASSES, model, dataset=dataset)
    return tmp_path / "run"


def test_export_prints_what_loads_it(run, tmp_path, capsys):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    flags = [f"--model={run}", f"--output={tmp_path / 'model'}"]
    assert main(["export", *flags, f"--metrics={tmp_path / 'metrics.json'}"]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'model'}: r3d50_g, rgb, 3 classes" in printed
    assert "serving_default: frames -> logits, probabilities, features" in printed
    assert f"tf.saved_model.load({str(tmp_path / 'model')!r})" in printed
    loaded = load_saved_model(tmp_path / "model")
    assert loaded.classes == CLASSES
    assert loaded.info.dataset == {"name": "tiny", "fps": 12.5, "short_side": 48}
    assert loaded.info.metrics == {
        "top1": 0.5,
        "top5": 1.0,
        "mean_class_accuracy": 0.4,
        "num_clips": 12,
        "dataset": "tiny",
        "split": "test",
        "clip": "6x24x32",
    }
    assert main(["export", *flags]) == 2  # the folder is in use
    assert "new or an empty folder" in capsys.readouterr().err


def test_where_bfloat16_is_slow_users_of_its_export_learn_so(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision, "bfloat16_slowdown", lambda: 5.0)
    flags = [f"--model={run}", f"--output={tmp_path / 'half'}", "--inference_only"]
    assert main(["export", *flags, "--precision=bfloat16"]) == 0
    assert "note: a video's convolution takes 5 times as long" in capsys.readouterr().err


def test_metrics_of_another_kind_are_refused(run, tmp_path, refuses):
    flags = [f"--model={run}", f"--output={tmp_path / 'model'}", f"--metrics={tmp_path / 'm.json'}"]
    for text, message in (
        (None, "metrics.json of perfnet evaluate was expected"),
        ("[]", "metrics.json of perfnet evaluate was expected"),
        (json.dumps(METRICS | {"runs": METRICS["runs"] * 2}), "of 2 runs fused"),
    ):
        if text is not None:
            (tmp_path / "m.json").write_text(text)
        refuses(["export", *flags], message)
    assert not (tmp_path / "model").exists()


def test_int8_and_its_calibration_come_together(run, tmp_path, refuses):
    flags = [f"--model={run}", f"--output={tmp_path / 'model'}"]
    refuses(["export", *flags, "--int8"], "Received: --int8=True, --calibration=None")
    refuses(["export", *flags, f"--calibration={tmp_path}"], "Give both, or neither")
    refuses(["export", *flags, "--int8", f"--calibration={tmp_path / 'none'}"], "does not exist")
