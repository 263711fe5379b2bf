import json
import shutil

import pytest
import tensorflow as tf
from mutations import generator, mutate_bytes, mutate_json, mutate_json_file
from prepared_records import read_clip
from small_clips import CLASSES, find_clips, write_video

from perfnet_tf.cli.main import main
from perfnet_tf.errors import InputError
from perfnet_tf.preparation.build import build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_index
from perfnet_tf.records.subset import write_subset
from perfnet_tf.records.verification import find_damaged_record, verify_dataset

SHARD = "train-00001-of-00002.tfrecord"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    for number in range(6):
        write_video(folder / "videos" / CLASSES[number % 2] / f"clip{number}.mp4", frames=5)
    config = PrepareConfig(
        "toy", short_side=24, pose="keypoints", max_people=2, flow="dis", clips_per_shard=3
    )
    build_records(find_clips(folder / "videos"), folder / "data", config, CLASSES, workers=0)
    return folder / "data"


@pytest.fixture
def data(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "data")


def problems(data):
    return [str(damage) for damage in verify_dataset(data).damages]


def change_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_whole_dataset_has_no_damage(prepared, capsys):
    result = verify_dataset(prepared)
    assert (result.num_clips, result.num_shards, result.damages) == (6, 3, ())
    shards = [path.stat().st_size for path in prepared.glob("*.tfrecord")]
    assert result.num_bytes == sum(shards)
    assert main(["inspect", f"--data={prepared}", "--verify"]) == 0
    assert "6 intact clips in 3 shards" in capsys.readouterr().out


def test_cut_shard_is_named_with_the_clips_that_it_lacks(data, capsys):
    path = data / SHARD
    path.write_bytes(path.read_bytes()[:-5])
    last = [e for e in read_index(data, "train") if e.shard == 1][-1]
    found = problems(data)
    assert found[0].startswith(f"{SHARD}: is cut off")
    assert found[1:] == [f"{SHARD}: the record of {last.clip_id} is not there in full."]
    assert verify_dataset(data).num_clips == 5
    assert main(["inspect", f"--data={data}", "--verify"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 2 and said.err.count(f"perfnet inspect: {SHARD}: ") == 2
    assert "5 intact clips" in said.out and "2 damages" in said.out


@pytest.mark.parametrize("place", ["length", "data", "checksum"])
def test_a_single_bit_is_found(data, place):
    entry = [e for e in read_index(data, "train") if e.shard == 1][0]
    position = {
        "length": entry.offset - 12,
        "data": entry.offset + entry.length // 2,
        "checksum": entry.offset + entry.length + 1,
    }[place]
    content = bytearray((data / SHARD).read_bytes())
    content[position] ^= 1
    (data / SHARD).write_bytes(content)
    assert problems(data) == [
        f"{SHARD}: was altered: its SHA-256 is not that of dataset.json.",
        f"{SHARD}: the record of {entry.clip_id} has a wrong checksum.",
    ]


def test_missing_shard_is_named(data):
    (data / SHARD).unlink()
    assert problems(data) == [f"{SHARD}: is missing."]
    (data / SHARD).mkdir()
    assert problems(data) == [f"{SHARD}: is missing."]


def test_exchanged_shards_are_found(data):
    other = SHARD.replace("00001-of", "00000-of")
    (data / SHARD).rename(data / "x")
    (data / other).rename(data / SHARD)
    (data / "x").rename(data / other)
    found = problems(data)
    assert {line.partition(":")[0] for line in found} == {SHARD, other}


def test_record_that_was_rewritten_is_found(data):
    """With checksums of its own, and by someone who has mended the digest, too."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(data / SHARD))]
    example = tf.train.SequenceExample.FromString(records[0])
    example.context.feature[schema.LABEL_KEY].int64_list.value[0] ^= 1
    with tf.io.TFRecordWriter(str(data / SHARD)) as writer:
        for record in [example.SerializeToString(deterministic=True), *records[1:]]:
            writer.write(record)
    altered, label = problems(data)
    assert "was altered" in altered and "which is not that class" in label

    def mend(values):
        import hashlib

        digest = hashlib.sha256((data / SHARD).read_bytes()).hexdigest()
        values["splits"]["train"]["sha256"][1] = digest

    change_json(data / "dataset.json", mend)
    assert problems(data) == [label]


def test_classes_in_another_order_are_refused_wherever_the_dataset_is_opened(data):
    change_json(data / "dataset.json", lambda values: values["classes"].reverse())
    with pytest.raises(InputError, match="classes, or their order, are not those"):
        verify_dataset(data)
    assert main(["evaluate", "--models=x", f"--data={data}", f"--output={data / 'x'}"]) == 2


def test_index_that_contradicts_records_and_counts_is_found(data):
    index = data / "train.index.jsonl"
    lines = [json.loads(line) for line in index.read_text().splitlines()]

    def write(*changed):
        index.write_text("".join(json.dumps(line) + "\n" for line in changed))

    write({**lines[0], "num_frames": 6}, *lines[1:])
    frames, record = problems(data)
    assert frames.startswith("train.index.jsonl: counts ")
    assert "is not what the index says" in record
    write({**lines[0], "clip_id": lines[1]["clip_id"]}, *lines[1:])
    assert any(f"holds {lines[1]['clip_id']} twice" in problem for problem in problems(data))
    write(*lines[:-1])
    assert any("must have a line for each" in problem for problem in problems(data))
    write({**lines[0], "shard": 1}, *lines[1:])
    assert any("clips of train-00000" in problem for problem in problems(data))


def test_groups_counts_of_classes_and_failures_are_compared(data):
    """What validation, tables and readers trust without opening a record."""
    index = data / "train.index.jsonl"
    text = index.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    index.write_text(text.replace(f'"group": "{lines[0]["group"]}"', '"group": "another"'))
    (group,) = problems(data)
    assert f"is of the group '{lines[0]['group']}', and of 'another' in the index" in group
    index.write_text(text)

    def exchange(values):
        counts = values["splits"]["train"]["clips_per_class"]
        counts["Down"], counts["Up"] = counts["Down"] + 1, counts["Up"] - 1

    dataset = (data / "dataset.json").read_text()
    change_json(data / "dataset.json", exchange)
    assert problems(data) == [
        "train.index.jsonl: has not as many clips of each class as dataset.json counts."
    ]
    (data / "dataset.json").write_text(dataset)
    failure = schema.ClipFailure("Up/x", "x.mp4", "train", "It is no video.")
    (data / "failures.jsonl").write_text(json.dumps(vars(failure)) + "\n")
    assert problems(data) == [
        "failures.jsonl: names 1 failed and 0 incomplete clips, and dataset.json counts 0 and 0."
    ]


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("flow_bound", 2.0, "Its flow is bound by 20 pixels, where dataset.json says 2"),
        ("fps", 50.0, "Its frame rate is 25, where dataset.json says 50"),
    ],
)
def test_scales_that_are_not_those_of_the_records_are_found(data, key, value, message):
    """Flow would be read ten times too slow."""
    change_json(data / "dataset.json", lambda values: values.update({key: value}))
    found = problems(data)
    assert len(found) == 6 and all(message in problem for problem in found)
    with pytest.raises(InputError, match=message):
        read_clip(data, "Up/clip1")


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_every_mutated_shard_index_and_count_is_found(data, count):
    random = generator(count)
    shards = sorted(data.glob("*.tfrecord"))
    index, dataset = data / "train.index.jsonl", data / "dataset.json"
    found = same = 0
    for number in range(count):
        path = (shards[random.integers(len(shards))], index, dataset)[number % 3]
        whole = path.read_bytes()
        if path == dataset:
            values = json.loads(whole)
            values["splits"] = mutate_json(values["splits"], random)
            content = json.dumps(values).encode()
        elif path == index:
            first, rest = whole.split(b"\n", 1)
            content = mutate_json_file(first.decode(), random) + b"\n" + rest
        else:
            content = mutate_bytes(whole, random)
        path.write_bytes(content)
        if as_read(path, content) == as_read(path, whole):
            same += 1
        else:
            try:
                damages = verify_dataset(data).damages
                assert damages, content
                if path in shards:
                    assert {damage.file for damage in damages} == {path.name}
            except InputError as error:
                assert path == dataset and "damaged" in str(error)
            found += 1
        path.write_bytes(whole)
    print(f"\n{found} damages found, {same} changed nothing")
    assert found > 0.6 * count and verify_dataset(data).damages == ()


def as_read(path, content):
    """What a file says, whatever its layout; without what no record could contradict."""
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in content.splitlines() if line]
        if path.suffix == ".json":
            keys = schema.SplitInfo.__annotations__.keys() - {"pose_quality"}
            splits = json.loads(content)["splits"].items()
            return {name: {key: split[key] for key in keys} for name, split in splits}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        pass
    return content


def test_shard_that_no_split_names_is_reported(data):
    shutil.copy(data / SHARD, data / "train-00002-of-00003.tfrecord")
    assert problems(data) == [
        "train-00002-of-00003.tfrecord: is in the folder, but dataset.json does not name it."
    ]


def test_subset_is_verified_with_the_shards_of_its_dataset(data):
    ids = [entry.clip_id for entry in read_index(data, "train")]
    write_subset(
        data, data / "fold", {"train": ids[:3], "test": ids[3:4]}, name="toy-fold", parameters={}
    )
    assert problems(data / "fold") == []
    (data / SHARD).unlink()
    assert f"../{SHARD}: is missing." in problems(data / "fold")


def test_broken_picture_in_a_record_with_good_checksums_is_found(data):
    assert find_damaged_record(data, "train") is None
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(data / SHARD))]
    example = tf.train.SequenceExample.FromString(records[0])
    frames = example.feature_lists.feature_list[schema.ENCODED_KEY].feature
    frames[2].bytes_list.value[0] = b"\xff\xd8 no picture"
    broken = example.SerializeToString(deterministic=True)
    offset = 12
    lines = [json.loads(line) for line in (data / "train.index.jsonl").read_text().splitlines()]
    with tf.io.TFRecordWriter(str(data / SHARD)) as writer:
        for record, line in zip(
            [broken, *records[1:]], [x for x in lines if x["shard"] == 1], strict=True
        ):
            writer.write(record)
            line |= {"offset": offset, "length": len(record)}
            offset += len(record) + 16
    (data / "train.index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    damage = find_damaged_record(data, "train")
    assert damage.file == SHARD and "is damaged" in damage.problem
