import json
import pathlib
import sys

import numpy as np
import pytest

from perfnet_tf.benchmark import protocol
from perfnet_tf.benchmark.turns import Contender, take_turns
from perfnet_tf.errors import InputError

FOLDER = pathlib.Path(protocol.__file__).parent
#: What a contender is made of, with no framework: it counts its runs and writes down each.
PROGRAM = f"""
import json, sys, time
sys.path.insert(0, {str(FOLDER)!r})
import protocol
spec = json.loads(sys.argv[1])
print("a library's own output")
runs = 0
def run(clip):
    with open(spec["log"], "a") as log:
        log.write(f"{{spec['name']}} {{clip.shape}}\\n")
    global runs
    runs += 1
    if spec.get("fails") or runs > spec.get("fails_after", runs):
        raise MemoryError("no memory is left")
    time.sleep(spec.get("seconds", 0))
protocol.serve(run)
"""


def start(name, log, **spec):
    text = json.dumps({"name": name, "log": str(log), **spec})
    return lambda: Contender(name, [sys.executable, "-c", PROGRAM, text])


def test_contenders_take_turns_after_warming_up(tmp_path):
    log = tmp_path / "log"
    ballast = np.ones(2**26)  # half a GiB that is this process's, and not theirs
    contenders = {"fast": start("fast", log), "slow": start("slow", log, seconds=0.2)}
    failures = {}
    turns = list(take_turns(contenders, (1, 2, 3, 4), rounds=2, failures=failures, warmup=1))
    assert not failures
    assert [name for name, _ in turns] == ["fast", "slow"] * 2
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["fast", "slow"] * 3
    assert {line.split(" ", 1)[1] for line in lines} == {"(1, 2, 3, 4, 3)"}
    for name, turn in turns:
        assert (turn.wall >= 0.2) == (name == "slow")
        assert turn.cpu < 0.2  # sleeping costs no processor
        assert 5e6 < turn.peak < 0.8 * ballast.nbytes


def test_a_failing_contender_is_left_out_with_its_reason(tmp_path):
    contenders = {
        "greedy": start("greedy", tmp_path / "log", fails=True),
        "modest": start("modest", tmp_path / "log"),
        "late": start("late", tmp_path / "log", fails_after=3),
    }
    failures = {}
    turns = list(take_turns(contenders, (1,) * 4, rounds=3, failures=failures))
    assert [name for name, _ in turns] == ["modest", "late", "modest", "modest"]
    assert set(failures) == {"greedy", "late"}
    assert "greedy ended with status 1: MemoryError: no memory is left" in failures["greedy"]


def test_an_interpreter_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(InputError, match="interpreter was expected"):
        Contender("torchvision", [str(tmp_path / "python"), "x.py"])


def test_example_clip_moves_and_is_in_range():
    clip = protocol.example_clip((2, 3, 8, 10))
    assert clip.shape == (2, 3, 8, 10, 3) and clip.dtype == np.float32
    assert 0 <= clip.min() < 0.2 and 0.8 < clip.max() <= 1
    assert np.abs(clip[:, 1:] - clip[:, :-1]).max() > 0.1
    assert np.abs(clip[0] - clip[1]).max() > 0.1
