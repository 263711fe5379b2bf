"""S3D as published, by its layer table, in NumPy: tensors under their published names, and logits.

Two publications: TF-slim's `s3dg` (TF1 names, TensorFlow's SAME padding, gates, temporal
convolutions with a bias), and torchvision's `s3d` (PyTorch's names, layout and padding, batch norm
after every convolution). Slow and in float64; nothing here comes from the package.
"""

import itertools

import numpy as np

#: Cell -> channels: branch 0; branch 1: 1x1, 3x3; branch 2: 1x1, 3x3; branch 3.
#: Source: Szegedy et al. 2015, Table 1.
CELLS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
#: Pooling before a cell: window and stride.
POOLS = {
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
#: torchvision's number of a stage in `features`.
NUMBERS = dict(zip(CELLS, (5, 6, 8, 9, 10, 11, 12, 14, 15), strict=True))


class SlimS3DG:
    """The names, padding and units of TF-slim's `s3dg`."""

    def __init__(self, width=0.25, num_classes=5, channels=3, stem_frames=3, gated=True, seed=0):
        self.width, self.num_classes, self.channels = width, num_classes, channels
        self.stem_frames, self.gated = stem_frames, gated
        self.tensors = {}
        self._rng = np.random.default_rng(seed)
        self._making = True
        self.logits(np.zeros((1, 9, 32, 40, channels)))
        self._making = False

    def depth(self, channels):
        return max(int(channels * self.width), 16)

    def tensor(self, name, make):
        if self._making:
            self.tensors[name] = make().astype(np.float32)
        return self.tensors[name].astype(np.float64)

    def kernel(self, name, shape, gain=2.0):
        deviation = np.sqrt(gain / np.prod(shape[:-1]))
        return self.tensor(name, lambda: self._rng.normal(0, deviation, shape))

    def vector(self, name, size, low, high):
        return self.tensor(name, lambda: self._rng.uniform(low, high, size))

    def logits(self, video):
        """`video` is what the first convolution sees, [-1, 1]."""
        net = self.conv(video, "Conv2d_1a_7x7", 64, (self.stem_frames, 7, 7), (2, 2, 2))
        net = max_pool(net, (1, 3, 3), (1, 2, 2), "SAME")
        net = self.conv(net, "Conv2d_2b_1x1", 64, (1, 1, 1))
        net = self.separable(net, "Conv2d_2c_3x3", 192)
        for cell, (a, b, c, d, e, f) in CELLS.items():
            if cell in POOLS:
                net = max_pool(net, *POOLS[cell], "SAME")
            branch = f"{cell}/Branch_"
            pooled = max_pool(net, (3, 3, 3), (1, 1, 1), "SAME")
            one = self.conv(net, f"{branch}1/Conv2d_0a_1x1", b, (1, 1, 1))
            two = self.conv(net, f"{branch}2/Conv2d_0a_1x1", d, (1, 1, 1))
            parts = [
                self.gated_conv(net, f"{branch}0/Conv2d_0a_1x1", a),
                self.separable(one, f"{branch}1/Conv2d_0b_3x3", c),
                self.separable(two, f"{branch}2/Conv2d_0b_3x3", e),
                self.gated_conv(pooled, f"{branch}3/Conv2d_0b_1x1", f),
            ]
            net = np.concatenate(parts, -1)
        steps = windows_mean(net)
        head = "Logits/Conv2d_0c_1x1"
        kernel = self.kernel(f"{head}/weights", (1, 1, 1, net.shape[-1], self.num_classes))
        bias = self.vector(f"{head}/biases", self.num_classes, -1, 1)
        return steps.mean(axis=(1, 2, 3)) @ kernel[0, 0, 0] + bias

    def conv(self, video, name, channels, size, strides=(1, 1, 1)):
        filters = self.depth(channels)
        kernel = self.kernel(f"{name}/weights", (*size, video.shape[-1], filters))
        mean = self.vector(f"{name}/BatchNorm/moving_mean", filters, -0.1, 0.1)
        variance = self.vector(f"{name}/BatchNorm/moving_variance", filters, 0.5, 1.5)
        beta = self.vector(f"{name}/BatchNorm/beta", filters, 0, 0.5)
        outputs = conv(video, kernel, strides, "SAME")
        return np.maximum((outputs - mean) / np.sqrt(variance + 0.001) + beta, 0)

    def gated_conv(self, video, name, channels):
        return self.gate(name, self.conv(video, name, channels, (1, 1, 1)))

    def separable(self, video, name, channels):
        spatial = self.conv(video, name, channels, (1, 3, 3))
        filters = spatial.shape[-1]
        kernel = self.kernel(f"{name}/temporal/weights", (3, 1, 1, filters, filters))
        bias = self.vector(f"{name}/temporal/biases", filters, 0, 0.5)
        return self.gate(name, np.maximum(conv(spatial, kernel, (1, 1, 1), "SAME") + bias, 0))

    def gate(self, name, video):
        if not self.gated:
            return video
        size = video.shape[-1]
        name = f"{name}/self_gating/transformer_W/weights"
        weights = self.kernel(name, (1, 1, 1, size, size), gain=4.0)[0, 0, 0]
        opening = 1 / (1 + np.exp(-video.mean(axis=(1, 2, 3)) @ weights))
        return video * opening[:, None, None, None, :]


class TorchvisionS3D:
    """The names, layout, padding and units of torchvision's `s3d`."""

    def __init__(self, width=0.25, num_classes=5, seed=0):
        self.width, self.num_classes = width, num_classes
        self.tensors = {}
        self._rng = np.random.default_rng(seed)
        self._making = True
        self.logits(np.zeros((1, 9, 32, 40, 3)))
        self._making = False

    def tensor(self, name, make):
        if self._making:
            self.tensors[name] = make().astype(np.float32)
        return self.tensors[name].astype(np.float64)

    def logits(self, video):
        """`video` is what the first convolution sees: Kinetics' mean and deviation removed."""
        net = self.separable(video, "features.0", 64, 7, 2)
        net = max_pool(net, (1, 3, 3), (1, 2, 2), "HALF")
        net = self.unit(net, "features.2", 64, (1, 1, 1))
        net = self.separable(net, "features.3", 192, 3, 1)
        for cell, (a, b, c, d, e, f) in CELLS.items():
            if cell in POOLS:
                net = max_pool(net, *POOLS[cell], "HALF")
            name = f"features.{NUMBERS[cell]}.branch"
            one = self.unit(net, f"{name}1.0", b, (1, 1, 1))
            two = self.unit(net, f"{name}2.0", d, (1, 1, 1))
            pooled = max_pool(net, (3, 3, 3), (1, 1, 1), "HALF")
            parts = [
                self.unit(net, f"{name}0", a, (1, 1, 1)),
                self.separable(one, f"{name}1.1", c, 3, 1),
                self.separable(two, f"{name}2.1", e, 3, 1),
                self.unit(pooled, f"{name}3.1", f, (1, 1, 1)),
            ]
            net = np.concatenate(parts, -1)
        steps = windows_mean(net)
        shape = (self.num_classes, net.shape[-1], 1, 1, 1)
        weight = self.tensor("classifier.1.weight", lambda: self._rng.normal(0, 0.1, shape))
        bias = self.tensor("classifier.1.bias", lambda: self._rng.normal(size=self.num_classes))
        return steps.mean(axis=(1, 2, 3)) @ weight[:, :, 0, 0, 0].T + bias

    def unit(self, video, name, channels, size, strides=(1, 1, 1)):
        filters = max(int(channels * self.width), 16)
        shape = (filters, video.shape[-1], *size)
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        kernel = self.tensor(f"{name}.0.weight", lambda: self._rng.normal(0, deviation, shape))
        norm = {
            kind: self.tensor(f"{name}.1.{kind}", lambda r=r: self._rng.uniform(*r, filters))
            for kind, r in {
                "weight": (0.5, 1.5),
                "bias": (0, 0.5),
                "running_mean": (-0.1, 0.1),
                "running_var": (0.5, 1.5),
            }.items()
        }
        self.tensors[f"{name}.1.num_batches_tracked"] = np.array(7, np.int64)
        outputs = conv(video, kernel.transpose(2, 3, 4, 1, 0), strides, "HALF")
        outputs = (outputs - norm["running_mean"]) / np.sqrt(norm["running_var"] + 0.001)
        return np.maximum(outputs * norm["weight"] + norm["bias"], 0)

    def separable(self, video, name, channels, size, stride):
        spatial = self.unit(video, f"{name}.0", channels, (1, size, size), (1, stride, stride))
        return self.unit(spatial, f"{name}.1", channels, (size, 1, 1), (stride, 1, 1))


def _pad(video, window, strides, padding, value):
    widths = [(0, 0)]
    for size, length, stride in zip(video.shape[1:4], window, strides, strict=True):
        if padding == "HALF":
            half = (length - 1) // 2
            widths.append((half, half))
        else:
            total = max((-(-size // stride) - 1) * stride + length - size, 0)
            widths.append((total // 2, total - total // 2))
    return np.pad(video, [*widths, (0, 0)], constant_values=value)


def _taps(video, window, strides):
    """For each position in the window: its place, and what all windows have there."""
    counts = []
    for size, length, stride in zip(video.shape[1:4], window, strides, strict=True):
        counts.append((size - length) // stride + 1)
    for tap in itertools.product(*map(range, window)):
        t, y, x = (
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(tap, counts, strides, strict=True)
        )
        yield tap, video[:, t, y, x]


def conv(video, kernel, strides, padding):
    padded = _pad(video, kernel.shape[:3], strides, padding, 0.0)
    return sum(part @ kernel[tap] for tap, part in _taps(padded, kernel.shape[:3], strides))


def max_pool(video, window, strides, padding):
    padded = _pad(video, window, strides, padding, -np.inf)
    return np.max([part for _, part in _taps(padded, window, strides)], axis=0)


def windows_mean(video):
    """Average pooling by windows of 2 x 7 x 7, or as large as the video, of stride 1."""
    window = [min(length, size) for length, size in zip((2, 7, 7), video.shape[1:4], strict=True)]
    return np.mean([part for _, part in _taps(video, window, (1, 1, 1))], axis=0)
