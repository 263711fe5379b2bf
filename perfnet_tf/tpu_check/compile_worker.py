"""Compiles one HLO module for one TPU, and says what the compiler says.

    python -m perfnet_tf.tpu_check.compile_worker STEP.hlo v3:2x2x1 RESULT.json TOP

A separate process, without TensorFlow: libtpu ends the process on some errors, and keeps what
memory it took. RESULT.json holds `dynamic_shapes` and `host_calls` (texts that name operations),
`error` (null if it compiled), and if it compiled `seconds`, bytes of `arguments`, `outputs`,
`aliased` (outputs that overwrite arguments), `temporaries` and `code`, `flops` and `bytes_moved`,
and where TOP is not 0 `traffic` (`traffic.as_json`).
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys
import time
from typing import Any

from perfnet_tf.tpu_check.traffic import as_json, read_operations

#: Custom calls that a TPU's compiler supports.
_KNOWN_CALLS = {"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "TopK", "ApproxTopK"}
_TRANSFERS = ("infeed", "outfeed", "send", "recv")
_MAX_NAMED = 8


def find_dynamic_shapes(hlo: str) -> list[str]:
    """Names the operations in HLO text whose results' sizes are known only when they run."""
    return _named(line for line in hlo.splitlines() if re.search(r"= \(?[^=({]*\[[^\]]*<=", line))


def find_host_calls(hlo: str) -> list[str]:
    """Names the operations in HLO text that leave the device."""

    def leaves(line: str) -> bool:
        target = re.search(r'custom_call_target="([^"]+)"', line)
        if target:
            return target[1] not in _KNOWN_CALLS
        return re.search(rf" (?:{'|'.join(_TRANSFERS)})\(", line) is not None

    return _named(line for line in hlo.splitlines() if leaves(line))


def _named(lines: Any) -> list[str]:
    """TensorFlow's name and type of each line's operation, once; at most `_MAX_NAMED`."""
    names: dict[str, None] = {}
    for line in lines:
        kind, name = (re.search(rf'{key}="([^"]*)"', line) for key in ("op_type", "op_name"))
        call = re.search(r'custom_call_target="([^"]+)"', line)
        words = [kind[1] if kind else line.strip().split(" ")[0]]
        words += [f"({name[1]})"] if name else []
        words += [f"by calling {call[1]}"] if call else []
        names[" ".join(words)] = None
    return list(names)[:_MAX_NAMED]


def compile_module(hlo: bytes, topology: str, top: int = 0) -> dict[str, Any]:
    """What RESULT.json holds; see the module."""
    from jaxlib import xla_client

    computation = xla_client.XlaComputation(hlo)
    text = computation.as_hlo_text()
    found = {"dynamic_shapes": find_dynamic_shapes(text), "host_calls": find_host_calls(text)}
    del text
    try:
        return {**found, "error": None, **_compile(computation, topology, top)}
    except Exception as error:  # the compiler's, of many types
        return {**found, "error": str(error)}


def _compile(computation: Any, topology: str, top: int) -> dict[str, Any]:
    import numpy as np
    from jax.experimental import topologies
    from jax.interpreters import mlir
    from jaxlib import xla_client
    from jaxlib.mlir import ir

    device = topologies.get_topology_desc(topology, platform="tpu").devices[0]
    text = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
    # The TPU compiler refuses mhlo.copy; a reshape to the same type is the identity.
    text = re.sub(
        r"mhlo\.copy (%\S+) (\{[^}]*\} )?: (tensor<[^>]*>)",
        r"stablehlo.reshape \1 : (\3) -> \3",
        text,
    )
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(
        np.array([[device.id]], dtype=np.int32)
    )
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        began = time.monotonic()
        compiled = device.client.compile(module, xla_client.DeviceList((device,)), options)
    memory = compiled.get_compiled_memory_stats()
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    found = {}
    if top:
        (module,) = compiled.hlo_modules()
        found["traffic"] = as_json(list(read_operations(module.to_string())), top)
    return {
        **found,
        "seconds": time.monotonic() - began,
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
        "flops": cost.get("flops", 0.0),
        "bytes_moved": cost.get("bytes accessed", 0.0),
    }


def main(hlo_file: str, topology: str, result_file: str, top: str) -> None:
    """Compiles and writes the result; see the module."""
    import libtpu

    # There is no TPU and no server that has one: ask neither.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_WORKER_ID", "0")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    library = pathlib.Path(libtpu.__file__).parent / "libtpu.so"
    os.environ.setdefault("TPU_LIBRARY_PATH", str(library))
    result = compile_module(pathlib.Path(hlo_file).read_bytes(), topology, int(top))
    pathlib.Path(result_file).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
