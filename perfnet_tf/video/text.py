"""Text on frames, in any script for which the computer has a font."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

Color = tuple[int, int, int]

#: Height of a capital letter of DejaVu Sans as a share of the font's size.
CAPITAL_HEIGHT = 0.73
_WHITE: Color = (255, 255, 255)
#: Fonts of these styles are used only if no plain one has the letter.
_STYLED = re.compile("black|bold|condensed|heavy|italic|light|mono|oblique|serif|thin", re.I)
#: A font of Apple's whose every letter is a picture of the script that it belongs to.
_LAST_RESORT = "lastresort"


def draw_text(
    picture: np.ndarray,
    text: str,
    place: tuple[int, int],
    size: int,
    *,
    color: Color = _WHITE,
    outline: Color | None = None,
) -> None:
    """Writes a line of text into a picture; what falls outside is cut off.

    The font is DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and
    more. For other letters, such as Chinese, Japanese and Korean ones, it is the first installed
    font that has them. A letter that no font has appears as a box: install a font that has it
    (on Debian, `fonts-noto-cjk`).

    Args:
        picture: uint8 RGB `[height, width, 3]`, changed in place.
        text: control characters appear as spaces.
        place: (x, y) in pixels of the left end of the line that the letters stand on.
        size: of the font in pixels; capital letters are `CAPITAL_HEIGHT` of it.
        color: RGB of the letters.
        outline: RGB of a border one pixel wide around the letters; None draws none.
    """
    if outline is not None:
        _paint(picture, _render(text, size, 1), place, outline)
    _paint(picture, _render(text, size, 0), place, color)


@functools.lru_cache(maxsize=256)
def measure_text(text: str, size: int) -> int:
    """Width in pixels of what `draw_text` writes."""
    return round(sum(_font(path, size).getlength(piece) for path, piece in _runs(text)))


def fit_text(text: str, size: int, width: int) -> str:
    """The longest beginning of a text that is at most `width` pixels wide."""
    shortest, longest = 0, len(text)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if measure_text(text[:middle], size) <= width:
            shortest = middle
        else:
            longest = middle - 1
    return text[:shortest]


def font_families(text: str) -> list[str]:
    """Names under which matplotlib has the fonts that `draw_text` takes for a text."""
    return [
        _family(path) for path in dict.fromkeys([_dejavu(), *(path for path, _ in _runs(text))])
    ]


def _paint(
    picture: np.ndarray,
    rendered: tuple[np.ndarray, int, int],
    place: tuple[int, int],
    color: Color,
) -> None:
    mask, left, top = rendered
    left, top = left + place[0], top + place[1]
    part = picture[max(0, top) : max(0, top + mask.shape[0])]
    part = part[:, max(0, left) : max(0, left + mask.shape[1])]
    first_row, first_column = max(0, -top), max(0, -left)
    mask = mask[first_row : first_row + part.shape[0], first_column : first_column + part.shape[1]]
    part[:] = np.round(part + (np.array(color, np.float32) - part) * mask[..., None])


# The same answers are on many frames.
@functools.lru_cache(maxsize=256)
def _render(text: str, size: int, border: int) -> tuple[np.ndarray, int, int]:
    """Opacity in [0, 1], float32 `[height, width]`, and where its left upper corner belongs."""
    direction = "ltr" if features.check("raqm") else None  # percentages come before Arabic names
    pieces, x = [], 0.0
    left = top = right = bottom = 0
    for path, piece in _runs(text):
        font = _font(path, size)
        box = font.getbbox(piece, anchor="ls", direction=direction, stroke_width=border)
        left, right = min(left, int(x + box[0]) - 1), max(right, int(x + box[2]) + 2)
        top, bottom = min(top, int(box[1]) - 1), max(bottom, int(box[3]) + 1)
        pieces.append((x, piece, font))
        x += font.getlength(piece, direction=direction)
    image = Image.new("L", (right - left, bottom - top))
    canvas = ImageDraw.Draw(image)
    for x, piece, font in pieces:
        canvas.text(
            (x - left, -top),
            piece,
            fill=255,
            font=font,
            anchor="ls",
            direction=direction,
            stroke_width=border,
        )
    return np.asarray(image, np.float32) / 255, left, top


def _runs(text: str) -> Iterator[tuple[str, str]]:
    """(path of the font, letters), in the order of the text."""
    path, piece = _dejavu(), ""
    for letter in text:
        category = unicodedata.category(letter)
        letter = " " if category == "Cc" else letter
        # Accents, joiners and the like belong to the letter before them.
        if category not in ("Cc", "Cf", "Mn", "Me") and not _has(path, letter):
            found = _find_font(letter)
            if found is not None and found != path:
                if piece:
                    yield path, piece
                path, piece = found, ""
        piece += letter
    if piece:
        yield path, piece


@functools.cache
def _dejavu() -> str:
    import matplotlib

    return str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@functools.lru_cache(maxsize=4096)
def _find_font(letter: str) -> str | None:
    return next((path for path in (_dejavu(), *_installed_fonts()) if _has(path, letter)), None)


@functools.cache
def _installed_fonts() -> tuple[str, ...]:
    # Not matplotlib's list of fonts, which it keeps on disk and does not renew.
    from matplotlib.font_manager import findSystemFonts

    paths = [path for path in findSystemFonts() if _LAST_RESORT not in path.lower()]
    return tuple(
        sorted(paths, key=lambda path: (bool(_STYLED.search(os.path.basename(path))), path))
    )


@functools.lru_cache(maxsize=4096)
def _has(path: str, letter: str) -> bool:
    face = _face(path)
    return face is not None and bool(face.get_char_index(ord(letter)))


@functools.lru_cache(maxsize=8)  # each holds its file open
def _face(path: str) -> FT2Font | None:
    """None: no font, or one of pictures, which have one size."""
    from matplotlib.ft2font import FT2Font

    try:
        face = FT2Font(path)
        return face if face.scalable else None
    except (OSError, RuntimeError):
        return None


@functools.lru_cache(maxsize=32)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.cache
def _family(path: str) -> str:
    from matplotlib.font_manager import FontProperties, fontManager

    fontManager.addfont(path)
    return FontProperties(fname=path).get_name()
