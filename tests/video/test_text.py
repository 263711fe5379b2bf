import pathlib
import unicodedata

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font
from PIL import features

from perfnet_tf.video import text
from perfnet_tf.video.text import CAPITAL_HEIGHT, draw_text, fit_text, font_families, measure_text

FONTS = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")
NOWHERE = "\u0378"  # a code without a letter: every font draws its box


@pytest.fixture(autouse=True)
def installed_fonts(monkeypatch):
    """No font but DejaVu Sans; a test may append others."""
    fonts = []
    monkeypatch.setattr(text, "_installed_fonts", lambda: tuple(fonts))
    text._find_font.cache_clear()
    text._render.cache_clear()
    yield fonts
    text._find_font.cache_clear()
    text._render.cache_clear()


def drawn(words, size=24, **options):
    picture = np.zeros((48, 400, 3), np.uint8)
    draw_text(picture, words, (10, 32), size, **options)
    return picture


def extent(picture):
    """Columns and rows of what was drawn: (first, last) each."""
    rows, columns = np.nonzero(picture.any(axis=-1))
    return (columns.min(), columns.max()), (rows.min(), rows.max())


@pytest.mark.parametrize("letter", "AgÄßñŁЖйїΩψάعא")
def test_letters_of_many_scripts_are_neither_boxes_nor_question_marks(letter):
    picture = drawn(letter)
    assert picture.max() > 200
    for other in ("?", NOWHERE):
        assert (picture != drawn(other)).any()


def test_a_letter_that_no_font_has_is_a_box():
    (left, right), (top, bottom) = extent(drawn("篮"))
    picture = drawn("篮")
    assert picture[top : bottom + 1, left : right + 1].any(axis=-1).all(axis=0)[[0, -1]].all()
    assert not picture[top + 6 : bottom - 5, left + 6 : right - 5].any()
    np.testing.assert_array_equal(picture, drawn(NOWHERE))


def test_letters_come_from_an_installed_font_that_has_them(installed_fonts):
    dejavu, stix = (
        set(FT2Font(str(FONTS / f"{name}.ttf")).get_charmap())
        for name in ("DejaVuSans", "STIXGeneral")
    )
    letter = next(chr(c) for c in sorted(stix - dejavu) if unicodedata.category(chr(c)) == "Ll")
    missing = drawn(f"a{letter}b")
    installed_fonts += [str(FONTS / "cmr10.ttf"), str(FONTS / "STIXGeneral.ttf")]
    text._find_font.cache_clear()
    text._render.cache_clear()
    found = drawn(f"a{letter}b")
    assert (found != missing).any()
    width = measure_text("a", 24)
    np.testing.assert_array_equal(found[:, : 10 + width], missing[:, : 10 + width])
    assert font_families("abc") == ["DejaVu Sans"]
    assert font_families(f"a{letter}b") == ["DejaVu Sans", "STIXGeneral"]


@pytest.mark.parametrize("content", [b"", b"no font"])
def test_a_file_that_is_no_font_is_passed_over(installed_fonts, tmp_path, content):
    (tmp_path / "a.ttf").write_bytes(content)
    installed_fonts.append(str(tmp_path / "a.ttf"))
    assert measure_text("篮", 24) == measure_text(NOWHERE, 24)


def test_letters_are_as_large_as_asked_and_as_wide_as_measured():
    for size in (10, 24):
        (left, right), (top, bottom) = extent(drawn("HEH", size))
        assert bottom - top + 1 == pytest.approx(CAPITAL_HEIGHT * size, abs=1)
        assert bottom == 31  # the line that they stand on
        assert right - left + 1 == pytest.approx(measure_text("HEH", size), abs=4)
    assert measure_text("", 24) == 0


def test_an_accent_of_its_own_stands_on_its_letter():
    assert measure_text("e\u0301e\u0301", 24) == measure_text("éé", 24)


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow does not shape scripts")
def test_a_percentage_comes_before_a_name_that_is_written_to_the_left():
    end = 10 + measure_text("75%", 24)
    np.testing.assert_array_equal(drawn("75% كرة")[:, :end], drawn("75%")[:, :end])
    joined, apart = measure_text("كرة", 24), sum(measure_text(letter, 24) for letter in "كرة")
    assert joined < apart


def test_a_control_character_is_a_space():
    np.testing.assert_array_equal(drawn("a\nb\tc"), drawn("a b c"))


def test_a_name_that_is_no_text_can_be_drawn():
    assert drawn("a\udce9b").any()


def test_what_is_outside_is_cut_off():
    whole = np.zeros((100, 500, 3), np.uint8)
    draw_text(whole, "Walking", (40, 50), 24)
    for left, top in ((60, 40), (0, 0), (100, 45), (45, 20)):
        part = np.zeros((20, 50, 3), np.uint8)
        draw_text(part, "Walking", (40 - left, 50 - top), 24)
        np.testing.assert_array_equal(part, whole[top : top + 20, left : left + 50])
    for place in ((-1000, 10), (10, 1000), (1000, -1000)):
        draw_text(part := np.zeros((20, 50, 3), np.uint8), "Walking", place, 24)
        assert not part.any()


def test_letters_have_a_colour_and_an_outline_on_any_ground():
    picture = np.full((48, 400, 3), (10, 200, 30), np.uint8)
    draw_text(picture, "HHH", (10, 32), 24, color=(250, 0, 90), outline=(0, 0, 255))
    colors = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    assert {(250, 0, 90), (0, 0, 255), (10, 200, 30)} <= colors
    outlined, plain = extent(drawn("H", outline=(0, 0, 9))), extent(drawn("H"))
    assert outlined[0][0] < plain[0][0] and outlined[1][0] < plain[1][0]


def test_the_longest_beginning_that_fits():
    words = "Größe im Wald"
    for width in (0, 30, 77, 1000):
        start = fit_text(words, 24, width)
        assert words.startswith(start) and measure_text(start, 24) <= width
        assert start == words or measure_text(words[: len(start) + 1], 24) > width
