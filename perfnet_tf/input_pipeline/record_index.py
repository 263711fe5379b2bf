"""Finds the k-th record of a split without reading those before it."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.records import reader, schema
from perfnet_tf.records.folder import read_index

#: A TFRecord frames its data: 8 bytes of length and 4 of checksum before, 4 of checksum after.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


@dataclass(frozen=True, eq=False)
class RecordIndex:
    """Where every record of a split is.

    Training picks clips at random from the whole split: a shuffle buffer would hold thousands of
    clips of several megabytes each, and could not be resumed without reading all of it again.

    Attributes:
        shards: paths of the TFRecord files.
        shard: int64 `[clips]`, index into `shards`.
        label: int64 `[clips]`, the class; of several the first.
        offset: int64 `[clips]`, where the record's framing begins in its shard.
    """

    shards: tuple[str, ...]
    shard: np.ndarray
    label: np.ndarray
    offset: np.ndarray

    @classmethod
    def read(cls, data_dir: str | pathlib.Path, split: str) -> RecordIndex:
        """Reads the index of a split of a prepared dataset.

        Raises:
            InputError: no such dataset or split, a split without clips, or a shard that is missing
                or too short for the records it should hold.
        """
        shards = reader.shard_paths(data_dir, split)
        entries = list(read_index(data_dir, split))
        if not entries:
            raise InputError(
                f"The split {split!r} of {data_dir} has no clips. "
                f"See {schema.FAILURES_FILE} there for those that could not be read."
            )
        needed = [0] * len(shards)
        for entry in entries:
            end = entry.offset + entry.length + _FOOTER_BYTES
            needed[entry.shard] = max(needed[entry.shard], end)
        for path, num_bytes in zip(shards, needed, strict=True):
            held = tf.io.gfile.stat(path).length
            if held < num_bytes:
                raise InputError(
                    f"{path} is damaged: its clips need {num_bytes} bytes, it holds {held}. "
                    "Copy it again, or prepare the data again into an empty folder."
                )
        return cls(
            tuple(shards),
            np.array([entry.shard for entry in entries]),
            np.array([entry.label for entry in entries]),
            np.array([entry.offset - _HEADER_BYTES for entry in entries]),
        )

    def __len__(self) -> int:
        return len(self.shard)

    def load(self, position: tf.Tensor) -> tf.Tensor:
        """The serialized record at `position` (int64 scalar); a graph function."""
        dataset = tf.raw_ops.TFRecordDatasetV2(
            filenames=tf.gather(tf.constant(self.shards), tf.gather(self.shard, position))[None],
            compression_type="",
            buffer_size=0,  # one record is read at once: into its place, and nothing beyond it
            byte_offsets=tf.gather(self.offset, position)[None],
        )
        return tf.raw_ops.DatasetToSingleElement(
            dataset=tf.raw_ops.TakeDataset(
                input_dataset=dataset,
                count=tf.constant(1, tf.int64),
                output_types=[tf.string],
                output_shapes=[[]],
            ),
            output_types=[tf.string],
            output_shapes=[[]],
        )[0]
