import json

import numpy as np
import pytest
import tf_keras

from perfnet_tf.config import ExperimentConfig, ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.run_directory import create_run, load_run, save_run

CONFIG = ExperimentConfig(stream="flow", model=ModelConfig("tiny", weight_decay=0.01))
CLASSES = ("Brushing hair", "Jumping", "Läufer")


@pytest.fixture
def run(tmp_path):
    model = build_from_config(CONFIG.model, len(CLASSES), CONFIG.stream)
    return save_run(tmp_path / "run", CONFIG, CLASSES, model, source="elsewhere")


def test_a_run_comes_back_as_it_was_saved(run):
    loaded = load_run(run.path)
    assert (loaded.config, loaded.classes) == (CONFIG, CLASSES)
    assert loaded.record["status"] == "finished"
    assert loaded.record["source"] == "elsewhere"
    assert set(loaded.record["versions"]) == {"perfnet_tf", "tensorflow"}
    for ours, theirs in zip(run.model.variables, loaded.model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_can_compute_in_bfloat16_and_the_policy_of_others_stays(run):
    loaded = load_run(run.path, precision="mixed_bfloat16")
    assert loaded.model.unit.conv.compute_dtype == "bfloat16"
    assert loaded.model.variables[0].dtype == "float32"
    assert tf_keras.mixed_precision.global_policy().name == "float32"


def test_a_policy_is_restored_after_an_error():
    with pytest.raises(RuntimeError), precision_policy("mixed_bfloat16"):
        raise RuntimeError
    assert tf_keras.mixed_precision.global_policy().name == "float32"
    with pytest.raises(InputError, match="float16"), precision_policy("float16"):
        pass


def test_a_run_without_weights_says_what_to_do(tmp_path):
    create_run(tmp_path / "run", CONFIG, CLASSES)
    with pytest.raises(InputError, match="has no weights.*Rerun the command that trains it"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_what_is_no_run_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="A run is a folder with"):
        load_run(tmp_path / name)


def test_weights_of_another_network_are_refused(run, tmp_path):
    config = json.loads((run.path / "config.json").read_text())
    config["model"]["options"] = {"batch_norm": False}
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="not those of the network"):
        load_run(run.path)


def test_damaged_weights_are_refused(run):
    (run.path / "weights.index").write_bytes(b"damaged")
    with pytest.raises(InputError, match="not those of the network"):
        load_run(run.path)


def test_a_folder_with_anything_in_it_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="a new or an empty folder"):
        create_run(tmp_path, CONFIG, CLASSES)
    with pytest.raises(InputError, match="a new or an empty folder"):
        create_run(tmp_path / "notes.txt", CONFIG, CLASSES)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["two\nlines", "", " blank"])
def test_a_class_name_that_the_file_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="one line without blanks"):
        create_run(tmp_path / "run", CONFIG, [name])


def test_the_record_changes_in_one_step(run):
    run_directory.update_record(run.path, evaluated=True)
    assert load_run(run.path).record["evaluated"] is True
    assert not list(run.path.glob("*.partial"))
