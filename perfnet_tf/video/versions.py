"""Which libraries read a video, for the record of what was made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import av

from perfnet_tf.installed import installed_versions, opencv_versions

#: Changes when this package reads a pixel of any video otherwise than before: 1 was OpenCV's
#: reader, whose progressive videos with square pixels are those of 2 to the bit.
READER = "2"


def library_versions() -> dict[str, str]:
    """`reader` (`READER`), and the versions of `av`, its `libavcodec`, `opencv`, `tensorflow`."""
    versions = {
        "reader": READER,
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
    }
    # The others are not imported for it.
    if opencv := dict.fromkeys(opencv_versions().values()):
        versions["opencv"] = " or ".join(opencv)
    return versions | installed_versions("tensorflow")


def join_versions(all_versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Name -> its different versions, joined by commas, for what several runs have made."""
    names = dict.fromkeys(name for versions in all_versions for name in versions)
    return {
        name: ", ".join(dict.fromkeys(v[name] for v in all_versions if name in v)) for name in names
    }


def reading_difference(versions: Mapping[str, str]) -> str | None:
    """How videos were read otherwise when `versions` made the records; None: no pixel differs.

    Records without versions are older, and hold what this reader gives for videos of their kind.
    """
    readers = versions.get("reader", READER).split(", ")
    if set(readers) <= {"1", READER}:
        return None
    return (
        f"Its training videos were read by another version of perfnet_tf (reader {readers[-1]}, "
        f"here {READER}): their pixels may differ from those that it receives here."
    )
