import json

import numpy as np
import published_s3d
import pytest
import tensorflow as tf

from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.run_directory import load_run
from perfnet_tf.saved_model import export_saved_model, load_saved_model


@pytest.fixture(scope="module")
def network():
    return published_s3d.SlimS3DG(0.1, num_classes=3)


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("slim") / "model.ckpt"
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        for name, value in network.tensors.items():
            tf.compat.v1.Variable(value, name=f"InceptionV1/{name}", use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(path), write_meta_graph=False)
    return path


@pytest.mark.slow
def test_an_imported_run_teaches_exports_and_knows_where_it_is_from(
    network, checkpoint, tmp_path, capsys
):
    (tmp_path / "labels.txt").write_text("run\nsit\njump\n")
    output = tmp_path / "run"
    status = main(
        [
            "import",
            "--source=slim_s3dg",
            f"--weights={checkpoint}.index",
            f"--output={output}",
            f"--labels={tmp_path / 'labels.txt'}",
            "--clip=9x32x48",
        ]
    )
    shown = capsys.readouterr().out
    assert status == 0
    assert "305 variables of s3d_g (rgb) filled" in shown
    assert "[-1, 1]" in shown
    report = json.loads((output / "import.json").read_text())
    assert len(report["used"]) == 305
    assert report["used"][0] == {
        "target": "Conv2d_1a_7x7.kernel",
        "source": "InceptionV1/Conv2d_1a_7x7/weights",
        "shape": [3, 7, 7, 3, 16],
    }

    run = load_run(output)
    assert run.classes == ("run", "sit", "jump")
    assert run.config.clip == ClipConfig(9, 32, 48)
    assert run.record["status"] == "finished"
    clip = np.random.default_rng(0).random((2, 9, 32, 48, 3)).astype(np.float32)
    expected = network.logits(np.float64(clip) * 2 - 1)
    teacher = load(output).for_classes("rgb", ["sit", "jump", "run"])
    np.testing.assert_allclose(teacher.predict(clip), expected[:, [1, 2, 0]], rtol=1e-3, atol=1e-4)
    exported = load_saved_model(export_saved_model(run, tmp_path / "exported"))
    np.testing.assert_allclose(exported(clip), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--option=stem_temporal_kernel=5"], "--option stem_temporal_kernel=3"),
        (["--option=stem"], "--option is written NAME=VALUE"),
        (["--option=sten_temporal_kernel=5"], "Did you mean 'stem_temporal_kernel'?"),
        (["--stream=flow"], "--stream rgb"),
        (["--source=slim_s3d"], "Did you mean 'slim_s3dg'?"),
    ],
)
def test_bad_input_prints_one_error_line_and_leaves_nothing(
    checkpoint, tmp_path, refuses, flags, message
):
    output = tmp_path / "run"
    arguments = ["--source=slim_s3dg", f"--weights={checkpoint}", f"--output={output}", *flags]
    refuses(["import", *arguments], message)
    assert not output.exists()
