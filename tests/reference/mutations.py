"""Hostile versions of good files, drawn from a seed: bytes, videos, JSON values and records."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

#: Numbers that overflow, are negative, or are absurd as sizes, rates and counts.
NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x4000, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

#: Names of fields that sizes, rates and counts stand near, in AVI, MP4 and Matroska.
MARKS = (
    b"avih", b"strh", b"strf", b"movi", b"idx1", b"00dc", b"LIST",
    b"tkhd", b"mdhd", b"mvhd", b"stsd", b"stts", b"stsz", b"stsc", b"stco", b"mp4v", b"mdat",
    b"esds", b"\xb0\x81", b"\xba\x81", b"\x23\xe3\x83", b"\x2a\xd7\xb1", b"\x16\x54\xae\x6b",
)  # fmt: skip

#: In place of a JSON value.
VALUES = (
    None, True, -1, 0, 1, 1.5, 2**31, 2**63, 10**400, -(2**70), 1e308, float("inf"), float("nan"),
    "", "x", "\0", "../../etc/passwd", "é\u2028\n", [], {}, [[]], [None], {"a": 1}, "9" * 5000,
)  # fmt: skip


def generator(seed: int) -> np.random.Generator:
    """What a test draws its inputs from; PERFNET_FUZZ_SEED gives others."""
    return np.random.default_rng([seed, int(os.environ.get("PERFNET_FUZZ_SEED", "0"))])


def mutate_bytes(data: bytes, random: np.random.Generator) -> bytes:
    """Flips, cuts, zeroes, repeats or overwrites a part of `data`."""
    content = bytearray(data)
    size = len(content)
    if not size:
        return bytes([int(random.integers(256))])
    start = int(random.integers(size))
    length = int(random.integers(1, max(2, min(size - start, 200) + 1)))
    kind = random.integers(9)
    if kind == 0:
        for _ in range(random.integers(1, 65)):
            content[random.integers(size)] ^= 1 << random.integers(8)
    elif kind == 1:
        del content[start:]
    elif kind == 2:
        content[start : start + length] = bytes(length)
    elif kind == 3:
        content[start : start + length] = random.bytes(length)
    elif kind == 4:
        del content[start : start + length]
    elif kind == 5:
        content[start:start] = content[start : start + length] * int(random.integers(1, 20))
    elif kind == 6:
        order = ("<", ">")[random.integers(2)]
        packed = struct.pack(order + "I", NUMBERS[random.integers(len(NUMBERS))])
        content[start : start + 4] = packed
    elif kind == 7:
        content[:length] = bytes(length)
    else:
        content = bytearray() if random.random() < 0.1 else content[::-1]
    return bytes(content)


def mutate_video(bases: list[bytes], random: np.random.Generator) -> bytes:
    """A video with damaged bytes, another file's header, or absurd sizes and rates."""
    data = bases[random.integers(len(bases))]
    kind = random.integers(4)
    if kind == 0:
        other = bases[random.integers(len(bases))]
        length = int(random.integers(1, 2000))
        return other[:length] + data[length:]
    if kind == 1:
        content = bytearray(data)
        places = [place for mark in MARKS if (place := content.find(mark)) >= 0]
        for _ in range(random.integers(1, 4)):
            place = places[random.integers(len(places))] + int(random.integers(2, 60))
            packed = struct.pack(
                ("<I", ">I", "<H", ">H")[random.integers(4)],
                NUMBERS[random.integers(len(NUMBERS))] & 0xFFFF
                if random.random() < 0.5
                else int(random.integers(1 << 16)),
            )
            content[place : place + len(packed)] = packed
        return bytes(content)
    for _ in range(random.integers(1, 4)):
        data = mutate_bytes(data, random)
    return data


def mutate_json(value: Any, random: np.random.Generator) -> Any:
    """A copy with one value, anywhere in it, replaced, removed, or repeated."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, child in items:
            places.append((node, key))
            if isinstance(child, (dict, list)):
                collect(child)

    collect(value)
    if not places:
        return VALUES[random.integers(len(VALUES))]
    node, key = places[random.integers(len(places))]
    kind = random.integers(4)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    elif kind == 1:
        node[f"{key} "] = node[key]
    else:
        node[key] = copy.deepcopy(VALUES[random.integers(len(VALUES))])
    return value


def mutate_json_file(text: str, random: np.random.Generator) -> bytes:
    """Damaged as JSON, or as bytes."""
    if random.random() < 0.6:
        return json.dumps(mutate_json(json.loads(text), random)).encode()
    if random.random() < 0.03:
        return b"[" * 200_000
    return mutate_bytes(text.encode(), random)


def base_videos(folder: pathlib.Path) -> list[bytes]:
    """Videos of 8 frames of 32x24 in the containers and codecs that OpenCV writes."""
    folder.mkdir(exist_ok=True)
    videos = []
    for extension, codec in (
        ("avi", "MJPG"),
        ("avi", "XVID"),
        ("mp4", "mp4v"),
        ("mkv", "MJPG"),
        ("mkv", "FFV1"),
        ("webm", "VP80"),
    ):
        path = folder / f"{codec}.{extension}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (32, 24))
        for number in range(8):
            frame = np.random.default_rng(number).integers(0, 255, (24, 32, 3), np.uint8)
            writer.write(cv2.GaussianBlur(frame, (5, 5), 0))
        writer.release()
        if path.exists() and path.stat().st_size:
            videos.append(path.read_bytes())
    assert len(videos) >= 4
    return videos


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 if there is none."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    line = next((line for line in text.splitlines() if line.startswith("VmRSS")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = set()
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.update(int(child) for child in path.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(found)


class PeakMemory:
    """The most memory that a process's children held at a time, sampled; a context manager."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.is_set():
            for child in children(self._pid):
                # The high-water mark of each: no sample misses it.
                try:
                    text = pathlib.Path(f"/proc/{child}/status").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                for line in text.splitlines():
                    if line.startswith("VmHWM"):
                        self.bytes = max(self.bytes, int(line.split()[1]) * 1024)
            time.sleep(0.2)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
