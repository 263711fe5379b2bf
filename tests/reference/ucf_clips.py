"""Two real clips of UCF-101 with official lists of their own."""

import pathlib
import shutil

_FILES = {"train": "v_Lunges_g08_c01.avi", "test": "v_Lunges_g01_c03.avi"}


def copy_two_clips(real_data, folder) -> tuple[pathlib.Path, pathlib.Path]:
    """Copies a clip to train on and one to test; returns the folders of videos and of lists."""
    source = real_data / "videos" / "ucf101_8class" / "Lunges"
    videos, lists = folder / "videos", folder / "lists"
    (videos / "Lunges").mkdir(parents=True)
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Lunges\n")
    for split, suffix in (("train", " 1"), ("test", "")):
        shutil.copy(source / _FILES[split], videos / "Lunges")
        (lists / f"{split}list01.txt").write_text(f"Lunges/{_FILES[split]}{suffix}\n")
    return videos, lists
