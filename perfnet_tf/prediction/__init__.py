"""Predictions for videos, folders of videos and cameras.

`videos` answers for the middle of each video, as evaluation does; `windows` all along it; `camera`
while it is being filmed; `annotation` writes the answers onto the frames. Memory holds a window of
frames at the size that the model was trained with, however long a video is.
"""

from perfnet_tf.prediction.videos import Prediction, list_videos, predict_videos
from perfnet_tf.prediction.windows import WindowPrediction, predict_windows

__all__ = ["Prediction", "WindowPrediction", "list_videos", "predict_videos", "predict_windows"]
