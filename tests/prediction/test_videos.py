import numpy as np
import pytest
import tf_keras
from prepared_clips import write_dataset
from prepared_records import read_clip
from small_clips import write_video
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores
from perfnet_tf.evaluation.protocol import evaluate_runs
from perfnet_tf.input_pipeline.augment import central_view, frame_indices
from perfnet_tf.prediction import predict_videos
from perfnet_tf.prediction.answers import ClipClassifier
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.records.schema import ClipRecord
from perfnet_tf.saved_model import export_saved_model, load_saved_model
from perfnet_tf.video.decode import read_video

CLASSES = ("class0", "class1", "class2")
CLIP = ClipConfig(6, 24, 32, frame_stride=2, short_side=28)


@pytest.mark.parametrize("num_frames", [60, 7])  # longer and shorter than the window
def test_prediction_gives_the_logits_of_evaluation(tmp_path, num_frames):
    write_video(tmp_path / "a.mp4", frames=num_frames)
    frames = read_video(tmp_path / "a.mp4", fps=12.5, short_side=40).frames
    stored = ClipRecord("a", 1, "class1", frames, np.arange(len(frames)) / 12.5, 12.5)
    data = write_dataset(
        tmp_path / "data",
        {"test": [stored]},
        num_classes=3,
        num_shards=1,
        pose=False,
        flow=False,
        fps=12.5,
    )
    tf_keras.utils.set_random_seed(0)
    config = ExperimentConfig(clip=ClipConfig(2, 8, 8), eval_clip=CLIP)
    model = build_tiny(config.model, len(CLASSES))
    kernel = model.classifier.kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape).astype(np.float32))
    run = Run(
        tmp_path / "run", config, CLASSES, model, {"dataset": {"fps": 12.5, "short_side": 40}}
    )
    evaluate_runs([run], data, tmp_path / "results", progress=False)
    expected = ClipScores.load(tmp_path / "results" / "logits.npz").logits[0]
    assert np.ptp(expected) > 0.01

    exported = load_saved_model(export_saved_model(run, tmp_path / "model"))
    frames = read_clip(data, "a").frames
    indices = frame_indices(len(frames), CLIP, central_view().start).numpy()
    (from_record,) = ClipClassifier(exported).classify([(frames, indices)])
    np.testing.assert_allclose(from_record, expected, rtol=1e-5, atol=1e-6)
    (from_video,) = predict_videos([tmp_path / "a.mp4"], exported)
    np.testing.assert_allclose(from_video.logits, expected, atol=0.05 * np.ptp(expected))
    assert from_video.incomplete is None
    assert from_video.classes == CLASSES


def test_the_limit_is_in_seconds_of_a_video_that_keeps_its_own_rate(tmp_path):
    write_video(tmp_path / "a.mp4", frames=100, fps=50)
    config = ExperimentConfig(clip=CLIP)
    dataset = {"fps": None, "short_side": 40}
    run = Run(tmp_path, config, CLASSES, build_tiny(config.model, 3), {"dataset": dataset})
    whole, part = (
        next(predict_videos([tmp_path / "a.mp4"], run, max_seconds=seconds)).incomplete
        for seconds in (2.5, 1.5)
    )
    assert whole is None and part == "longer than 1.5 s: only that much was used"
    with pytest.raises(InputError, match="`max_seconds` must be .* finite. Received: inf"):
        next(predict_videos([tmp_path / "a.mp4"], run, max_seconds=float("inf")))


def test_one_path_in_place_of_a_list_is_refused():
    with pytest.raises(InputError, match="a list of paths. Received: 'a.mp4'"):
        next(predict_videos("a.mp4", "no model"))
