# ruff: noqa: E501 (a program's lines are as long as they are)
"""What a compiled program moves, of a program small enough to add up by hand."""

from perfnet_tf.tpu_check.traffic import (
    as_json,
    describe_traffic,
    layer_of,
    read_operations,
    total_by_layer,
)

PROGRAM = """HloModule step, is_scheduled=true

%fused (param: bf16[8,4,16,16,3]) -> bf16[8,4,16,16,64] {
  %param = bf16[8,4,16,16,3]{4,0,3,2,1:T(8,128)(2,1)} parameter(0)
  ROOT %inner = bf16[8,4,16,16,64]{4,0,3,2,1:T(8,128)(2,1)} convert(%param)
}

ENTRY %main.0 (frames: u8[8,4,16,16,3], bias: f32[64]) -> f32[64] {
  %frames = u8[8,4,16,16,3]{4,3,2,1,0} parameter(0), metadata={op_name="XLA_Args"}
  %bias = f32[64]{0:T(256)} parameter(1)
  %copy.1 = bf16[8,4,16,16,3]{4,0,3,2,1:T(8,128)(2,1)} copy(%frames), metadata={op_name="net/normalization/Cast"}, backend_config={"window_config":{"estimated_cycles":"4192"}}
  %fusion.2 = (f32[64]{0:T(256)}, bf16[8,4,16,16,64]{4,0,3,2,1:T(8,128)(2,1)}) fusion(%copy.1, %bias), kind=kOutput, calls=%fused, metadata={op_name="net/res2/cell1/conv/Conv3D" source_line=3}, backend_config={"window_config":{"kernel_window_bounds":[],"estimated_cycles":"2500000","iteration_bounds":["1"]}}
  %get-tuple-element.3 = f32[64]{0:T(256)} get-tuple-element(%fusion.2), index=0
  %copy-start.4 = (f32[64]{0:T(256)S(1)}, f32[64]{0:T(256)}, u32[]{:S(2)}) copy-start(%get-tuple-element.3)
  %copy-done.5 = f32[64]{0:T(256)S(1)} copy-done(%copy-start.4)
  ROOT %add.6 = f32[64]{0:T(256)} add(%copy-done.5, %bias), metadata={op_name="gradient_tape/net/res2/cell1/conv/AddN"}
}
"""
#: Values of the five-axis arrays: 8 clips x 4 frames x 16 x 16.
PLACES = 8 * 4 * 16 * 16


def test_tiles_make_few_channels_as_large_as_128():
    copy, fusion, moved, add = read_operations(PROGRAM)
    assert (copy.kind, copy.name) == ("copy", "net/normalization/Cast")
    assert copy.bytes_written == PLACES * 128 * 2  # 3 channels, in a tile of 128
    assert copy.bytes_moved == PLACES * 128 * 2 + PLACES * 3
    assert copy.bytes_needed == PLACES * 3 * 2 + PLACES * 3
    # All results of a tuple; a vector lies in a tile of 256.
    assert fusion.bytes_written == 256 * 4 + PLACES * 128 * 2
    assert fusion.bytes_moved == fusion.bytes_written + PLACES * 128 * 2 + 256 * 4
    assert fusion.bytes_needed == 64 * 4 + PLACES * 64 * 2 + PLACES * 3 * 2 + 64 * 4
    # A copy in the background counts once: from here, to there.
    assert (moved.kind, moved.name) == ("copy-start", "the compiler's copy-start")
    assert moved.bytes_moved == 2 * 256 * 4
    assert add.bytes_moved == 3 * 256 * 4


def test_what_is_inside_of_a_fusion_stays_on_the_chip():
    assert [one.kind for one in read_operations(PROGRAM)] == ["copy", "fusion", "copy-start", "add"]


def test_layers_are_summed_and_gradients_apart():
    totals = dict(total_by_layer(read_operations(PROGRAM)))
    assert list(totals)[0] == "net/res2/cell1"
    assert totals["net/res2/cell1, gradient"].bytes_moved == 3 * 256 * 4
    assert layer_of("gradient_tape/distiller/net/res2/cell1/conv/X", 4) == (
        "distiller/net/res2/cell1, gradient"
    )


def test_the_report_names_the_largest_and_sums_all():
    found = as_json(list(read_operations(PROGRAM)), 1)
    assert [layer["layer"] for layer in found["layers"]] == ["net/res2/cell1"]
    assert [one["name"] for one in found["results"]] == ["net/res2/cell1/conv/Conv3D"]
    assert found["bytes_moved"] == sum(one.bytes_moved for one in read_operations(PROGRAM))
    lines = describe_traffic(found)
    assert found["bytes_moved"] == 6_323_200
    assert found["bytes_needed"] == 1_173_248
    assert found["cycles"] == 2_504_192
    assert found["layers"][0]["cycles"] == 2_500_000
    assert "of which 81% is padding of tiles; 2.5 million cycles by" in lines[0]
    assert lines[1].split() == ["0.00", "GB", "66%", "2.5", "M", "net/res2/cell1"]
    assert lines[-1].endswith("fusion: net/res2/cell1/conv/Conv3D")


def test_an_empty_program_moves_nothing():
    assert describe_traffic(as_json([], 3)) == [
        "0.0 GB between operations, of which 0% is padding of tiles; "
        "0.0 million cycles by the compiler's own estimate",
        "largest results:",
    ]
