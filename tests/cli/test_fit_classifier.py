"""`perfnet fit-classifier`, then what its result is for."""

import tiny_network  # noqa: F401  (registers the backbone `tiny`)
from prepared_clips import write_tiny_dataset

from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.run_directory import load_run, save_run

CLIP = ["--clip=3x24x32", "--short_side=28"]


def test_a_classifier_is_fitted_evaluated_and_refused_where_it_cannot_be(tmp_path, capsys):
    data = write_tiny_dataset(tmp_path / "data")
    config = ExperimentConfig(clip=ClipConfig(4, 24, 32, frame_stride=2), model=ModelConfig("tiny"))
    save_run(tmp_path / "first", config, ["a"], build_from_config(config.model, 1))
    fit = ["fit-classifier", f"--data={data}", f"--from={tmp_path / 'first'}", "--noprogress"]
    output = f"--output={tmp_path / 'run'}"
    assert main([*fit, output, *CLIP, "--views=2x1", "--nomirror"]) == 0
    said = capsys.readouterr().out
    run = load_run(tmp_path / "run")
    assert f"decay {run.record['fitted']['decay']:g}; " in said and "held-out clips" in said
    assert f"next: perfnet evaluate --models={tmp_path / 'run'}" in said
    # The stride stays the network's.
    assert run.config.clip == ClipConfig(3, 24, 32, short_side=28, frame_stride=2)
    assert run.record["classifier"] == {"windows": 2, "crops": 1, "decay": None}

    evaluate = ["evaluate", f"--models={tmp_path / 'run'}", f"--data={data}", "--noprogress"]
    assert main([*evaluate, "--split=train", f"--output={tmp_path / 'results'}"]) == 0
    assert "15 clips of" in capsys.readouterr().out

    held_out = f"--output={tmp_path / 'held_out'}"
    assert main([*fit, held_out, *CLIP, "--nomirror", "--validation_fold=1"]) == 0
    dataset = load_run(tmp_path / "held_out").record["dataset"]
    assert dataset["name"].endswith("validation1")
    capsys.readouterr()

    others = [f"--output={tmp_path / 'others'}", f"--unlabelled={data}"]
    assert main([*fit, *others, *CLIP, "--nomirror"]) == 0
    assert "15 clips without labels added" in capsys.readouterr().out

    assert main([*fit, output, *CLIP]) == 2
    assert "holds another run" in capsys.readouterr().err
    for flags, message in [
        (["--decay=0"], "--decay must be greater than 0"),
        (["--batch=0"], "--batch must be 1 or greater"),
        (["--short_side=28"], "belong to --clip"),
    ]:
        assert main([*fit, f"--output={tmp_path / 'new'}", *flags]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
