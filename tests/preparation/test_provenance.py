"""What `dataset.json` says of the reading: libraries, interlaced videos, the shape of pixels."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from prepared_records import read_clip
from small_clips import CLASSES, write_video
from small_preparation import CONFIG, prepare
from written_videos import write

from perfnet_tf.errors import InputError
from perfnet_tf.preparation import build, staging
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.training.sources import describe_dataset
from perfnet_tf.video.versions import library_versions

PLAIN = dataclasses.replace(CONFIG, pose="none", flow="none")


def clip_of(path):
    return SourceClip(f"Up/{path.stem}", str(path), CLASSES.index("Up"), "Up", "train")


@pytest.fixture
def clips(tmp_path):
    paths = [tmp_path / f"{name}.mp4" for name in ("a", "b", "c")]
    for path in paths:
        write_video(path, frames=6)
    return [clip_of(path) for path in paths]


def prepare_clips(clips, output, **changes):
    config = dataclasses.replace(PLAIN, **changes)
    return prepare(None, output, config, clips=clips)


def test_dataset_names_the_libraries_and_so_does_a_run(clips, tmp_path):
    result = prepare_clips(clips, tmp_path / "records")
    info = read_dataset_info(tmp_path / "records")
    assert info == result.info and result.notes == ()
    assert info.versions == library_versions()
    described = describe_dataset(info, "train")
    assert described["versions"] == library_versions() and described["square_pixels"]


def test_resuming_under_another_decoder_says_so(clips, tmp_path, monkeypatch):
    output = tmp_path / "records"
    older = {**library_versions(), "av": "17.0.0", "libavcodec": "62.11.100"}
    stop = RuntimeError("stopped")

    def make_one(pending, *arguments, **options):
        make_records(pending[:1], *arguments, **options)
        raise stop

    make_records = build.make_records
    with monkeypatch.context() as patch:
        patch.setattr(staging, "library_versions", lambda: older)
        patch.setattr(build, "make_records", make_one)
        with pytest.raises(RuntimeError, match="stopped"):
            prepare_clips(clips, output)
    result = prepare_clips(clips, output)
    (note,) = result.notes
    assert "av 17.0.0, " in note and "libavcodec 62.11.100, " in note and "\n" not in note
    assert read_dataset_info(output).versions["av"] == f"17.0.0, {library_versions()['av']}"


def test_preparation_begun_by_an_older_version_is_resumed(clips, tmp_path, monkeypatch):
    output = tmp_path / "records"

    def make_none(*arguments, **options):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(build, "make_records", make_none)
        with pytest.raises(RuntimeError, match="stopped"):
            prepare_clips(clips, output)
    (output / "parts" / "versions.jsonl").unlink()
    identity = json.loads((output / "parts" / "preparation.json").read_text())
    assert "square_pixels" not in identity
    (note,) = prepare_clips(clips, output).notes
    assert "reader 1, 2" in note


def test_interlaced_videos_are_counted(tmp_path):
    pictures = [np.full((48, 64, 3), 10 * number, np.uint8) for number in range(5)]
    options = {"flags": "+ildct+ilme"}
    paths = [
        write(tmp_path / "camcorder.mp4", pictures, options=options, fields="tff"),
        write(tmp_path / "phone.mp4", pictures),
    ]
    result = prepare_clips([clip_of(path) for path in paths], tmp_path / "records")
    assert result.info.num_deinterlaced == 1
    assert read_dataset_info(tmp_path / "records").num_deinterlaced == 1


def test_pixels_keep_their_stored_shape_if_asked(tmp_path):
    def shape(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    pictures = [np.full((48, 64, 3), 10 * number, np.uint8) for number in range(5)]
    clips = [clip_of(write(tmp_path / "dv.mp4", pictures, on_stream=shape))]
    shown = prepare_clips(clips, tmp_path / "shown", short_side=48)
    stored = prepare_clips(clips, tmp_path / "stored", short_side=48, square_pixels=False)
    assert read_clip(tmp_path / "shown", "Up/dv").frames.shape == (5, 48, 96, 3)
    assert read_clip(tmp_path / "stored", "Up/dv").frames.shape == (5, 48, 64, 3)
    assert shown.info.square_pixels and not stored.info.square_pixels
    with pytest.raises(InputError, match="square_pixels"):
        prepare_clips(clips, tmp_path / "stored", short_side=48)
