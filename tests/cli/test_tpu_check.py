import pytest

from perfnet_tf.cli.main import main
from perfnet_tf.cli.tpu_check import COMMAND, _config, _details, _teachers, _verdict
from perfnet_tf.presets import PRESETS
from perfnet_tf.tpu_check.check import StepReport
from perfnet_tf.tpu_check.chips import CHIPS


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tpu=v9"], "v2, v3, v4, v5e, v6e"),
        (["--teachers=3"], "at most 2"),
        (["--teachers=flow,flow"], "twice"),
        (["--teachers=depth"], "rgb, flow, pose"),
        (["--backbone=r3d"], "Did you mean 'r3d50'"),
        (["--clip=64"], "FRAMESxHEIGHTxWIDTH"),
        (["--preset=paper"], "--preset must be one of"),
    ],
)
def test_bad_flags_are_told_in_one_line_with_status_2(capsys, flags, message):
    assert main(["tpu-check", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_compiler_that_is_missing_is_told_before_a_network_is_built(monkeypatch, capsys):
    def build(*arguments):
        raise AssertionError("built a network")

    monkeypatch.setattr("perfnet_tf.tpu_check.lowering.build_distiller", build)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["tpu-check", "--tpu=v3"]) == 2
    error = capsys.readouterr().err
    assert "Missing: jax, libtpu" in error and error.count("\n") == 1


def test_the_default_is_the_papers_setting():
    for name in COMMAND.flags:  # absl keeps what an earlier call was given
        COMMAND.flags[name].unparse()
    COMMAND.flags(["perfnet"])
    config = _config(COMMAND.flags)
    preset = PRESETS["paper_r3d50_g_kinetics"]
    assert (config.model, config.clip) == (preset.model, preset.clip)
    assert config.train.precision == "mixed_bfloat16" and not config.train.rematerialize
    assert COMMAND.flags.batch_per_core == 8


def test_teachers_are_a_number_or_streams():
    assert _teachers([]) == ()
    assert _teachers(["2"]) == ("flow", "pose")
    assert _teachers(["pose", "rgb"]) == ("pose", "rgb")


def test_verdicts_say_what_fits_and_what_to_try():
    fits = StepReport(
        CHIPS["v3"], 8, True, arguments_gib=0.34, temporaries_gib=14.05, total_gib=14.45,
        batch_gib=0.0718, tflop=16.84, gb_moved=229.1,
    )  # fmt: skip
    assert _verdict(fits, largest=False) == (
        "v3: 8 clips a core: fits, 14.45 of 16 GiB (0.34 arguments + 14.05 temporaries)"
    )
    details = "\n".join(_details(fits))
    assert "roofline estimate, not a measurement: 509 ms" in details
    assert "(memory traffic), 15.7 clips/s a core" in details
    lacks = StepReport(CHIPS["v2"], 8, False, "Ran out", 14.2)
    assert "needs 14.20 of 8 GiB. Try --remat" in _verdict(lacks, largest=False)
    named = StepReport(CHIPS["v3"], 8, False, "Host only", host_ops=("PyFunc (PyFunc)",))
    assert _details(named) == ["    runs on the host: PyFunc (PyFunc)"]
