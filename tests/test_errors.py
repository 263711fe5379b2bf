import os

import pytest

from perfnet_tf.errors import InputError, check_choice, first_line, is_utf8


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n cause\n"), "cause"),
        (EOFError(), "EOFError"),
        (IndexError("\n"), "IndexError"),
    ],
)
def test_first_line_of_an_error_that_may_say_nothing(error, line):
    assert first_line(error) == line


def test_names_of_files_that_are_no_text_are_recognised():
    assert is_utf8("grüße/é.mp4")
    assert not is_utf8(os.fsdecode(b"caf\xe9.mp4"))


def test_misspelt_choice_is_suggested_and_not_guessed():
    check_choice("flow", "tvl1", ["tvl1", "dis"])
    with pytest.raises(InputError, match="Received: 'tv-l1'. Did you mean 'tvl1'"):
        check_choice("flow", "tv-l1", ["tvl1", "dis"])
