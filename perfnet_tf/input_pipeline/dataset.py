"""Prepared records to batches: which clip comes when, and how it is cut.

Element k of the training order is clip `order(k)` cut by `view(k)`, and both depend only on the
seed and k. So a run that was stopped resumes with exactly the clips it would have had, without
reading those it has seen; several workers take their shares of one and the same order.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from perfnet_tf.config import ClipConfig, PoseRenderConfig
from perfnet_tf.errors import InputError, check_not_negative, check_whole
from perfnet_tf.input_pipeline import augment
from perfnet_tf.input_pipeline.order import training_order
from perfnet_tf.input_pipeline.record_index import RecordIndex
from perfnet_tf.label_kinds import MULTI_LABEL
from perfnet_tf.pose.rendering import render_pose
from perfnet_tf.records import reader
from perfnet_tf.records.folder import read_dataset_info, record_path
from perfnet_tf.records.verification import find_damaged_record
from perfnet_tf.streams import BOXES, CLIP_ID, KEYPOINTS, LABEL, RGB, STREAMS


def build_dataset(
    data_dir: str | pathlib.Path,
    split: str,
    *,
    clip: ClipConfig,
    streams: Collection[str] = (),
    supervised: str | None = None,
    render: PoseRenderConfig | None = None,
    batch_size: int,
    training: bool,
    seed: int = 0,
    start_step: int = 0,
    mirror: bool = True,
    sampling: str = "every_clip",
    view: augment.ClipView | None = None,
    drop_remainder: bool | None = None,
    with_clip_ids: bool = False,
    constants: Mapping[str, npt.NDArray[np.float32]] | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches of a prepared dataset, as `perfnet_tf.streams` describes them.

    Training: without end; every pass takes each clip once (but see `sampling`), in another order;
    random window, crop, mirroring and colours. Batches run across the ends of passes, so all have
    `batch_size` clips.
    Evaluation: one pass in stored order, all clips cut by one view.

    The stream `pose` puts `rgb`, `keypoints` and `boxes` into the batch: `streams_of` draws it, on
    the device that trains.

    With `supervised` this is a dataset for any `tf_keras` model:

        training = build_dataset(DATA, "train", clip=clip, supervised="rgb", batch_size=8,
                                 training=True)
        clips = read_dataset_info(DATA).split("train")["num_clips"]
        model.fit(training, epochs=10, steps_per_epoch=steps_per_epoch(clips, 8))

    Evaluation has a known cardinality, and `model.evaluate(dataset)` needs no number of steps.

    Args:
        data_dir: a prepared dataset.
        split: such as `train`.
        clip: the piece of a video to cut.
        streams: names of streams; not with `supervised`.
        supervised: name of one stream: elements are `(inputs, label)` rather than dicts, `pose`
            being drawn.
        render: how people are drawn for `supervised="pose"`; None is the default drawing.
        batch_size: clips per batch; over all workers and replicas if `input_context` is given.
        training: see above.
        seed: of the order and the augmentation.
        start_step: begin with this batch of the training order.
        mirror: mirror half of the training clips. Turn it off where classes name left or right.
        sampling: of training: `every_clip`, or `balanced`, where each class comes equally often.
        view: of evaluation; None takes the central window and crop, and changes nothing.
        drop_remainder: of evaluation; None keeps a last batch that is smaller.
        with_clip_ids: add `clip_id`.
        constants: name -> `[clips, ...]` in the order of the index: what is added to the batch of
            each clip, under that name.
        input_context: for `strategy.distribute_datasets_from_function`: this worker's share of each
            batch, in batches for one replica each.

    Returns:
        Dataset of dicts, or of pairs `(inputs, label)`, the label as in `label_kinds`. All shapes
        are static, but for the batch where the remainder is kept.

    Raises:
        InputError: no such dataset or split, records without what `streams` need, a damaged shard,
            a batch that the replicas cannot share evenly, or balanced sampling of clips with
            several labels.
    """
    info = read_dataset_info(data_dir)
    if supervised is not None:
        if streams or with_clip_ids:
            raise InputError(
                "A supervised dataset has the inputs of one stream and labels only. Received: "
                f"`supervised`={supervised!r} with `streams` or `with_clip_ids`. Leave those out."
            )
        streams = [supervised]
    reader.check_streams(streams, info)
    if not streams:
        raise InputError(f"streams must name at least one of {', '.join(STREAMS)}. Received: none.")
    check_whole(batch_size=batch_size)
    check_not_negative(start_step=start_step)
    if sampling == "balanced" and info.label_kind == MULTI_LABEL:
        raise InputError(
            "Classes are balanced where a clip has one label. Received: sampling=balanced for "
            f"{data_dir}, whose clips have several. Take every_clip."
        )
    index = RecordIndex.read(data_dir, split)
    worker, num_workers, replica_batch = _share(batch_size, input_context)
    worker_batch = batch_size // num_workers
    order = training_order(index.label, seed, sampling)
    compiled = training and augment.processor_compiles()

    if training:
        # The worker's i-th clip is number `element` of the order of all workers.
        @tf.autograph.experimental.do_not_convert
        def element_of(i: tf.Tensor) -> tf.Tensor:
            return (i // worker_batch * num_workers + worker) * worker_batch + i % worker_batch

        elements = tf.data.Dataset.range(start_step * worker_batch, 2**62).map(element_of)
    else:
        elements = tf.data.Dataset.range(worker, len(index), num_workers)

    values = {name: tf.constant(value) for name, value in (constants or {}).items()}

    # Converting it, and all that it calls, would take seconds: nothing depends on a value.
    @tf.autograph.experimental.do_not_convert
    def read(element: tf.Tensor) -> dict[str, tf.Tensor]:
        if training:
            position = order(element)
            cut = augment.draw_view(tf.stack([tf.cast(seed, tf.int64), element]), mirror=mirror)
        else:
            position, cut = element, view or augment.central_view()
        example = reader.parse_clip(
            index.load(position),
            indices=lambda num_frames: augment.frame_indices(num_frames, clip, cut.start),
            streams=streams,
            info=info,
            window=lambda stored: augment.crop_window(stored, clip, cut),
        )
        stored = example.pop(reader.STORED_SIZE, None)
        label = example.pop(LABEL)
        clip_id = example.pop(CLIP_ID)
        sources = _with_known_frames(example, clip.num_frames)
        batch = augment.cut_streams(sources, clip, cut, stored=stored, compiled=compiled)
        batch[LABEL] = label
        if with_clip_ids:
            batch[CLIP_ID] = clip_id
        return batch | {name: tf.gather(value, position) for name, value in values.items()}

    dataset = elements.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(replica_batch, drop_remainder=training or bool(drop_remainder))
    if supervised is not None:
        dataset = dataset.map(_pairs_of(supervised, render or PoseRenderConfig()))
    options = tf.data.Options()
    # The elements are shared out above.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def streams_of(
    batch: Mapping[str, tf.Tensor], streams: Collection[str], render: PoseRenderConfig
) -> dict[str, tf.Tensor]:
    """What networks see of a batch; draws the people if `pose` is asked for. Compiles under XLA.

    Args:
        batch: of `build_dataset`.
        streams: names of streams.
        render: how people are drawn.

    Returns:
        Stream name -> tensor, as `perfnet_tf.streams` describes them.

    Raises:
        InputError: the batch does not hold what a stream needs.
    """
    result = {}
    for stream in streams:
        entry = STREAMS[stream]
        missing = [key for key in entry.sources if key not in batch]
        if missing:
            raise InputError(
                f"The stream {stream!r} needs {', '.join(missing)} in the batch. "
                f"Received: {', '.join(sorted(batch))}. Name it in build_dataset's streams."
            )
        result[stream] = entry.view(batch, render) if entry.view else batch[entry.sources[0]]
    return result


def draw_pose(batch: Mapping[str, tf.Tensor], render: PoseRenderConfig) -> tf.Tensor:
    """The pose stream of a batch: its frames with people drawn in."""
    return _drawing(render)(batch[RGB], batch[KEYPOINTS], batch[BOXES])


@functools.cache
def _drawing(render: PoseRenderConfig) -> Callable[..., tf.Tensor]:
    """`render_pose`, compiled: its many passes over the frames become three."""

    def draw(frames: tf.Tensor, keypoints: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        return render_pose(frames, keypoints, boxes, render)

    compiled = tf.function(draw, jit_compile=True, autograph=False)

    def draw_compiled_if_alone(*inputs: tf.Tensor) -> tf.Tensor:
        # Replicas on one CPU would wait for each other inside a compiled function.
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return draw(*inputs)
        # As a function of one size: TensorFlow would warn of every fifth that it retraces.
        result: tf.Tensor = compiled.get_concrete_function(*inputs)(*inputs)
        return result

    return draw_compiled_if_alone


@contextlib.contextmanager
def explaining_damaged_records(data_dir: str | pathlib.Path, split: str) -> Iterator[None]:
    """Turns TensorFlow's error on damaged records, inside the block, into `InputError`.

    TensorFlow does not say in which file: all are read again to find it.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        for path in reader.shard_paths(data_dir, split):
            try:
                for _ in tf.data.TFRecordDataset(path):
                    pass
            except tf.errors.DataLossError:
                raise InputError(
                    f"{path} is damaged: a checksum in it is wrong. "
                    "Copy it again, or prepare the data again into an empty folder."
                ) from error
        raise
    except tf.errors.InvalidArgumentError as error:
        # Whole by its checksums, and yet no record of this dataset; or another's error.
        damage = find_damaged_record(data_dir, split)
        if damage is None:
            raise
        raise InputError(
            f"{record_path(data_dir, damage.file)} is damaged: {damage.problem} "
            "Copy it again, or prepare the data again into an empty folder."
        ) from error


def _pairs_of(
    stream: str, render: PoseRenderConfig
) -> Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]:
    """A function from a batch to the stream's inputs and the labels."""

    @tf.autograph.experimental.do_not_convert
    def pair(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return streams_of(batch, [stream], render)[stream], batch[LABEL]

    result: Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]] = pair
    return result


def _share(
    batch_size: int, input_context: tf.distribute.InputContext | None
) -> tuple[int, int, int]:
    """This worker's number, the number of workers, and the clips for one replica."""
    if input_context is None:
        return 0, 1, batch_size
    return (
        input_context.input_pipeline_id,
        input_context.num_input_pipelines,
        clips_per_replica(batch_size, input_context.num_replicas_in_sync),
    )


def clips_per_replica(batch_size: int, replicas: int, *, name: str = "batch_size") -> int:
    """The clips of a batch that one replica takes.

    Args:
        batch_size: clips, over all replicas.
        replicas: how many share them.
        name: of the argument that `batch_size` is, for the error.

    Raises:
        InputError: the replicas cannot share the batch evenly.
    """
    if batch_size % replicas:
        raise InputError(
            f"The replicas share a batch evenly. Received: `{name}`={batch_size} for "
            f"{replicas} replicas. Take a multiple of {replicas}."
        )
    return batch_size // replicas


def _with_known_frames(sources: dict[str, tf.Tensor], num_frames: int) -> dict[str, tf.Tensor]:
    for value in sources.values():
        value.set_shape([num_frames, *value.shape[1:]])
    return sources
