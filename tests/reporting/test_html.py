import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.reporting.html import (
    Chart,
    Picture,
    Report,
    Result,
    ShownPrediction,
    stack_frames,
    wilson_interval,
    write_report,
)


class Page(HTMLParser):
    """Collects tags, attributes and text; fails on a tag that is closed out of order."""

    VOID = {"meta", "img", "link", "br"}

    def __init__(self, document):
        super().__init__()
        self.open, self.attributes, self.text = [], [], []
        self.feed(document)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def full_report(name="RGB"):
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    return Report(
        title=f"A report of {name}",
        summary=["What was done."],
        num_classes=8,
        results=[
            Result(name, "Single networks", "RGB", 0.25, 0.75, 80),
            Result("RGB + flow", "Late fusion", "RGB, flow", 0.5, 1.0, 80),
        ],
        charts=[Chart("Loss", "epoch", "nats", {name: ([1, 2], [2.0, 1.0]), "flow": ([1], [3.0])})],
        pictures=[Picture(image, f"Frames of {name}")],
        predictions=[ShownPrediction("a.mp4", name, [(name, 0.9), ("other", 0.1)], None)],
        settings={"seed": "0"},
        timings={"train": 61.2, "evaluate": 3.0},
        commands=[("Train again:", f"perfnet train --output='{name}'")],
    )


def test_the_page_is_one_well_formed_file_that_fetches_nothing(tmp_path):
    path = write_report(full_report(), tmp_path / "report.html")
    document = path.read_text(encoding="utf-8")
    page = Page(document)
    links = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert links and all(value.startswith("data:image/png;base64,") for value in links)
    assert "http" not in document and "@import" not in document and "url(" not in document
    assert "<script" not in document
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_the_page_says_every_number(tmp_path):
    page = Page(write_report(full_report(), tmp_path / "r.html").read_text(encoding="utf-8"))
    text = re.sub(r"\s+", " ", " ".join(page.text))  # the percent sign stands after a thin space
    for expected in ("25.0 %", "75.0 %", "50.0 %", "100.0 %", "80 test clips of 8 classes"):
        assert expected in text
    assert "Guessing gives 12.5 % top-1 and 62.5 % top-5" in text
    assert "1 min 01 s" in text and "3.0 s" in text and "1 min 04 s" in text
    assert "perfnet train" in text
    assert "90.0 %" in text  # the prediction


def test_names_are_escaped_wherever_they_stand(tmp_path):
    evil = "<script>alert('x')</script>\"&"
    document = write_report(full_report(evil), tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in document
    Page(document)


def test_embedded_pictures_are_the_given_ones(tmp_path):
    report = full_report()
    document = write_report(report, tmp_path / "r.html").read_text(encoding="utf-8")
    pngs = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)\"", document)]
    images = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) for png in pngs]
    np.testing.assert_array_equal(images[0][..., ::-1], report.pictures[0].image)
    chart = images[1]
    # Both lines are there: Okabe and Ito's blue and vermilion (BGR).
    for color in ((178, 114, 0), (0, 94, 213)):
        assert (np.abs(chart.astype(int) - color).sum(axis=-1) < 30).sum() > 20


def test_empty_parts_are_left_out(tmp_path):
    report = Report(title="Nothing yet", summary=[], num_classes=2)
    document = write_report(report, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<section>" not in document


def test_wilson_interval_against_published_numbers():
    # Newcombe 1998, Table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    low, high = wilson_interval(1.0, 29)
    assert (low, high) == pytest.approx((1 - 0.1170, 1.0), abs=1e-3)
    with pytest.raises(InputError, match="share"):
        wilson_interval(1.5, 3)


def test_stacked_frames_keep_their_aspect_and_order():
    wide = np.zeros((3, 10, 20, 3), np.uint8)
    wide[1] = 200
    tall = np.full((3, 20, 10, 3), 90, np.uint8)
    picture = stack_frames({"RGB": wide, "flow": tall}, height=40)
    assert picture.image.shape == (40 + 4 + 40, 3 * 80 + 2 * 4, 3)
    assert picture.image[20, 84 + 40, 0] == 200 and picture.image[20, 40, 0] == 0
    assert picture.image[60, 10, 0] == 90
    assert picture.caption == "From top to bottom: RGB, flow."
    with pytest.raises(InputError, match="equally many"):
        stack_frames({"RGB": wide, "flow": tall[:2]})


def test_a_result_out_of_range_is_refused():
    with pytest.raises(InputError, match="top1=25"):
        Result("RGB", "g", "RGB", 25.0, 50.0, 80)
