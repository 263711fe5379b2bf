"""How fast networks run here, next to those that users would otherwise pick.

Every contender is a separate process (with its own peak memory), answering one run at a
time; they take turns, so that whatever else the machine does falls on all alike. Ratios are medians
over the turns.
"""

from perfnet_tf.benchmark.comparison import BenchmarkConfig, run_benchmark

__all__ = ["BenchmarkConfig", "run_benchmark"]
