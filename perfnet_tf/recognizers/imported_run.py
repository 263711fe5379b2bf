"""A run directory of weights that were trained elsewhere."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from perfnet_tf.classes import read_class_names
from perfnet_tf.config import ClipConfig
from perfnet_tf.files import check_new_or_empty
from perfnet_tf.models.importers import import_model
from perfnet_tf.models.importers.transfer import ImportReport
from perfnet_tf.recognizers.run_directory import Run, save_run

#: Beside `run.json`: the `ImportReport`.
REPORT_FILE = "import.json"


def import_run(
    source: str,
    weights: str | pathlib.Path,
    output: str | pathlib.Path,
    *,
    stream: str | None = None,
    labels: str | pathlib.Path | None = None,
    options: Mapping[str, Any] | None = None,
    clip: ClipConfig | None = None,
    scope: str | None = None,
    average: bool = False,
) -> tuple[Run, ImportReport]:
    """Writes published weights as a finished run, with `import.json` in it.

    Args:
        output: folder of the run, new or empty.
        labels: label map of the file's classes (`read_class_names`); None takes the names that the
            source is known to have, if any.
        source, weights, stream, options, clip, scope, average: of `import_model`.

    Returns:
        The run, and what became of every tensor.

    Raises:
        InputError: `output` is in use, or as `import_model` and `read_class_names`.
    """
    check_new_or_empty(output)
    classes = None if labels is None else read_class_names(labels)
    imported = import_model(
        source,
        weights,
        stream=stream,
        classes=classes,
        options=options,
        clip=clip,
        scope=scope,
        average=average,
    )
    run = save_run(
        output,
        imported.config,
        imported.classes,
        imported.model,
        imported={"source": source, "weights": str(weights), "named": imported.named},
    )
    (run.path / REPORT_FILE).write_text(imported.report.to_json())
    return run, imported.report


def import_weights(
    source: str, weights: str | pathlib.Path, output: str | pathlib.Path, **options: Any
) -> Run:
    """Makes a run of weights that others published, as `perfnet import` does.

    Args:
        source: where they come from, such as `slim_s3dg`; see `import_model`.
        weights: the file, or the prefix of a checkpoint.
        output: folder of the run, new or empty; `import.json` in it says what became of every
            tensor.
        **options: `stream`, `labels`, `options`, `clip`, `scope` and `average` of `import_run`.

    Raises:
        InputError: as `import_run`.
    """
    return import_run(source, weights, output, **options)[0]
