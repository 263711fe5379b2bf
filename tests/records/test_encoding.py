import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_clips import make_record

from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import encode_flow
from perfnet_tf.records.encoding import encode_clip
from perfnet_tf.records.stored_sources import pad_people


def encode(record, **options):
    return encode_clip(record, max_people=3, flow_bound=20.0, **options)


def test_keys_are_those_of_mediasequence():
    example = tf.train.SequenceExample.FromString(encode(make_record()))
    context, lists = example.context.feature, example.feature_lists.feature_list
    assert context["clip/media_id"].bytes_list.value == ["Up/clip_é".encode()]
    assert context["clip/label/index"].int64_list.value == [1]
    assert context["clip/label/text"].bytes_list.value == [b"Up"]
    assert context["image/height"].int64_list.value == [30]
    assert context["image/width"].int64_list.value == [44]
    assert context["image/frame_rate"].float_list.value == [25.0]
    assert context["clip/num_frames"].int64_list.value == [7]
    timestamps = [f.int64_list.value[0] for f in lists["image/timestamp"].feature]
    assert timestamps == [0, 40000, 80000, 120000, 160000, 200000, 240000]
    assert lists["image/encoded"].feature[0].bytes_list.value[0][:2] == b"\xff\xd8"  # JPEG
    assert lists["FORWARD_FLOW/image/encoded"].feature[0].bytes_list.value[0][1:4] == b"PNG"
    assert len(lists["pose/keypoints"].feature[6].float_list.value) == 3 * 17 * 3
    assert len(lists["pose/boxes"].feature[6].float_list.value) == 3 * 4


def test_the_same_clip_gives_the_same_bytes():
    assert encode(make_record()) == encode(make_record())


def test_encoded_flow_replaces_flow():
    record = make_record()
    images = encode_flow(record.flow, 20.0)
    without_flow = dataclasses.replace(record, flow=None)
    assert encode(without_flow, flow_images=images) == encode(record)
    with pytest.raises(InputError, match="one flow image a frame"):
        encode(without_flow, flow_images=images[:-1])


def test_streams_that_were_not_computed_leave_no_key():
    record = dataclasses.replace(make_record(), flow=None, keypoints=None, boxes=None, group=None)
    example = tf.train.SequenceExample.FromString(encode(record))
    assert set(example.feature_lists.feature_list) == {"image/encoded", "image/timestamp"}
    assert "clip/group" not in example.context.feature


def test_people_are_padded_with_zeros_and_cut_from_the_end():
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(pad_people(values, 2), values[:, :2])
    padded = pad_people(values, 5)
    assert padded.shape == (2, 5, 4)
    assert np.array_equal(padded[:, :3], values) and not padded[:, 3:].any()


@pytest.mark.parametrize(
    "field, value",
    [
        ("frames", np.zeros((7, 30, 44, 3), np.float32)),
        ("frames", np.zeros((0, 30, 44, 3), np.uint8)),
        ("timestamps", np.zeros(6)),
        ("flow", np.zeros((7, 44, 30, 2), np.float32)),
        ("keypoints", np.zeros((7, 2, 18, 3), np.float32)),
        ("boxes", np.zeros((7, 1, 4), np.float32)),
        ("boxes", None),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        encode(dataclasses.replace(make_record(), **{field: value}))
