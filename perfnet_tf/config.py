"""What a run is made of: frozen dataclasses that check themselves and travel as JSON.

An `ExperimentConfig` is everything that decides a training run except the data; a run writes the
one it used as `config.json` next to its results. Presets (`perfnet_tf.presets`) are instances.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.errors import InputError, check_choice, check_not_negative, check_positive
from perfnet_tf.streams import STREAMS

T = TypeVar("T")

#: What networks compute in while they train; variables, logits and losses are float32 in both.
TRAINING_PRECISIONS = ("float32", "mixed_bfloat16")
#: Optimizer -> its default peak rate; None scales the paper's to the batch. Adam's is our choice,
#: of I3D fine-tuned at a batch of 8.
OPTIMIZERS: Mapping[str, float | None] = {"sgd": None, "adam": 3e-5, "adamw": 3e-5}
CLASS_WEIGHTS = ("none", "balanced")
SAMPLINGS = ("every_clip", "balanced")
KEPT_WEIGHTS = ("last", "best")
#: What networks compute in for inference only; bfloat16 is of weights and activations both, twice
#: as fast as float32 on CPUs with AVX512-BF16, more with AMX, and slower on CPUs with neither.
INFERENCE_PRECISIONS = ("float32", "bfloat16")

#: Bounds the memory that an untrusted configuration can ask for.
MAX_WIDTH = 16


@dataclass(frozen=True)
class ClipConfig:
    """The piece of a video that a network sees.

    Attributes:
        num_frames: frames in the clip.
        height, width: size of the crop in pixels.
        frame_stride: take every n-th stored frame.
        short_side: frames are resized so that their shorter side has this many pixels before the
            crop; None keeps the paper's ratio of 256 to 224 for the crop's shorter side.
    """

    num_frames: int = 64
    height: int = 224
    width: int = 224
    frame_stride: int = 1
    short_side: int | None = None

    def __post_init__(self) -> None:
        check_positive(
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            frame_stride=self.frame_stride,
            short_side=self.short_side,
        )
        if self.resized_short_side < min(self.height, self.width):
            raise InputError(
                "short_side must be at least the shorter side of the crop. Received: "
                f"short_side={self.short_side}, crop={self.height}x{self.width}. "
                "Raise short_side or crop less."
            )

    @property
    def resized_short_side(self) -> int:
        """The shorter side, in pixels, that frames are resized to before the crop."""
        if self.short_side is not None:
            return self.short_side
        # PERF-Net Sec. 4: short side 256, crop 224 (training). 224x298 crops keep 256 as well.
        return round(min(self.height, self.width) * 256 / 224)

    @classmethod
    def parse(cls, text: str, **overrides: Any) -> ClipConfig:
        """Reads `FRAMESxHEIGHTxWIDTH`, such as `64x224x224`.

        Raises:
            InputError: `text` has another form.
        """
        match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text.strip())
        if not match:
            raise InputError(
                f"A clip is written FRAMESxHEIGHTxWIDTH, such as 64x224x224. Received: {text!r}."
            )
        num_frames, height, width = map(int, match.groups())
        return cls(num_frames, height, width, **overrides)

    def __str__(self) -> str:
        return f"{self.num_frames}x{self.height}x{self.width}"


@dataclass(frozen=True)
class ModelConfig:
    """A backbone and its options.

    Attributes:
        backbone: `r3d50_g` (PERF-Net Table 1), `s3d_g`, `i3d_g`; `r3d50`, `s3d` or `i3d` (without
            gating); or a registered one (`register_backbone`).
        width_multiplier: scales every layer's channels; 1 is the paper's network.
        dropout_rate: dropout before the classifier. Paper silent; 0.5 is I3D's and Model Garden's.
        weight_decay: decay of convolution kernels, added to the loss as half its square sum times
            this rate, so that the gradient is `weight_decay * kernel` (PERF-Net Sec. 4: 1e-4). The
            optimizer `adamw` decays the same kernels itself, by `learning_rate * weight_decay` of
            their value in each step, and not through the loss; usual values are then larger, such
            as 0.05.
        options: the backbone's own constructor arguments, such as `gating`.
    """

    backbone: str = "r3d50_g"
    width_multiplier: float = 1.0
    dropout_rate: float = 0.5
    weight_decay: float = 1e-4
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("backbone", self.backbone, BACKBONES)
        check_positive(width_multiplier=self.width_multiplier)
        if self.width_multiplier > MAX_WIDTH:
            raise InputError(
                f"width_multiplier must be at most {MAX_WIDTH}. Received: {self.width_multiplier}."
            )
        check_not_negative(weight_decay=self.weight_decay)
        if not 0 <= self.dropout_rate < 1:
            raise InputError(f"dropout_rate must be in [0, 1). Received: {self.dropout_rate!r}.")


@dataclass(frozen=True)
class PoseRenderConfig:
    """How people are drawn for the pose stream: the rows of PERF-Net Table 2.

    Attributes:
        marker: `bar` draws limbs as line segments, `dot` draws joints as filled circles.
        num_colors: 6 (left arm, right arm, body, head, left leg, right leg) or 13 (one per limb).
        ratio_aware: thickness in proportion to the person's box, or the same for everyone.
        background: `rgb` draws on the frame, `black` on nothing.
        min_score: keypoints below this score are not drawn; a limb needs both of its ends.
        thickness: of a bar (and the diameter of a dot): a share of the longer side of the person's
            box when `ratio_aware`, else of the frame's shorter side. Paper silent; our choice.
    """

    marker: str = "bar"
    num_colors: int = 13
    ratio_aware: bool = True
    background: str = "rgb"
    min_score: float = 0.2
    thickness: float = 0.05

    def __post_init__(self) -> None:
        check_choice("marker", self.marker, ("dot", "bar"))
        check_choice("num_colors", self.num_colors, (6, 13))  # type: ignore[arg-type]
        check_choice("background", self.background, ("rgb", "black"))
        check_not_negative(min_score=self.min_score)
        check_positive(thickness=self.thickness)


#: How a student matches a teacher's logits, see `DistillConfig.term`.
DISTILLATION_TERMS = ("squared_error", "standardized", "kl")
CLIP_WEIGHTS = ("alike", "confidence")


@dataclass(frozen=True)
class DistillConfig:
    """How a student learns from its teachers; the defaults are PERF-Net Sec. 3.3.

    Attributes:
        loss: `separate` (Eq. 1): one term per teacher; `unified`: one against the sum of the
            teachers' logits.
        teacher_weights: weight of each teacher's term; a teacher not named weighs 1. The unified
            loss has one term, whose weight is that of `unified`. The paper is silent on weights.
        term: `squared_error` (Eq. 1): between logits. `standardized`: between logits of mean 0 and
            deviation 1 over the classes, so that a teacher's scale does not matter (logits as in
            Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024). `kl`: the
            divergence of the student's probabilities from the teacher's, both softened by
            `temperature` (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
        temperature: of `kl`: logits are divided by it, and the term is multiplied by its square.
        clip_weights: `alike`, or `confidence`: a teacher's term is weighted, clip by clip, by the
            probability that it gives to the clip's label (of a clip without a label: to its first
            answer).
        unlabelled_batch: clips without labels in each batch, where there are any; None is as many
            as clips with labels. They add to the teachers' terms only.
        teacher_windows: 0: teachers see the student's own crop at every step, as in the paper.
            Else their logits are computed once, before the first step: the mean over so many
            windows of each video's central crop. A student then trains as fast as a network
            without teachers, on what they say of the video rather than of the crop.
        feature_weight: of one further term for each teacher: the mean squared error between the
            student's pooled features and the teacher's, which are as many (as in Crasto et al.,
            "MARS", CVPR 2019). One weight for all teachers, under either loss; `teacher_weights`
            and `clip_weights` are for the terms of logits. 0 has no such term.
    """

    loss: str = "separate"
    teacher_weights: Mapping[str, float] = field(default_factory=dict)
    term: str = "squared_error"
    temperature: float = 1.0
    clip_weights: str = "alike"
    unlabelled_batch: int | None = None
    teacher_windows: int = 0
    feature_weight: float = 0.0

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, ("separate", "unified"))
        check_choice("term", self.term, DISTILLATION_TERMS)
        check_choice("clip_weights", self.clip_weights, CLIP_WEIGHTS)
        check_not_negative(**{f"teacher_weights[{k}]": v for k, v in self.teacher_weights.items()})
        check_positive(temperature=self.temperature, unlabelled_batch=self.unlabelled_batch)
        check_not_negative(teacher_windows=self.teacher_windows, feature_weight=self.feature_weight)
        if self.feature_weight and self.teacher_windows:
            raise InputError(
                "Teachers that are computed once give their logits alone. Received: "
                f"`feature_weight={self.feature_weight:g}` with "
                f"`teacher_windows={self.teacher_windows}`. Leave one of them at 0."
            )
        if self.temperature != 1 and self.term != "kl":
            raise InputError(
                "A temperature softens the probabilities of `term=kl`. Received: "
                f"`temperature={self.temperature:g}` with `term={self.term}`. Leave it at 1."
            )

    def of(self, loss: str, teachers: Iterable[str]) -> DistillConfig:
        """These settings for another loss and its teachers: weights of the terms that it has."""
        terms = ("unified",) if loss == "unified" else tuple(teachers)
        kept = {name: weight for name, weight in self.teacher_weights.items() if name in terms}
        return dataclasses.replace(self, loss=loss, teacher_weights=kept)


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation; the defaults are PERF-Net Sec. 4, but for the batch and its rate.

    Attributes:
        epochs: passes over the training clips, each the nearest number of whole batches.
        batch_size: global batch, over all replicas.
        learning_rate: peak of the schedule: linear warm-up from 0, then cosine to 0. None scales
            the paper's 1.6 at a batch of 2048 linearly to `batch_size`; for `adam` and `adamw` it
            is 3e-5.
        warmup_epochs: length of the warm-up (paper: 2k of 22k steps; None takes the same share).
        momentum: of the SGD; Adam's decay of the first moment.
        mirror: mirror half of the training clips, as the paper does. Turn it off where classes tell
            left from right: the mirrored clip of one is a clip of the other.
        precision: `float32` or `mixed_bfloat16`; logits and losses are float32 in both.
        seed: of initialisation, data order and augmentation.
        checkpoint_every_steps: save at least this often. In any case a run saves every ten minutes,
            and at the end of an epoch unless it saved less than half a minute before.
        steps_per_execution: steps run as one graph call.
        rematerialize: compute the activations inside of each cell again for the gradient rather
            than keep them: less memory for about a third more arithmetic, and the same results.
        synchronize_batch_norm: normalise by the moments of all replicas' clips, not each replica's
            own: several devices then train as one would. Paper silent; the usual is not to.
        validate_every_epochs: evaluate this often on the split `val`, or `test` if there is none;
            0 never does. The paper keeps the last weights, and so does this by default.
        optimizer: `sgd` with momentum, as the paper's; `adam`; or `adamw`, whose weight decay is
            decoupled from the gradient (Loshchilov & Hutter 2019, arXiv:1711.05101): see
            `ModelConfig.weight_decay`.
        head_learning_rate_scale: the classifier's learning rate as a multiple of the others'.
        freeze: what is not trained and not decayed, its batch norms in inference mode: any of
            `batch_norm` (every batch norm), `stem` (the first endpoint and what it is computed
            from: the first convolution), `all_but_head` (everything but the classifier), or the
            name of an endpoint: everything that it is computed from.
        class_weights: `none`, or `balanced`: a clip's cross-entropy is weighted by
            clips / (classes * clips of its class), so that every class weighs the same.
        sampling: `every_clip`: each pass takes every clip once; `balanced`: each class is equally
            often in a pass, which takes the clips of small classes several times.
        early_stopping_epochs: stop when this many epochs have brought no better validation (top-1,
            then cross-entropy); 0 never does.
        keep: the `last` weights, or the `best` by validation. This and early stopping need
            `validate_every_epochs`, and data with a split `val`.
        accumulate: micro-batches that a step's batch is computed in, one after the other, their
            gradients summed: the memory for activations is that of `batch_size / accumulate` clips.
            The step is that of the whole batch, but that batch norm has the statistics of each
            micro-batch, and dropout draws for each.
        label_smoothing: share of each label that is spread over all classes in training, in [0, 1):
            the label's class has the target `1 - label_smoothing * (1 - 1 / classes)`. Of clips
            with several labels each target moves by it towards 1/2. Evaluation is not smoothed.
        clip_norm: gradients whose norm over all variables is larger are scaled to it, after their
            sum over micro-batches and replicas; None never does. The gradient of a decay in the
            loss is a part of them.
        mixup: alpha of Beta(alpha, alpha), from which the share is drawn that a clip and its label
            have in its mixture with another clip of its replica's batch (Zhang et al. 2018,
            arXiv:1710.09412); 0 mixes nothing. See `perfnet_tf.distill.mixup`.
        activation_gib: recompute as few activations as bring those of a step within so many GiB on
            each device, by estimate (`perfnet_tf.models.activation_memory`), what costs least
            first; None goes by `rematerialize`. Weights, their gradients, batches and what single
            operations need for themselves come on top.
    """

    epochs: int = 100
    batch_size: int = 16
    learning_rate: float | None = None
    warmup_epochs: float | None = None
    momentum: float = 0.9
    mirror: bool = True
    precision: str = "float32"
    seed: int = 0
    checkpoint_every_steps: int | None = None
    steps_per_execution: int = 1
    rematerialize: bool = False
    synchronize_batch_norm: bool = False
    validate_every_epochs: int = 0
    optimizer: str = "sgd"
    head_learning_rate_scale: float = 1.0
    freeze: tuple[str, ...] = ()
    class_weights: str = "none"
    sampling: str = "every_clip"
    early_stopping_epochs: int = 0
    keep: str = "last"
    accumulate: int = 1
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    mixup: float = 0.0
    activation_gib: float | None = None

    def __post_init__(self) -> None:
        check_positive(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            head_learning_rate_scale=self.head_learning_rate_scale,
            checkpoint_every_steps=self.checkpoint_every_steps,
            steps_per_execution=self.steps_per_execution,
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            activation_gib=self.activation_gib,
        )
        check_not_negative(
            momentum=self.momentum,
            seed=self.seed,
            validate_every_epochs=self.validate_every_epochs,
            early_stopping_epochs=self.early_stopping_epochs,
            warmup_epochs=self.warmup_epochs or 0,
            mixup=self.mixup,
        )
        check_choice("precision", self.precision, TRAINING_PRECISIONS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        check_choice("sampling", self.sampling, SAMPLINGS)
        check_choice("keep", self.keep, KEPT_WEIGHTS)
        if self.batch_size % self.accumulate:
            raise InputError(
                "Micro-batches are of one size. Received: "
                f"`accumulate`={self.accumulate}, `batch_size`={self.batch_size}. Take a batch "
                f"that is a multiple of {self.accumulate}."
            )
        if self.rematerialize and self.activation_gib is not None:
            raise InputError(
                "Either all activations are computed again, or as few as fit. Received: "
                f"`rematerialize`=True and `activation_gib`={self.activation_gib:g}. Leave one out."
            )
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"`label_smoothing` must be in [0, 1). Received: {self.label_smoothing!r}."
            )
        if self.selects and not self.validate_every_epochs:
            raise InputError(
                "Early stopping and the best weights are decided by validation. Received: "
                f"`early_stopping_epochs`={self.early_stopping_epochs}, `keep`={self.keep!r}, "
                "without validation. Give `validate_every_epochs`, such as 1."
            )
        if isinstance(self.freeze, str):
            raise InputError(f"freeze is a sequence of names. Received: {self.freeze!r}.")
        object.__setattr__(self, "freeze", tuple(self.freeze))

    @property
    def selects(self) -> bool:
        """Whether validation decides which weights are the result."""
        return self.early_stopping_epochs > 0 or self.keep == "best"

    @property
    def micro_batch_size(self) -> int:
        """Clips that are computed at once, over all replicas."""
        return self.batch_size // self.accumulate

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate`, or the default of the optimizer: see there."""
        if self.learning_rate is not None:
            return self.learning_rate
        default = OPTIMIZERS[self.optimizer]
        return 1.6 * self.batch_size / 2048 if default is None else default

    @property
    def resolved_warmup_epochs(self) -> float:
        """`warmup_epochs`, or the paper's share: 2k of 22k steps."""
        return self.epochs * 2 / 22 if self.warmup_epochs is None else self.warmup_epochs


@dataclass(frozen=True)
class ExperimentConfig:
    """One training run: a stream, a network, its clips, its optimisation, and its teachers if any.

    Attributes:
        stream: name of what the network receives: `rgb`, `flow`, `pose`, or a registered one.
        clip: training clips.
        eval_clip: evaluation clips (one central crop); None takes `clip`.
        model, pose_render, distill, train: see their classes. `distill` says how teachers teach; a
            run without any has None there.
    """

    stream: str = "rgb"
    clip: ClipConfig = field(default_factory=ClipConfig)
    eval_clip: ClipConfig | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    pose_render: PoseRenderConfig = field(default_factory=PoseRenderConfig)
    distill: DistillConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_choice("stream", self.stream, STREAMS)

    @property
    def resolved_eval_clip(self) -> ClipConfig:
        """`eval_clip`, or the training clip."""
        return self.eval_clip or self.clip

    @property
    def unlabelled_batch(self) -> int:
        """Clips without labels in a batch, where there are any."""
        wanted = self.distill.unlabelled_batch if self.distill else None
        return self.train.batch_size if wanted is None else wanted

    def replace(self, **changes: Any) -> ExperimentConfig:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """The configuration as indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ExperimentConfig:
        """Reads what `to_json` wrote.

        Raises:
            InputError: not JSON, an unknown key, or a value that breaks a rule.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The configuration is not valid JSON: {error}.") from error
        return _from_mapping(cls, values)


def _from_mapping(cls: type[T], values: Any) -> T:
    """Builds a config dataclass from plain JSON values, nested ones included."""
    if not isinstance(values, Mapping):
        raise InputError(f"{cls.__name__} must be a JSON object. Received: {values!r}.")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(
            f"{cls.__name__} has no {', '.join(unknown)}. It has: {', '.join(sorted(hints))}."
        )
    arguments = {}
    for name, value in values.items():
        nested = _config_class(hints[name])
        absent = value is None and type(None) in typing.get_args(hints[name])
        arguments[name] = value if nested is None or absent else _from_mapping(nested, value)
    try:
        return cls(**arguments)
    except TypeError as error:  # a string where a number belongs
        raise InputError(f"{cls.__name__} holds a value of the wrong type: {error}.") from error


def _config_class(hint: Any) -> Any:
    """The config dataclass that a type hint names, also as `X | None`; else None."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)
