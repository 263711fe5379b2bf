import pytest

from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.errors import InputError

CLAP = [
    "Film_(Part2)__[_NEW_]_clap_u_nm_np1_fr_med_3.avi",
    "Show!_clap_h_cm_np2_le_goo_0.avi",
    "Show!_clap_h_cm_np2_le_goo_1.avi",
]
JUMP = ["A_clap_and_jump_jump_f_cm_np1_ba_bad_12.avi"]


def make_dataset(folder, *, clap=(1, 2, 0), present=(*CLAP, *JUMP), flat=False):
    for name in present:
        path = folder / name if flat else folder / ("jump" if name in JUMP else "clap") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lines = [f"{name} {use} \n" for name, use in zip(CLAP, clap, strict=True)]
    (folder / "clap_test_split1.txt").write_text("".join(lines))
    (folder / "jump_test_split1.txt").write_text(f"{JUMP[0]} 1 \n")
    return folder


@pytest.mark.parametrize("flat", [False, True])
def test_reads_labels_splits_and_films_and_leaves_out_unused_clips(tmp_path, flat):
    catalog = load_catalog("hmdb51", videos=make_dataset(tmp_path, flat=flat))
    assert catalog.classes == ("clap", "jump")
    assert [(clip.label, clip.split) for clip in catalog.clips] == [
        (0, "train"),
        (0, "test"),
        (1, "train"),
    ]
    assert catalog.clips[0].clip_id == f"clap/{CLAP[0].removesuffix('.avi')}"
    assert catalog.clips[0].path.endswith(CLAP[0])
    assert [clip.group for clip in catalog.clips] == [
        "clap/Film_(Part2)__[_NEW_]",
        "clap/Show!",
        "jump/A_clap_and_jump",
    ]


def test_absent_files_are_counted_unless_unused(tmp_path):
    make_dataset(tmp_path, present=CLAP[:1] + JUMP)
    with pytest.raises(InputError, match=r"lacks 1 of 3.*clap/Show!_clap_h_cm_np2_le_goo_0\.avi"):
        load_catalog("hmdb51", videos=tmp_path)


def test_videos_in_no_list_are_counted_and_unused_ones_are_not(tmp_path):
    make_dataset(tmp_path, present=(*CLAP, *JUMP, "mine_clap_h_cm_np2_le_goo_7.avi"))
    (note,) = load_catalog("hmdb51", videos=tmp_path).notes
    assert "1 video of" in note and "clap/mine_clap_h_cm_np2_le_goo_7.avi" in note


def test_malformed_line_says_where(tmp_path):
    make_dataset(tmp_path, clap=(1, 3, 0))
    with pytest.raises(
        InputError, match="0 .unused., 1 .train. or 2.*clap_test_split1.txt, line 2"
    ):
        load_catalog("hmdb51", videos=tmp_path)


def test_split_without_lists(tmp_path):
    make_dataset(tmp_path)
    with pytest.raises(InputError, match=r"\*_test_split2.txt.*testTrainMulti_7030_splits"):
        load_catalog("hmdb51", videos=tmp_path, split=2)


@pytest.mark.data
def test_official_lists_give_the_official_counts(real_data, tmp_path):
    lists = real_data / "splits" / "hmdb51"
    for path in lists.glob("*_test_split1.txt"):
        folder = tmp_path / path.name.removesuffix("_test_split1.txt")
        folder.mkdir()
        for line in path.read_text().splitlines():
            (folder / line.split()[0]).touch()
    for split in (1, 2, 3):
        catalog = load_catalog("hmdb51", videos=tmp_path, splits=lists, split=split)
        assert catalog.clips_per_split == {"train": 3570, "test": 1530}
        per_class = [clip.label for clip in catalog.clips if clip.split == "train"]
        assert {per_class.count(label) for label in range(51)} == {70}
        assert catalog.notes == ()
        assert all(clip.group for clip in catalog.clips)
    labels = (real_data / "splits" / "labels" / "label_map_hmdb51.txt").read_text().split()
    assert list(catalog.classes) == labels
