"""Folders of videos by their names alone, which is all that a catalog reads."""

from perfnet_tf.datasets.catalog import load_catalog


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def load(videos, **arguments):
    return load_catalog("folder", videos=videos, **arguments)
