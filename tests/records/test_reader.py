import dataclasses
import io
import itertools

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from official.vision.configs import video_classification
from official.vision.dataloaders import video_input
from prepared_clips import make_clip, write_dataset
from prepared_records import read_clip, read_serialized
from small_clips import make_info, make_record

from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import dequantize_flow, quantize_flow
from perfnet_tf.records import reader, stored_sources
from perfnet_tf.records.encoding import encode_clip
from perfnet_tf.records.folder import read_dataset_info, read_index, write_dataset_info

INFO = make_info()


@pytest.fixture(scope="module")
def record():
    return make_record()


@pytest.fixture(scope="module")
def serialized(record):
    return encode_clip(record, max_people=INFO.max_people, flow_bound=INFO.flow_bound)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    clips = [make_clip(n, n % 2, frames=5 + n, height=24, width=32) for n in range(5)]
    folder = tmp_path_factory.mktemp("prepared")
    return write_dataset(folder, {"train": clips[:3], "test": clips[3:]}, num_classes=2)


def test_whole_record_comes_back(record, serialized):
    read = reader.decode_record(serialized, INFO)
    for name in ("clip_id", "label", "label_name", "group", "truncated", "fps", "num_frames"):
        assert getattr(read, name) == getattr(record, name), name
    assert np.abs(read.frames.astype(int) - record.frames).mean() < 3  # JPEG
    np.testing.assert_allclose(read.timestamps, record.timestamps, atol=1e-6)
    # The level is exact: the PNG loses nothing, not even where the second channel is 0 or 255.
    np.testing.assert_array_equal(read.flow, dequantize_flow(quantize_flow(record.flow)))
    np.testing.assert_array_equal(read.keypoints[:, :2], record.keypoints)
    np.testing.assert_array_equal(read.boxes[:, :2], record.boxes)
    assert not read.keypoints[:, 2].any() and not read.boxes[:, 2].any()


def test_record_without_flow_and_pose_comes_back(record):
    bare = dataclasses.replace(record, flow=None, keypoints=None, boxes=None, group=None)
    read = reader.decode_record(encode_clip(bare, max_people=3, flow_bound=20.0), INFO)
    assert read.flow is None and read.keypoints is None and read.boxes is None
    assert read.group is None


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_sampled_frames_keep_their_order_and_repeats(serialized, in_pipeline):
    whole = reader.decode_record(serialized, INFO)
    streams = ("rgb", "flow", "pose")
    if in_pipeline:
        dataset = tf.data.Dataset.from_tensors(serialized).map(
            lambda text: reader.parse_clip(text, indices=[6, 0, 0], streams=streams, info=INFO)
        )
        assert dataset.element_spec["keypoints"].shape == [3, 3, 17, 3]
        assert dataset.element_spec["rgb"].shape.as_list() == [3, None, None, 3]
        assert dataset.element_spec["flow"].shape.as_list() == [3, None, None, 2]
        parsed = next(dataset.as_numpy_iterator())
    else:
        parsed = reader.parse_clip(serialized, indices=[6, 0, 0], streams=streams, info=INFO)
    for name, values in (
        ("rgb", whole.frames),
        ("flow", whole.flow),
        ("keypoints", whole.keypoints),
        ("boxes", whole.boxes),
    ):
        np.testing.assert_array_equal(parsed[name], values[[6, 0, 0]], err_msg=name)
    assert parsed["label"] == 1 and parsed["label"].dtype == np.int32
    assert bytes(np.asarray(parsed["clip_id"]).item()).decode() == "Up/clip_é"


def test_indices_may_follow_from_the_number_of_frames(serialized):
    parsed = reader.parse_clip(
        serialized, indices=lambda n: tf.range(n - 2, n), streams=["boxes"], info=INFO
    )
    whole = reader.decode_record(serialized, INFO)
    np.testing.assert_array_equal(parsed["boxes"], whole.boxes[5:])
    assert set(parsed) == {"boxes", "label", "clip_id"}


def test_frames_that_are_not_sampled_are_not_decoded(serialized):
    example = tf.train.SequenceExample.FromString(serialized)
    for key in ("image/encoded", "FORWARD_FLOW/image/encoded"):
        example.feature_lists.feature_list[key].feature[3].bytes_list.value[0] = b"broken"
    broken = example.SerializeToString()
    streams = ["rgb", "flow"]
    parsed = reader.parse_clip(broken, indices=[2, 4], streams=streams, info=INFO)
    assert parsed["rgb"].shape == [2, 30, 44, 3]
    with pytest.raises(tf.errors.InvalidArgumentError):
        reader.parse_clip(broken, indices=[2, 3], streams=streams, info=INFO)


def test_streams_that_were_not_prepared_are_refused_with_the_remedy(serialized):
    bare = make_info(flow=None, pose=None)
    for stream, remedy in (("flow", "--flow"), ("pose", "--pose"), ("boxes", "--pose")):
        with pytest.raises(InputError, match=remedy):
            reader.parse_clip(serialized, indices=[0], streams=[stream], info=bare)
    with pytest.raises(InputError, match="Did you mean 'flow'"):
        reader.parse_clip(serialized, indices=[0], streams=["flows"], info=INFO)


def test_split_is_read_once_in_the_order_of_its_index(dataset):
    info = read_dataset_info(dataset)
    records = read_serialized(dataset, "train")
    assert records.cardinality() == 3
    ids = [
        reader.parse_clip(text, indices=[0], streams=["boxes"], info=info)["clip_id"].numpy()
        for text in records
    ]
    assert [i.decode() for i in ids] == [e.clip_id for e in read_index(dataset, "train")]
    assert len(set(ids)) == 3


def test_clip_is_found_by_its_id_in_any_split(dataset):
    for number, split in ((0, "train"), (2, "train"), (4, "test")):
        clip = read_clip(dataset, f"class{number % 2}/clip{number}")
        assert clip.num_frames == 5 + number
        np.testing.assert_array_equal(clip.flow[0, 0, 0].round(), [clip.label + 1, -clip.label - 1])
        assert clip.clip_id in {e.clip_id for e in read_index(dataset, split)}
    with pytest.raises(InputError, match="class1/clip4"):
        read_clip(dataset, "class1/clip4")
    with pytest.raises(InputError, match="clip4"):
        read_clip(dataset, "class0/clip4", split="train")


def test_missing_shard_is_named(dataset, tmp_path):
    info = read_dataset_info(dataset)
    write_dataset_info(tmp_path, info)
    with pytest.raises(InputError, match=f"{info.splits['train']['shards'][0]}.*damaged"):
        read_serialized(tmp_path, "train")


def test_model_garden_reads_frames_and_label(serialized):
    decoded = video_input.Decoder().decode(tf.constant(serialized))
    parameters = video_classification.DataConfig(
        feature_shape=(4, 24, 24, 3), min_image_size=24, num_classes=2, is_training=False
    )
    parse = video_input.Parser(parameters).parse_fn(is_training=False)
    features, label = parse(decoded)
    assert features["image"].shape == [4, 24, 24, 3]
    np.testing.assert_array_equal(label, [0, 1])
    # Its middle clip of a 7-frame video starts at frame 1; green rises by 30 a frame here.
    green = features["image"].numpy()[..., 1].mean(axis=(1, 2)) * 255
    np.testing.assert_allclose(green, [30, 60, 90, 120], atol=3)


@pytest.mark.parametrize("chroma", ["444", "420", "422"])
def test_any_window_of_a_jpeg_is_exactly_that_of_the_whole(chroma):
    """At block edges, where the colours of a pixel are made with those of the block beside."""
    sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{chroma}")
    noise = np.random.default_rng(0).integers(0, 256, (75, 99, 3), np.uint8)
    encoded = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1]
    images = tf.constant([encoded.tobytes()])
    whole = stored_sources.decode_frames(images)
    decode = tf.function(stored_sources.decode_frames)
    for top, left in itertools.product((0, 1, 7, 8, 16, 17, 43), (0, 1, 8, 15, 16, 31, 32, 67)):
        for height, width in ((32, 32), (31, 17)):
            part = decode(images, tf.constant([top, left, height, width]))
            expected = whole[:, top : top + height, left : left + width]
            np.testing.assert_array_equal(part, expected, f"{top} {left} {height} {width}")


@pytest.mark.parametrize("chroma", ["444", "420", "422"])
def test_frames_are_those_of_other_readers_to_the_bit(chroma):
    sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{chroma}")
    noise = np.random.default_rng(1).integers(0, 256, (75, 99, 3), np.uint8)
    encoded = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1]
    (frame,) = stored_sources.decode_frames(tf.constant([encoded.tobytes()])).numpy()
    np.testing.assert_array_equal(frame[..., ::-1], cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    np.testing.assert_array_equal(frame, PIL.Image.open(io.BytesIO(encoded)))


def test_a_window_of_frames_is_what_cutting_whole_frames_gives():
    pixels = np.random.default_rng(6).integers(0, 256, (3, 20, 28, 3)).astype(np.uint8)
    encoded = tf.stack([tf.io.encode_jpeg(frame) for frame in pixels])
    window = tf.constant([3, 5, 11, 17])
    whole = stored_sources.decode_frames(encoded)
    assert whole.shape == (3, 20, 28, 3)
    part = stored_sources.decode_frames(encoded, window)
    np.testing.assert_array_equal(part, whole[:, 3:14, 5:22])
    # Where their number is not known, they are decoded in a loop.
    unknown = tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    np.testing.assert_array_equal(unknown(stored_sources.decode_frames)(encoded), whole)
    cut = unknown(lambda frames: stored_sources.decode_frames(frames, window))
    np.testing.assert_array_equal(cut(encoded), part)

    odd = tf.concat([encoded, [tf.io.encode_jpeg(pixels[0].transpose(1, 0, 2))]], 0)
    for part in (None, window):
        with pytest.raises(tf.errors.InvalidArgumentError):
            stored_sources.decode_frames(odd, part)
