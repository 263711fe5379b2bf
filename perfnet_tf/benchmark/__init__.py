"""Speed, memory and agreement of networks on this machine, next to other libraries' networks.

Every contender is a process of its own (its peak memory is its own, too), answering one run at a
time; they take turns, so that whatever else the machine does falls on all alike. Ratios are of
medians over the turns.
"""

from perfnet_tf.benchmark.comparison import run_benchmark
from perfnet_tf.benchmark.config import BenchmarkConfig

__all__ = ["BenchmarkConfig", "run_benchmark"]
