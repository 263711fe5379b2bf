import collections
import io
import os
import pathlib
import pickle

import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.pickles.reading import PickledArray, parse_pickle, read_pickle
from perfnet_tf.pickles.writing import write_pickle

CONTENT = {
    "split": {"train1": ["v_Lunges_g08_c01"], "test1": []},
    "annotations": [
        {
            "frame_dir": "v_Lunges_g08_c01",
            "label": 3,
            "img_shape": (240, 320),
            "keypoint": np.arange(60, dtype="f2").reshape(2, 3, 5, 2) / 7,
            "keypoint_score": np.arange(30, dtype=">f4").reshape(2, 3, 5),
            "by_column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "nobody": np.zeros((0, 3, 5, 2), "f2"),
            "valid": np.array([True, False]),
            "large": 2**40,
            "negative": -5,
            "ratio": 0.25,
            "yes": True,
            "nothing": None,
            "name": "Lunges " * 60,
        }
    ],
}


def plain(value):
    """`value` with arrays instead of `PickledArray`s."""
    if isinstance(value, PickledArray):
        array = value.numpy()
        assert (array.shape, array.dtype) == (value.shape, value.dtype)
        return array
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


def assert_same(actual, expected):
    assert type(actual) is type(expected)
    if isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_same(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert actual == expected


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_and_arrays_of_each_protocol_are_read(tmp_path, protocol):
    path = tmp_path / "content.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    assert_same(plain(read_pickle(path)), CONTENT)
    label = pickle.dumps([np.int64(-7), np.float32(0.5)], protocol=protocol)
    assert parse_pickle(label, "it") == [-7, 0.5]


def test_what_is_written_loads_in_python_and_here():
    file = io.BytesIO()
    write_pickle(file, CONTENT | {"annotations": iter(CONTENT["annotations"])})
    (annotation,) = CONTENT["annotations"]
    little = annotation | {"keypoint_score": annotation["keypoint_score"].astype("<f4")}
    expected = CONTENT | {"annotations": [little]}
    assert_same(pickle.loads(file.getvalue()), expected)
    assert_same(plain(parse_pickle(file.getvalue(), "it")), expected)


@pytest.mark.parametrize("value", [{1, 2}, object(), np.array(["text"]), b"bytes"])
def test_other_types_are_not_written(value):
    with pytest.raises(TypeError, match="A pickle holds"):
        write_pickle(io.BytesIO(), [value])


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_that_a_pickle_names_is_called(tmp_path, protocol):
    ran = tmp_path / "ran"
    for value in (Runs(ran), print, os.system, collections.OrderedDict(a=1), {1, 2}, np.ndarray):
        content = pickle.dumps({"annotations": [value, value]}, protocol=protocol)
        if value is np.ndarray:
            content = content[:-1] + b")R."
        with pytest.raises(InputError, match="nothing else. Received: it "):
            parse_pickle(content, "it")
    assert not ran.exists()
    pickle.loads(pickle.dumps(Runs(ran), protocol=protocol))
    assert ran.exists()


def test_cut_and_altered_pickles_are_refused_or_read_never_an_accident(tmp_path):
    for protocol in (2, 4):
        content = pickle.dumps(CONTENT, protocol=protocol)
        for length in range(0, len(content) - 1, 3):
            with pytest.raises(InputError, match="Received: it"):
                parse_pickle(content[:length], "it")
        for place in range(len(content)):
            altered = content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :]
            try:
                parse_pickle(altered, "it")
            except InputError:
                continue
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(InputError, match="empty.pkl is empty"):
        read_pickle(tmp_path / "empty.pkl")
    with pytest.raises(InputError, match="absent.pkl cannot be read: No such file"):
        read_pickle(tmp_path / "absent.pkl")
