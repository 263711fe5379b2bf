"""The TPUs that can be compiled for, as their vendor describes them."""

from __future__ import annotations

from dataclasses import dataclass

from perfnet_tf.errors import check_choice


@dataclass(frozen=True)
class Chip:
    """A generation of TPUs. A core is what TensorFlow sees as one device.

    Attributes:
        name: such as `v3`.
        topology: the smallest slice that libtpu compiles for.
        cores: cores on a chip.
        memory_gib: memory of a core, GiB.
        peak_tflops: bfloat16 peak of a core, 10^12 operations a second.
        bandwidth_gb: memory bandwidth of a core, 10^9 bytes per second.
    """

    name: str
    topology: str
    cores: int
    memory_gib: float
    peak_tflops: float
    bandwidth_gb: float


#: Figures a chip from Google's documentation (cloud.google.com/tpu/docs), shared by its cores. The
#: two cores of a v4 chip work as one.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", "v2:2x2", 2, 8.0, 46 / 2, 700 / 2),
        Chip("v3", "v3:2x2x1", 2, 16.0, 123 / 2, 900 / 2),
        Chip("v4", "v4:2x2x1", 1, 32.0, 275, 1228),
        Chip("v5e", "v5e:2x2", 1, 16.0, 197, 819),
        Chip("v6e", "v6e:2x2", 1, 32.0, 918, 1640),
    )
}


def chip_named(name: str) -> Chip:
    """The chip `name`.

    Raises:
        InputError: none of `CHIPS`.
    """
    check_choice("A TPU", name, CHIPS)
    return CHIPS[name]
