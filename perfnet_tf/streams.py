"""What records hold (sources) and what networks receive (streams), in one table.

A *batch* is a dict with the keys below. A *source* is what records and batches hold; a *stream* is
what a network receives. Keypoints and boxes are the sources that the pose stream is drawn from
(`perfnet_tf.pose.rendering`), on the device that trains.

| key         | dtype    | shape                             | meaning                      |
|-------------|----------|-----------------------------------|------------------------------|
| `rgb`       | uint8    | `[batch, frames, height, width, 3]` | 0..255                     |
| `flow`      | float32  | `[batch, frames, height, width, 2]` | (dx, dy), pixels per frame |
| `pose`      | uint8    | `[batch, frames, height, width, 3]` | RGB with limbs drawn       |
| `keypoints` | float32  | `[batch, frames, people, 17, 3]`  | (x, y) of the crop, score    |
| `boxes`     | float32  | `[batch, frames, people, 4]`      | (x_min, y_min, x_max, y_max) |
| `label`     | int32    | `[batch]`                         | class index; of several      |
|             |          |                                   | labels see `label_kinds`     |
| `clip_id`   | string   | `[batch]`                         | evaluation only              |

Points are fractions of the crop, in [0, 1] where visible; an absent keypoint or person has score 0.

`register_source` and `register_stream` add further ones; one plugin file is enough:

    register_source(Source("depth", ("height", "width", 1), "float32", extract=estimate_depth))
    register_stream(Stream("depth", "depth", 1, ("depth",), normalize=lambda depth: depth - 0.5))

`perfnet prepare --sources=depth --plugin=FILE.py` then stores it, and `--stream=depth` uses it.
Importing this module does not import TensorFlow.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from perfnet_tf.errors import InputError
from perfnet_tf.registry import Registry

if TYPE_CHECKING:
    import numpy as np

RGB = "rgb"
FLOW = "flow"
POSE = "pose"
KEYPOINTS = "keypoints"
BOXES = "boxes"
LABEL = "label"
CLIP_ID = "clip_id"

#: Key of the class scores among a model's endpoints, and in a SavedModel's outputs.
LOGITS = "logits"
#: Key of the pooled feature vector, `[batch, channels]`.
FEATURES = "features"

#: COCO's keypoints of one person (`pose.skeleton`), and (x, y, score) of each.
NUM_KEYPOINTS = 17
PERSON_SHAPE = (NUM_KEYPOINTS, 3)

#: Flow beyond this many pixels per frame is clipped before it is scaled to [-1, 1]; reference
#: code: I3D (Carreira & Zisserman 2017), whose preprocessing two-stream 3-D networks share.
FLOW_CLIP = 20.0


class Storage(Protocol):
    """Settings of a dataset that decide how sources are stored; `DatasetInfo` has them."""

    @property
    def max_people(self) -> int:
        """People stored per frame."""

    @property
    def flow_bound(self) -> float:
        """Pixels per frame of the largest quantised flow."""


class StorageOptions(NamedTuple):
    """`Storage` by itself."""

    max_people: int
    flow_bound: float


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when the function is first called."""

    def call(*args: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args)

    call.__name__ = name
    return call


_STORING, _CUTTING = "perfnet_tf.records.stored_sources", "perfnet_tf.input_pipeline.cutting"
_decode_maps = _later(_STORING, "decode_maps")


@dataclass(frozen=True)
class Source:
    """What records and batches hold for each frame.

    Attributes:
        name: its key in a batch.
        shape: of one frame: numbers, and the names `height`, `width` and `people`.
        dtype: of its values in a batch: `uint8` or `float32`.
        extract: how `prepare`, `predict` and `explain` compute it: `extract(frames, fps)` gets
            consecutive uint8 RGB frames `[frames, height, width, 3]` and the frames per second,
            and returns `[frames, *shape]`. The frames have the rate and size of the records
            (`prepare --fps --short_side`; a video of fewer frames per second repeats frames).
            `prepare` passes the whole video, `predict` at least the clip. None for the package's
            own, which have their own options.
        encode: `encode(values, storage)`: `[frames, *shape]` to a list with one entry per frame:
            bytes, or numbers where `floats`. The default is lossless.
        decode: the inverse, a graph function: `decode(stored, storage)`. `stored` has the chosen
            frames, at least one: string `[frames]`, or float32 `[frames, *shape]` where `floats`.
            None inverts the default of `encode`.
        floats: whether a record holds numbers instead of bytes.
        cut: `cut(values, placement)`, a graph function: resizes and crops `[frames, *shape]` as
            `input_pipeline.cutting.Placement` says. The default is for maps
            `[frames, height, width, channels]`.
        mirror: `mirror(values)`, a graph function: the same of the mirrored clip. The default
            reverses the columns of a map.
        colored: whether training changes its brightness and contrast.
        key: its feature list in a record; by default `source/NAME`.
        context: `context(storage)` gives further features of a record, key to bytes or number.
        option: the argument of `PrepareConfig`, and attribute of `DatasetInfo`, that says whether
            records hold it; None if all do.
        remedy: how to prepare records that hold it; by default `--sources=NAME`.
        content: what it is, for messages; by default its name.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    extract: Callable[[np.ndarray, float], np.ndarray] | None = None
    encode: Callable[[np.ndarray, Storage], list[Any]] = _later(_STORING, "encode_maps")
    decode: Callable[[Any, Storage], Any] | None = None
    floats: bool = False
    cut: Callable[[Any, Any], Any] = _later(_CUTTING, "cut_map")
    mirror: Callable[[Any], Any] = _later(_CUTTING, "mirror_map")
    colored: bool = False
    key: str = ""
    context: Callable[[Storage], Mapping[str, bytes | float]] | None = None
    option: str | None = "sources"
    remedy: str = ""
    content: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in ("uint8", "float32"):
            raise InputError(f"A source is uint8 or float32. Received: {self.dtype!r}.")
        for field, value in (
            ("key", f"source/{self.name}"),
            ("remedy", f"--sources={self.name}"),
            ("content", self.name),
        ):
            object.__setattr__(self, field, getattr(self, field) or value)

    def restore(self, stored: Any, storage: Storage) -> Any:
        """What a record stores of some frames as `[frames, *shape]`; a graph function."""
        return self.decode(stored, storage) if self.decode else _decode_maps(stored, self)

    def is_held(self, info: Any) -> bool:
        """Whether the records of a dataset (`DatasetInfo`) hold it."""
        if self.option is None:
            return True
        value = getattr(info, self.option)
        return self.name in value if self.option == "sources" else value is not None

    def frame_shape(self, **sizes: int | None) -> tuple[int | None, ...]:
        """`shape` with numbers in place of names; names that are not given are None."""
        return tuple(sizes.get(size) if isinstance(size, str) else size for size in self.shape)

    def stored_size(self, storage: Storage) -> int:
        """Numbers in a record for each frame; 0 where it holds bytes."""
        if not self.floats:
            return 0
        sizes = self.frame_shape(people=storage.max_people)
        return math.prod(size for size in sizes if size is not None)


@dataclass(frozen=True)
class Stream:
    """What a network receives: `[batch, frames, height, width, channels]`.

    Attributes:
        name: such as `rgb`; the value of `--stream`.
        title: how people read it.
        channels: of its frames.
        sources: names of the sources that it is made of.
        view: `view(batch, render)`, a graph function, makes it of a batch and the
            `PoseRenderConfig`; None takes the first source as it is.
        limit: for float values: clipped to +-limit, then divided by it.
        normalize: a graph function from float32 values to the network's input range. With neither
            `limit` nor `normalize` the frames are pictures of 3 channels, uint8 in 0..255 or float
            in 0..1, scaled as `ModelConfig.input_scaling` says.
        picture: `picture(values, largest)`: NumPy `[..., height, width, channels]` to uint8 RGB.
            `largest` is the magnitude to show in full colour, or None. By default pictures are
            shown as they are and other values as levels of grey: from the least, black, to the
            most, white; or, where they have both signs, with 0 in the middle.
        content: what it is, in a sentence; by default its title.
        unit: the unit or range of its values, for messages.
    """

    name: str
    title: str
    channels: int
    sources: tuple[str, ...]
    view: Callable[[Mapping[str, Any], Any], Any] | None = None
    limit: float | None = None
    normalize: Callable[[Any], Any] | None = None
    picture: Callable[[np.ndarray, float | None], np.ndarray] | None = None
    content: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.normalize is not None:
            raise InputError(f"A stream has normalize or limit. Received: both for {self.name!r}.")
        if self.is_picture and self.channels != 3:
            raise InputError(
                "A stream of pictures has 3 channels. "
                f"Received: {self.channels} for {self.name!r}. Give normalize or limit."
            )
        object.__setattr__(self, "content", self.content or self.title)

    @property
    def is_picture(self) -> bool:
        """Whether its frames are pictures: uint8 in 0..255 or float in 0..1."""
        return self.limit is None and self.normalize is None

    @property
    def dtypes(self) -> tuple[str, ...]:
        """What exported networks accept, float32 first."""
        return ("float32", "uint8") if self.is_picture else ("float32",)

    @property
    def values(self) -> str:
        """Its dtype and range, such as `float32 in [0, 1] or uint8`."""
        if self.is_picture:
            return "float32 in [0, 1] or uint8"
        return f"float32 {self.unit}".strip()

    @property
    def shape(self) -> str:
        """Its shape, for people."""
        return f"[batch, frames, height, width, {self.channels}]"

    def draw(self, values: np.ndarray, largest: float | None = None) -> np.ndarray:
        """Its frames as uint8 RGB; see `picture`."""
        if self.picture is not None:
            return self.picture(values, largest)
        if self.is_picture:
            return values
        import numpy as np  # every command's --help imports this module

        grey = np.asarray(values, np.float32).mean(axis=-1, keepdims=True)
        least, most = float(grey.min()), float(grey.max())
        if least < 0 < most:
            least, most = -max(-least, most), max(-least, most)
        levels = np.rint((grey - least) * (255 / max(most - least, 1e-12)))
        return np.repeat(levels.astype(np.uint8), 3, axis=-1)


def _flow_context(storage: Storage) -> Mapping[str, bytes | float]:
    return {"FORWARD_FLOW/image/format": b"PNG", "flow/bound": storage.flow_bound}


#: What records hold.
SOURCES: Registry[Source] = Registry(
    "source",
    {
        RGB: Source(
            RGB,
            ("height", "width", 3),
            "uint8",
            encode=_later(_STORING, "encode_rgb"),
            decode=_later(_STORING, "decode_rgb"),
            colored=True,
            key="image/encoded",
            option=None,
        ),
        FLOW: Source(
            FLOW,
            ("height", "width", 2),
            encode=_later(_STORING, "encode_flow_maps"),
            decode=_later(_STORING, "decode_flow_maps"),
            cut=_later(_CUTTING, "cut_flow"),
            mirror=_later(_CUTTING, "mirror_flow"),
            key="FORWARD_FLOW/image/encoded",
            context=_flow_context,
            option="flow",
            remedy="--flow=tvl1",
            content="optical flow",
        ),
        KEYPOINTS: Source(
            KEYPOINTS,
            ("people", *PERSON_SHAPE),
            encode=_later(_STORING, "encode_people"),
            decode=lambda stored, _: stored,
            cut=_later(_CUTTING, "cut_keypoints"),
            mirror=_later(_CUTTING, "mirror_keypoints"),
            key="pose/keypoints",
            floats=True,
            option="pose",
            remedy="--pose=posenet",
            content="keypoints",
        ),
        BOXES: Source(
            BOXES,
            ("people", 4),
            encode=_later(_STORING, "encode_people"),
            decode=lambda stored, _: stored,
            cut=_later(_CUTTING, "cut_boxes"),
            mirror=_later(_CUTTING, "mirror_boxes"),
            key="pose/boxes",
            floats=True,
            option="pose",
            remedy="--pose=posenet",
            content="keypoints",
        ),
    },
)

#: What networks receive.
STREAMS: Registry[Stream] = Registry(
    "stream",
    {
        RGB: Stream(RGB, "RGB", 3, (RGB,), content="RGB frames"),
        FLOW: Stream(
            FLOW,
            "flow",
            2,
            (FLOW,),
            limit=FLOW_CLIP,
            picture=_later("perfnet_tf.flow.encoding", "flow_to_color"),
            content="optical flow",
            unit="(dx, dy) in pixels per frame",
        ),
        POSE: Stream(
            POSE,
            "pose",
            3,
            (RGB, KEYPOINTS, BOXES),
            view=_later("perfnet_tf.input_pipeline.dataset", "draw_pose"),
            content="poses drawn on RGB frames",
        ),
    },
)


class _Field(Mapping[str, Any]):
    """One field of every stream, by the stream's name."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __getitem__(self, name: str) -> Any:
        return getattr(STREAMS[name], self._field)

    def __iter__(self) -> Iterator[str]:
        return iter(STREAMS)

    def __len__(self) -> int:
        return len(STREAMS)


#: Fields of the streams, those that are registered later included.
STREAM_TITLES: Mapping[str, str] = _Field("title")
STREAM_CHANNELS: Mapping[str, int] = _Field("channels")
STREAM_SOURCES: Mapping[str, tuple[str, ...]] = _Field("sources")


def register_source(source: Source) -> None:
    """Adds a source that `prepare` can store.

    Raises:
        InputError: the name is taken, or it has no `extract`.
    """
    if source.extract is None:
        raise InputError(f"A registered source needs `extract`. Received: {source.name!r} without.")
    SOURCES.register(source.name, source)


def register_stream(stream: Stream) -> None:
    """Adds a stream that networks can be trained on.

    Raises:
        InputError: the name is taken, or one of its sources is not registered.
    """
    for name in stream.sources:
        SOURCES.choose(name)
    if not stream.sources:
        raise InputError(f"A stream needs a source. Received: {stream.name!r} without.")
    STREAMS.register(stream.name, stream)
