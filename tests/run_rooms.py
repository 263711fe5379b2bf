"""Runs the tests of every room, each room in its own process, several rooms at a time.

TensorFlow never frees some of what a process has traced: one process for all tests would grow to
several GiB. What a room prints is shown if it fails; else there is one line for each room.

    python tests/run_rooms.py --processes=2 [options of pytest]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

TESTS = pathlib.Path(__file__).parent
#: The rooms and files that take longest, which begin first so that all processes end together.
LONGEST = (
    "models/test_conformance.py",
    "models/importers",
    "models",
    "training",
    "saved_model",
    "trust",
    "cli",
    "reproduction",
    "integration",
    "test_extending.py",
    "colab",
)
#: Title -> rooms that share a process: starting one takes ten seconds.
SHARED = {
    "the quick rooms": (
        "benchmark",
        "datasets",
        "demo",
        "distill",
        "downloads",
        "inspection",
        "pickles",
        "prediction",
        "reporting",
        "synthetic",
        "tpu_check",
        "video",
    ),
    "from records to networks": ("input_pipeline", "recognizers", "records"),
    "what networks say": ("evaluation", "explanation", "export"),
    "what videos hold": ("flow", "pose", "preparation"),
}
#: Exit statuses of pytest for a room without a failure; 5: no test was chosen.
_GOOD = (0, 5)


def rooms() -> dict[str, list[pathlib.Path]]:
    """Title of each process, the longest first, -> its files; every test is in one of them."""
    found: dict[str, list[pathlib.Path]] = {name: [] for name in LONGEST}
    for file in sorted(TESTS.rglob("test_*.py")):
        path = file.relative_to(TESTS)
        title = next((name for name in LONGEST if path.is_relative_to(name)), path.parts[0])
        if title not in LONGEST:
            title = _shared(path)
        found.setdefault(title, []).append(file)
    return found


def _shared(path: pathlib.Path) -> str:
    """The title of a file of no long room; those beside the rooms are among the quick ones."""
    if len(path.parts) == 1:
        return next(iter(SHARED))
    room = path.parts[0]
    return next((title for title, shared in SHARED.items() if room in shared), room)


def main(arguments: Sequence[str]) -> int:
    """Runs them all; returns 1 if a test failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2, help="rooms at a time")
    options, pytest_options = parser.parse_known_args(arguments)
    began = time.monotonic()
    failed = []
    with concurrent.futures.ThreadPoolExecutor(options.processes) as pool:
        running = {
            pool.submit(_run, files, pytest_options): title for title, files in rooms().items()
        }
        for done in concurrent.futures.as_completed(running):
            status, output = done.result()
            lines = output.strip().splitlines() or [f"exit status {status}"]
            if status not in _GOOD:
                failed.append(running[done])
                print(output)
            print(f"{running[done]}: {lines[-1].strip('= ')}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(running)} processes, {seconds / 60:.1f} minutes: ", end="")
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


def _run(files: Iterable[pathlib.Path], options: Sequence[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", *options, *map(str, files)]
    done = subprocess.run(
        command, cwd=TESTS.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
