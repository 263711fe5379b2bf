"""Whether a training step fits a TPU, from its compiler, without a TPU.

The step that `Distiller.fit` runs is lowered by TensorFlow to XLA's HLO, and libtpu's compiler,
which needs no device, compiles that for one core. What is not in it: the sum of the gradients over
cores, and the fetching of the next batch while a step runs.

`lowering` is TensorFlow's half; `compile_worker` is libtpu's, in a separate process; `check`
asks both, and searches for the largest batch.
"""
