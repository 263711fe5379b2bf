import browser
import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.prediction.annotation import draw_answers, write_annotated
from perfnet_tf.prediction.windows import predict_windows
from perfnet_tf.video.decode import read_video
from perfnet_tf.video.writing import VideoFile


def test_answers_stand_in_the_lower_left_corner_of_a_copy():
    frame = np.full((120, 200, 3), 90, np.uint8)
    drawn = draw_answers(frame, [("Déjà vu", 0.75), ("Walk", 0.25)])
    assert (frame == 90).all()
    changed = (drawn != 90).any(axis=-1)
    assert changed.any()
    rows, columns = np.nonzero(changed)
    assert rows.min() > 60
    assert columns.max() < 150
    assert drawn.max() > 200  # letters
    assert (draw_answers(frame, []) == frame).mean() > 0.95


@pytest.mark.parametrize("name", ["Größe", "Бег на месте", "Χορός", "كرة السلة"])
def test_a_class_in_any_script_is_written_as_it_is(name):
    frame = np.full((120, 200, 3), 90, np.uint8)
    drawn = draw_answers(frame, [(name, 0.5)])
    assert drawn.max() > 200
    asked = "".join("?" if ord(letter) > 127 else letter for letter in name)
    box = "".join("\u0378" if ord(letter) > 127 else letter for letter in name)
    for other in (asked, box):
        assert (draw_answers(frame, [(other, 0.5)]) != drawn).any()


def test_percentages_are_in_one_column_whatever_their_digits():
    frame = np.zeros((120, 200, 3), np.uint8)
    ends = []
    for share in (1.0, 0.75, 0.05):
        letters = draw_answers(frame, [("", share)]).min(axis=-1) > 90  # the bar is green
        ends.append(np.nonzero(letters.any(axis=0))[0].max())
    assert max(ends) - min(ends) <= 1


@pytest.mark.parametrize("shape", [(17, 23, 3), (2000, 300, 3)])
def test_any_size_can_be_written_on(shape):
    assert draw_answers(np.zeros(shape, np.uint8), [("A very long name " * 9, 1.0)]).shape == shape


def test_each_frame_shows_the_window_around_it(brightness_model, dark_then_bright, tmp_path):
    windows = list(predict_windows(dark_then_bright, brightness_model, hop=0.5))
    output = tmp_path / "new" / "b.mp4"
    write_annotated(dark_then_bright, windows, output, top=1)
    original, written = read_video(dark_then_bright), read_video(output)
    assert written.frames.shape == original.frames.shape
    assert written.source_fps == original.source_fps == 20
    # The bar of the likeliest class is green and runs along the bottom; the rest is the video.
    assert abs(written.frames[:, :24].astype(int) - original.frames[:, :24]).max() < 16
    assert not list(output.parent.glob("*.partial*"))
    expected = draw_answers(original.frames[0], windows[0].top(1))
    assert abs(written.frames[0].astype(int) - expected).mean() < 12


def test_a_browser_shows_each_frame_at_its_time(brightness_model, dark_then_bright, tmp_path):
    windows = list(predict_windows(dark_then_bright, brightness_model))
    write_annotated(dark_then_bright, windows, tmp_path / "a.mp4")
    for seconds, brightness in ((1.96, 5), (2.04, 250)):  # white from 2 s
        shown = browser.play(tmp_path / "a.mp4", seconds, points=[(40, 6), (60, 40)])
        assert (shown.width, shown.height) == (64, 48)
        assert shown.duration == pytest.approx(4, abs=0.01)
        assert abs(np.array(shown.colors[0]) - brightness).max() <= 4


def test_a_file_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), VideoFile(tmp_path / "a.mp4", 10) as file:
        file.write(np.zeros((33, 47, 3), np.uint8))
        raise RuntimeError("stop")
    assert not list(tmp_path.iterdir())


def test_what_was_filmed_before_an_interruption_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoFile(tmp_path / "a.mp4", 10) as file:
        for _ in range(5):
            file.write(np.full((33, 47, 3), 80, np.uint8))
        raise KeyboardInterrupt
    assert read_video(tmp_path / "a.mp4").frames.shape == (5, 32, 46, 3)


def test_bad_outputs_are_refused(brightness_model, dark_then_bright, tmp_path):
    windows = list(predict_windows(dark_then_bright, brightness_model))
    with pytest.raises(InputError, match="FILE.mp4"):
        write_annotated(dark_then_bright, windows, tmp_path / "a.avi")
    with pytest.raises(InputError, match="must not be the video itself"):
        write_annotated(dark_then_bright, windows, dark_then_bright)
    with pytest.raises(InputError, match="must be a window"):
        write_annotated(dark_then_bright, [], tmp_path / "a.mp4")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_annotated(dark_then_bright, windows, tmp_path / "file" / "a.mp4")
