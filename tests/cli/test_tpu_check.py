import pytest

from perfnet_tf.cli.experiment_flags import apply_flags, preset_of
from perfnet_tf.cli.tpu_check import COMMAND, _details, _teachers, _verdict
from perfnet_tf.presets import PRESETS
from perfnet_tf.tpu_check.check import StepReport
from perfnet_tf.tpu_check.chips import CHIPS


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--chip=v9"], "v2, v3, v4, v5e, v6e"),
        (["--teachers=3"], "at most 2"),
        (["--teachers=flow,flow"], "twice"),
        (["--teachers=depth"], "rgb, flow, pose"),
        (["--backbone=r3d"], "Did you mean 'r3d50'"),
        (["--clip=64"], "FRAMESxHEIGHTxWIDTH"),
        (["--activation_gib=12", "--largest_batch"], "--largest_batch. Leave one out"),
        (["--preset=paper"], "--preset must be one of"),
    ],
)
def test_bad_flags_are_refused(refuses, flags, message):
    refuses(["tpu-check", *flags], message)


def test_a_compiler_that_is_missing_is_reported_before_a_network_is_built(monkeypatch, refuses):
    def build(*arguments):
        raise AssertionError("built a network")

    monkeypatch.setattr("perfnet_tf.tpu_check.lowering.build_distiller", build)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refuses(["tpu-check", "--chip=v3"], "Missing: jax, libtpu")


def test_the_default_is_the_papers_setting():
    COMMAND.parse([])
    config = apply_flags(COMMAND.flags, preset_of(COMMAND.flags))
    preset = PRESETS["paper_r3d50_g_kinetics"]
    assert (config.model, config.clip) == (preset.model, preset.clip)
    assert config.train.precision == "mixed_bfloat16" and not config.train.rematerialize
    assert COMMAND.flags.batch_per_core == 8


def test_a_preset_of_less_precision_is_compiled_in_that_of_tpus(capsys):
    COMMAND.parse(["--tpu=v3,v5e", "--preset=small", "--remat", "--gating=cell"])
    config = apply_flags(COMMAND.flags, preset_of(COMMAND.flags))
    small = PRESETS["small"]
    assert (config.model.width_multiplier, config.clip) == (
        small.model.width_multiplier,
        small.clip,
    )
    assert config.model.options["gating"] == "cell"
    assert config.train.precision == "mixed_bfloat16" and config.train.rematerialize
    assert COMMAND.flags.chip == ["v3", "v5e"]
    assert capsys.readouterr().err == "note: --tpu is now --chip.\n"


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
        "v3: 8 clips per core: fits, 14.45 of 16 GiB (0.34 arguments + 14.05 temporaries)"
    )
    details = "\n".join(_details(fits))
    assert "roofline estimate, not a measurement: 509 ms" in details
    assert "(memory traffic), 15.7 clips/s a core" in details
    lacks = StepReport(CHIPS["v2"], 8, False, "Ran out", 14.2)
    assert "needs 14.20 of 8 GiB. Try --remat" in _verdict(lacks, largest=False)
    named = StepReport(CHIPS["v3"], 8, False, "Host only", host_ops=("PyFunc (PyFunc)",))
    assert _details(named) == ["    runs on the host: PyFunc (PyFunc)"]
