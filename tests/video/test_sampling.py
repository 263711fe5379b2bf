import numpy as np
import pytest
from frame_resampling import resample_indices

from perfnet_tf.errors import InputError
from perfnet_tf.video import sampling


def run_clock(stated, interval):
    clock = sampling.FrameClock(interval)
    return [clock.tick(time) for time in stated]


def run_grid(timestamps, fps, last_interval):
    """What the streaming resampler picks, as indices."""
    grid = sampling.GridResampler(fps)
    ends = [*timestamps[1:], timestamps[-1] + last_interval]
    return [index for index, end in enumerate(ends) for _ in range(grid.advance(end))]


class TestFrameClock:
    def test_usable_timestamps_are_kept_relative_to_the_first(self):
        assert run_clock([5.0, 5.1, 5.4], 0.04) == pytest.approx([0, 0.1, 0.4])

    def test_file_without_timestamps_runs_at_its_frame_rate(self):
        assert run_clock([0, 0, 0, 0], 0.5) == [0, 0.5, 1.0, 1.5]

    def test_last_frame_without_time_follows_the_one_before(self):
        # What OpenCV states for the 30 fps XviD files of HMDB-51.
        assert run_clock([2 / 30, 3 / 30, 4 / 30, 0], 1 / 30) == pytest.approx(
            [0, 1 / 30, 2 / 30, 3 / 30]
        )

    def test_clock_that_restarts_continues(self):
        assert run_clock([0, 1, 2, 0, 1], 1.0) == [0, 1, 2, 3, 4]

    def test_leap_is_not_a_pause(self):
        assert run_clock([0, 0.5, 90000, 1.5], 0.5) == [0, 0.5, 1.0, 1.5]

    def test_pause_of_a_slow_video_is_kept(self):
        assert run_clock([0, 9, 30], 15.0) == [0, 9, 30]

    def test_swapped_timestamps_do_not_slow_the_video_down(self):
        # Frames stated in coding order, as some AVIs do: the rate stays 25 fps after the first.
        stated = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8]) * 0.04
        times = run_clock(stated, 0.04)
        assert (np.diff(times) > 0).all()
        assert times[-1] <= 0.04 * 12

    def test_nan_is_no_time(self):
        assert run_clock([float("nan"), 0.5, float("nan")], 0.5) == [0, 0.5, 1.0]


class TestResampleIndices:
    def test_50_to_25_takes_every_second_frame(self):
        times = np.arange(6) / 50
        assert resample_indices(times, 25).tolist() == [0, 2, 4]

    def test_30_to_25_drops_every_sixth_frame(self):
        # Grid 0, 40, 80, 120, 160 ms; frames at 0, 33.3, 66.7, 100, 133.3, 166.7 ms.
        times = np.arange(6) / 30
        assert resample_indices(times, 25).tolist() == [0, 1, 2, 3, 4]
        times = np.arange(30) / 30
        indices = resample_indices(times, 25)
        assert len(indices) == 25
        assert indices.tolist()[:7] == [0, 1, 2, 3, 4, 6, 7]

    def test_10_to_25_repeats_frames_2_or_3_times(self):
        times = np.arange(4) / 10
        # Grid 0 40 80 | 120 160 | 200 240 280 | 320 360 (ends before 400).
        assert resample_indices(times, 25).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]

    def test_variable_rate_follows_the_clock(self):
        times = [0, 0.1, 0.5, 0.6]
        # Grid 0, .2, .4, .6 with a last frame of .1 s: frames due at 0, .1, .1, .6.
        assert resample_indices(times, 5, last_interval=0.1).tolist() == [0, 1, 1, 3]

    def test_millisecond_rounding_of_matroska_loses_no_frame(self):
        times = np.round(np.arange(300) / 30, 3)
        assert resample_indices(times, 30).tolist() == list(range(300))

    @pytest.mark.parametrize("fps", [24, 25, 24000 / 1001, 30, 30000 / 1001, 50, 60])
    def test_own_rate_gives_every_frame_once(self, fps):
        times = np.arange(500) / fps
        assert resample_indices(times, fps).tolist() == list(range(500))

    def test_one_frame_appears_once(self):
        assert resample_indices([0], 25).tolist() == [0]
        assert resample_indices([0], 25, last_interval=0.2).tolist() == [0] * 5
        assert resample_indices([0], 25, last_interval=1e-4).tolist() == [0]

    def test_streaming_picks_the_same(self):
        random = np.random.default_rng(3)
        for fps in (1, 7.5, 24, 25, 29.97, 60):
            steps = random.choice([1e-4, 1 / 60, 1 / 30, 0.04, 0.3, 2.0], size=80)
            times = np.concatenate([[0], np.cumsum(steps)])
            expected = resample_indices(times, fps, last_interval=0.04)
            assert run_grid(times, fps, 0.04) == expected.tolist()
            # By the definition: the last frame due at grid time k / fps.
            for k, index in enumerate(expected):
                due = np.flatnonzero(times <= k / fps + sampling.TIME_TOLERANCE)
                assert index == due[-1]

    @pytest.mark.parametrize("times", [[], [0, 0], [0, 2, 1], [1, 2], [[0, 1]]])
    def test_times_that_do_not_rise_from_0_are_refused(self, times):
        with pytest.raises(InputError, match="rise from 0"):
            resample_indices(times, 25)

    def test_fps_must_be_positive(self):
        with pytest.raises(InputError, match="fps must be greater than 0"):
            resample_indices([0, 1], 0)


class TestSpreadIndices:
    def test_spread_takes_the_middle_of_equal_segments(self):
        assert sampling.spread_indices(100, 4).tolist() == [12, 37, 62, 87]
        assert sampling.spread_indices(5, 5).tolist() == [0, 1, 2, 3, 4]
        assert sampling.spread_indices(2, 4).tolist() == [0, 0, 1, 1]
        assert sampling.spread_indices(9, 1).tolist() == [4]

    @pytest.mark.parametrize("counts", [(4, 0), (0, 4)])
    def test_counts_out_of_range_are_refused(self, counts):
        with pytest.raises(InputError, match="must be"):
            sampling.spread_indices(*counts)
