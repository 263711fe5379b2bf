"""Records of clips with several labels."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from small_clips import make_info, make_record

from perfnet_tf.errors import InputError
from perfnet_tf.records.encoding import encode_clip
from perfnet_tf.records.folder import index_line
from perfnet_tf.records.reader import check_record, decode_record, parse_clip
from perfnet_tf.records.schema import IndexEntry, SourceClip
from perfnet_tf.records.validation import check_index_entry

CLASSES = ("down", "Up", "left", "right")
INFO = make_info(classes=CLASSES, label_kind="multi")


def make(*others):
    names = tuple(CLASSES[label] for label in others)
    record = dataclasses.replace(make_record(), other_labels=others, other_label_names=names)
    return encode_clip(record, max_people=3, flow_bound=20.0)


def parse(serialized, info=INFO):
    return parse_clip(serialized, indices=tf.constant([0]), streams=["rgb"], info=info)


def test_labels_are_lists_as_mediasequence_has_them():
    context = tf.train.SequenceExample.FromString(make(3)).context.feature
    assert list(context["clip/label/index"].int64_list.value) == [1, 3]
    assert list(context["clip/label/text"].bytes_list.value) == [b"Up", b"right"]


def test_one_label_is_stored_as_ever():
    assert make() == encode_clip(make_record(), max_people=3, flow_bound=20.0)


def test_batches_hold_a_one_for_each_label():
    label = parse(make(2, 3))["label"]
    assert label.dtype == tf.float32
    np.testing.assert_array_equal(label, [0, 1, 1, 1])
    np.testing.assert_array_equal(parse(make())["label"], [0, 1, 0, 0])
    compiled = tf.function(lambda record: parse(record))(tf.constant(make(2)))["label"]
    np.testing.assert_array_equal(compiled, [0, 1, 1, 0])
    assert compiled.shape == (4,)


def test_a_record_comes_back():
    record = decode_record(make(3), INFO)
    assert (record.label, record.other_labels) == (1, (3,))
    assert (record.label_name, record.other_label_names) == ("Up", ("right",))


def test_records_that_are_not_of_their_dataset_are_refused():
    single = make_info(classes=CLASSES)
    assert check_record(make(), single)[1] == (1,)
    with pytest.raises(InputError, match="2 labels, where dataset.json says one"):
        check_record(make(3), single)
    with pytest.raises(InputError, match="not those classes"):
        check_record(make(3), make_info(classes=CLASSES[:3], label_kind="multi"))
    with pytest.raises(InputError, match="not those classes"):
        check_record(make(3, 2), INFO)


def test_the_index_states_further_labels_only():
    entry = IndexEntry("a", 1, 9, 0, 12, 300)
    assert "other_labels" not in json.loads(index_line(entry))
    several = dataclasses.replace(entry, other_labels=(2, 3))
    assert json.loads(index_line(several))["other_labels"] == [2, 3]
    assert several.labels == (1, 2, 3)


@pytest.mark.parametrize("others", [[1], [3, 2], [4], [2.0], "23"])
def test_a_damaged_index_is_refused(others):
    values = json.loads(index_line(IndexEntry("a", 1, 9, 0, 12, 300))) | {"other_labels": others}
    with pytest.raises(ValueError, match="other_labels"):
        check_index_entry(values, num_classes=4, num_shards=1, label_kind="multi")


def test_further_labels_are_part_of_a_clips_key():
    clip = SourceClip("a", "a.mp4", 0, "down", "train")
    several = dataclasses.replace(clip, other_labels=(2,), other_label_names=("left",))
    assert several.labels == {0: "down", 2: "left"}
    assert several.key != clip.key
    # As it reaches workers.
    assert SourceClip(**json.loads(json.dumps(dataclasses.asdict(several)))) == several
