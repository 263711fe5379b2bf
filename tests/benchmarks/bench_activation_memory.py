"""What a budget for activations saves: memory that a training step takes at most, and its time.

    python tests/benchmarks/bench_activation_memory.py --clip=16x112x112 --batch=4 --budgets=2,1,0.6

Each budget, in GiB, has a process of its own, which takes two steps of the real distiller without
teachers on noise. The memory is the process's at its peak less what it had before the first step:
the weights, TensorFlow and the batch. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `import perfnet_tf` does, which must come before TensorFlow for it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

GIB = 2**30


def measure(backbone: str, clip: str, batch: int, budget: float) -> None:
    """Prints the plan, the memory and the time of one budget."""
    import tensorflow as tf

    from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
    from perfnet_tf.tpu_check.lowering import batch_specs, build_distiller
    from perfnet_tf.training.start import plan_memory

    config = ExperimentConfig(
        clip=ClipConfig.parse(clip),
        model=ModelConfig(backbone),
        train=TrainConfig(batch_size=batch, activation_gib=budget),
    )
    plan = plan_memory(config, 400, batch, for_xla=False)
    assert plan is not None
    distiller = build_distiller(config, 400, computed_again=plan.blocks)
    specs = batch_specs(distiller.streams, config.clip, batch)
    noise = {
        name: tf.cast(tf.random.uniform(spec.shape, 0, 255 if name == "rgb" else 8), spec.dtype)
        for name, spec in specs.items()
    }
    step = tf.function(lambda values: distiller.train_step(values)["loss"], autograph=False)
    step = step.get_concrete_function(noise)
    before, ended, peak = resident(), threading.Event(), [0.0]

    def watch() -> None:
        while not ended.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    step(noise)
    began = time.process_time()
    step(noise)
    seconds = time.process_time() - began
    ended.set()
    watcher.join()
    print(f"{budget:g} GiB: {plan}")
    print(f"    {peak[0] - before:.2f} GiB at the peak, {seconds:.1f} s of processor time a step")


def resident() -> float:
    """GiB of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / GIB


def main() -> None:
    """Measures each budget in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="r3d50_g")
    parser.add_argument("--clip", default="16x112x112")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--budgets", default="2,1,0.6")
    arguments = parser.parse_args()
    budgets = arguments.budgets.split(",")
    if len(budgets) == 1:
        measure(arguments.backbone, arguments.clip, arguments.batch, float(budgets[0]))
        return
    for budget in budgets:
        subprocess.run(
            [sys.executable, __file__, f"--backbone={arguments.backbone}"]
            + [f"--clip={arguments.clip}", f"--batch={arguments.batch}", f"--budgets={budget}"],
            check=True,
        )


if __name__ == "__main__":
    main()
