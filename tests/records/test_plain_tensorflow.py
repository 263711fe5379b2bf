"""The reader that docs/records.md shows, which needs TensorFlow alone."""

import pathlib
import re

import numpy as np
from prepared_clips import make_clip, write_dataset
from prepared_records import read_clip

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "records.md"


def test_the_documented_reader_gives_what_the_packages_own_gives(tmp_path, monkeypatch):
    clip = make_clip(1, 1, frames=5, height=24, width=32)
    write_dataset(tmp_path / "data", {"train": [clip]}, num_classes=2)
    expected = read_clip(tmp_path / "data", clip.clip_id)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = {}
    exec(compile(code, PAGE.name, "exec"), found)
    np.testing.assert_array_equal(found["rgb"], expected.frames)
    np.testing.assert_allclose(found["flow"], expected.flow, atol=1e-6)
    assert np.abs(expected.flow).max() > 0.1 and np.ptp(expected.frames) > 10
    assert found["clip"]["clip/label/index"] == 1
