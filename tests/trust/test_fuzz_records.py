"""Mutated records through the readers: an error that says so, or a clip; never a crash."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from mutations import NUMBERS, generator, mutate_bytes, resident
from prepared_clips import write_tiny_dataset
from small_clips import make_info, make_record

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import build_dataset, explaining_damaged_records
from perfnet_tf.input_pipeline.record_index import RecordIndex
from perfnet_tf.records import reader, schema, stored_sources
from perfnet_tf.records.encoding import encode_clip
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.schema import ClipRecord

INFO = make_info()


def mutate_record(serialized: bytes, random: np.random.Generator) -> bytes:
    """Damaged as bytes; or a whole message, whose content is not what it should be."""
    if random.random() < 0.3:
        return mutate_bytes(serialized, random)
    example = tf.train.SequenceExample.FromString(serialized)
    context, lists = example.context.feature, example.feature_lists.feature_list
    kind = random.integers(7)
    key = sorted(context)[random.integers(len(context))]
    name = sorted(lists)[random.integers(len(lists))]
    frames = lists[name].feature
    frame = frames[random.integers(len(frames))]
    if kind == 0:
        del context[key]
    elif kind == 1:
        number = int(NUMBERS[random.integers(len(NUMBERS))]) - int(random.integers(3))
        context[key].CopyFrom(
            tf.train.Feature(int64_list=tf.train.Int64List(value=[number] * random.integers(3)))
        )
    elif kind == 2:
        del lists[name]
    elif kind == 3:
        del frames[random.integers(len(frames)) :]
    elif kind == 4:
        frame.Clear()
    elif kind == 5 and frame.bytes_list.value:
        frame.bytes_list.value[0] = mutate_picture(frame.bytes_list.value[0], random)
    elif kind == 5:
        values = [float("nan"), float("inf"), -1e38, 0.0]
        frame.float_list.value.append(values[random.integers(4)])
    else:
        context[key].bytes_list.value.append(random.bytes(int(random.integers(20))))
    return example.SerializeToString(deterministic=True)


def mutate_picture(data: bytes, random: np.random.Generator) -> bytes:
    """A damaged JPEG or PNG, or one whose header has absurd sides."""
    if random.random() < 0.5:
        return mutate_bytes(data, random)
    content = bytearray(data)
    sides = random.bytes(4) if random.random() < 0.5 else b"\xff\xff\xff\xff"
    if data[:2] == b"\xff\xd8":
        place = data.find(b"\xff\xc0") + 5  # height and width, two bytes each
        content[place : place + 4] = sides
    else:
        content[16:24] = b"\0\0" + sides[:2] + b"\0\0" + sides[2:]
    return bytes(content)


@pytest.fixture(scope="module")
def parse():
    """`parse_clip` as training runs it, in a graph."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def run(serialized):
        return reader.parse_clip(
            serialized,
            indices=lambda num_frames: tf.range(num_frames)[:4],
            streams=["rgb", "flow", "pose"],
            info=INFO,
        )

    return run


@pytest.mark.parametrize("count", [150, pytest.param(4000, marks=pytest.mark.slow)])
def test_mutated_records_are_reported(parse, count):
    good = encode_clip(make_record(), max_people=3, flow_bound=20.0)
    assert parse(good)["rgb"].shape == (4, 30, 44, 3)
    random = generator(count)
    before = resident(os.getpid())
    refused = {"graph": 0, "eager": 0, "check": 0}
    for _ in range(count):
        serialized = mutate_record(good, random)
        try:
            parsed = parse(serialized)
            assert parsed["rgb"].shape[0] == parsed["flow"].shape[0] == 4
        except tf.errors.OpError:
            refused["graph"] += 1
        try:
            assert isinstance(reader.decode_record(serialized, INFO), ClipRecord)
        except InputError:
            refused["eager"] += 1
        try:
            reader.check_record(serialized, INFO)
        except InputError:
            refused["check"] += 1
    grown = resident(os.getpid()) - before
    print(f"\n{count} records, refused {refused}, memory grew by {grown / 2**20:.0f} MiB")
    assert min(refused.values()) > 0.1 * count
    assert grown < 1 << 30


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_shards_are_reported(tmp_path, count):
    """A shard's bytes change behind a whole index, or before it is read."""
    data = write_tiny_dataset(tmp_path / "data", clips_per_class=2)
    index = RecordIndex.read(data, "train")
    path = data / index_name(index)
    whole = path.read_bytes()
    info = read_dataset_info(data)

    @tf.function
    def load(position):
        return reader.parse_clip(
            index.load(position), indices=[0, 1, 2], streams=["rgb", "flow", "pose"], info=info
        )["rgb"]

    positions = [tf.constant(i, tf.int64) for i in np.flatnonzero(index.shard == 0)]
    random = generator(count)
    refused = opened = 0
    for _ in range(count):
        path.write_bytes(mutate_bytes(whole, random))
        try:
            RecordIndex.read(data, "train")
            opened += 1
        except InputError:
            pass
        for position in positions:
            try:
                assert load(position).shape == (3, 48, 64, 3)
            except tf.errors.OpError:
                refused += 1
    print(f"\n{count} shards: {count - opened} refused at once, {refused} records refused")
    assert 0 < opened < count and refused > count / 4


def index_name(index):
    return index.shards[0].rpartition("/")[2]


def test_training_on_a_damaged_record_names_its_shard(tmp_path):
    """The checksums are good: whoever wrote it meant it."""
    data = write_tiny_dataset(tmp_path / "data", clips_per_class=2)
    index = RecordIndex.read(data, "train")
    path = data / index_name(index)
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    example = tf.train.SequenceExample.FromString(records[1])
    for frame in example.feature_lists.feature_list[schema.ENCODED_KEY].feature:
        # Of the same length, so that the index stays right.
        frame.bytes_list.value[0] = b"?" * len(frame.bytes_list.value[0])
    records[1] = example.SerializeToString(deterministic=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    dataset = build_dataset(
        data, "train", clip=ClipConfig(4, 32, 32), streams=["rgb"], batch_size=2, training=False
    )
    with (
        pytest.raises(InputError, match=f"{path.name} is damaged: the record of class.*damaged"),
        explaining_damaged_records(data, "train"),
    ):
        for _ in dataset:
            pass


def test_frames_too_large_for_memory_are_refused_before_they_are_decoded():
    record = make_record(frames=4)
    example = tf.train.SequenceExample.FromString(
        encode_clip(record, max_people=3, flow_bound=20.0)
    )
    for key, decode in (
        (schema.ENCODED_KEY, stored_sources.decode_frames),
        (schema.FLOW_ENCODED_KEY, lambda frames: stored_sources.decode_flow_frames(frames, 20.0)),
    ):
        frames = [
            feature.bytes_list.value[0]
            for feature in example.feature_lists.feature_list[key].feature
        ]
        assert decode(tf.constant(frames)).shape[:3] == (4, 30, 44)
        huge = bytearray(frames[0])
        if key == schema.ENCODED_KEY:
            place = frames[0].find(b"\xff\xc0") + 5
            huge[place : place + 4] = b"\xff\x00\xff\x00"
        else:
            huge[16:24] = b"\0\0\xff\x00\0\0\xff\x00"
        with pytest.raises(tf.errors.InvalidArgumentError, match="4294967296 bytes at most"):
            decode(tf.constant([bytes(huge)] * 4))


def test_index_of_another_dataset_is_refused(tmp_path):
    first = write_tiny_dataset(tmp_path / "a", clips_per_class=2)
    second = write_tiny_dataset(tmp_path / "b", clips_per_class=3)
    shutil.copy(second / "train.index.jsonl", first / "train.index.jsonl")
    with pytest.raises(InputError, match="a line for each of the 6 clips"):
        RecordIndex.read(first, "train")
