from perfnet_tf.records.failure_kinds import group_failures
from perfnet_tf.records.schema import ClipFailure


def fail(clip_id, cause, *, kept=False):
    path = f"/videos/{clip_id}.mp4"
    return ClipFailure(clip_id, path, "train", cause.replace("PATH", path), kept=kept)


def test_causes_that_differ_in_names_and_numbers_are_one_kind_the_largest_first():
    empty = "A video must hold frames. Received: PATH, which is empty (0 bytes)."
    failures = [
        fail("wave/a1", empty),
        fail("wave/b2", "PATH needs a decoder of h264, which this FFmpeg lacks."),
        fail("wave/c", "breaks off after 12 frames", kept=True),
        fail("jump/d", "breaks off after 7 frames", kept=True),
        fail("jump/e", "breaks off after 99 frames", kept=True),
        fail("jump/f", empty),
        fail("jump/g", "PATH needs a decoder of h263, which this FFmpeg lacks."),
        fail("jump/h", "breaks off after 9 frames"),
    ]
    kinds = group_failures(failures)
    assert [(kind.clip_ids, kind.example.kept) for kind in kinds] == [
        (("wave/a1", "jump/f"), False),
        (("wave/b2",), False),
        (("jump/g",), False),
        (("jump/h",), False),
        (("wave/c", "jump/d", "jump/e"), True),
    ]
    assert str(kinds[4]) == "3 in part, such as wave/c: breaks off after 12 frames"
    assert str(kinds[1]) == (
        "1, wave/b2: /videos/wave/b2.mp4 needs a decoder of h264, which this FFmpeg lacks."
    )


def test_sizes_are_numbers_and_missing_files_have_no_path():
    failures = [
        fail("a/x", "Frames are 20000x10 pixels."),
        fail("a/y", "Frames are 5x20001 pixels."),
        ClipFailure("b/one", "", "train", "Listed, but there is no such file."),
        ClipFailure("b/two", "", "val", "Listed, but there is no such file."),
    ]
    assert [len(kind.clip_ids) for kind in group_failures(failures)] == [2, 2]


def test_a_name_that_is_a_word_of_the_sentence_stays():
    cause = "A video file was expected. Received: PATH, which is text."
    (kind,) = group_failures([fail("wave/text", cause), fail("wave/text2", cause)])
    assert kind.clip_ids == ("wave/text", "wave/text2")
