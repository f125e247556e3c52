"""Weights in fewer bits: what rounding misses, what is equal bit for bit, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from litegpt import kernels
from litegpt.formats.quant import (
    FORMATS,
    GGUF_FORMATS,
    dequantize,
    from_gguf,
    unpack_quantized,
)
from litegpt.kernels.reference.linear import PANEL
from litegpt.kernels.reference.weight_formats import activation_codes

equal = np.testing.assert_array_equal
NUMBERS = [name for name, form in FORMATS.items() if form.codes is None]
CODES = {"q8": 127, "q5": 31, "q4": 15, "q4_0": 8}  # and the largest code, or magnitude of one


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(29)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [1e-4, 0.02, 1.0, 300.0])
def test_rounding_misses_no_more_than_stated(backend: str, format: str, size: float) -> None:
    """The root mean square, relative, of normal weights; at 1e-4 scales are subnormal halves."""
    weight = normal(np.random.default_rng(0), 640, 200) * np.float32(size)
    rounded = dequantize(kernels.quantize(weight, format), format, 640).T.astype(np.float64)
    missed = np.sqrt(((rounded - weight) ** 2).mean() / (weight.astype(np.float64) ** 2).mean())
    subnormal = 2.0**-25 / size if format != "bfloat16" else 0.0
    assert missed <= FORMATS[format].error + subnormal
    assert missed >= FORMATS[format].error / 2, "what is stated is no more than twice what is"


@pytest.mark.parametrize("format", CODES)
def test_no_weight_is_missed_by_more_than_half_a_scale(
    backend: str, rng: np.random.Generator, format: str
) -> None:
    """Groups of all magnitudes, of one sign or both, constant, with outliers."""
    groups = normal(rng, 400, 32) * np.exp(rng.uniform(-25, 4, (400, 1))).astype(np.float32)
    groups[::4] = np.abs(groups[::4])
    groups[1::4] = -np.abs(groups[1::4])
    groups[2::40] = groups[2::40, :1]
    groups[3::40, 5] *= 100
    blocks = kernels.quantize(groups, format, transposed=True)
    codes = FORMATS[format].codes(blocks)
    missed, scale = np.abs(dequantize(blocks, format, 32) - groups), np.abs(codes.scale[:, 0])
    allowed = scale * np.float32(0.50001)
    if format == "q4_0":  # its scale is rounded to nearest, and there is no code for 8 scales
        allowed = allowed + 4 * np.spacing(scale.astype(np.float16)).astype(np.float32)
        allowed = allowed + (codes.whole[:, 0] == 7) * scale / 2
    assert (missed <= allowed).all()
    most, end = np.abs(codes.whole).max(axis=-1), CODES[format]
    assert (most <= end).all()
    normal_scale = np.abs(codes.scale[..., 0]) >= np.finfo(np.float16).smallest_normal
    assert (most[normal_scale] >= end - 1).mean() > 0.9, "codes use their range"


@pytest.mark.parametrize("format", FORMATS)
def test_unpacking_gives_back_the_blocks(
    backend: str, rng: np.random.Generator, format: str
) -> None:
    for inputs, outputs in ((1, 1), (64, 32), (70, 45)):
        blocks = kernels.quantize(normal(rng, inputs, outputs), format)
        equal(unpack_quantized(kernels.pack_quantized(blocks, format), format, outputs), blocks)


@pytest.mark.parametrize("format", FORMATS)
def test_every_row_of_the_table_is_the_rounded_weights(
    backend: str, rng: np.random.Generator, format: str
) -> None:
    blocks = kernels.quantize(normal(rng, 70, 45), format)
    packed = kernels.pack_quantized(blocks, format)
    table = kernels.embedding_quantized(np.arange(45), packed, format, 70, 45)
    equal(table, dequantize(blocks, format, 70))


@pytest.mark.parametrize("format", NUMBERS)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (33, 37), (301, 97), (1600, 64)])
def test_numbers_are_multiplied_as_linear_packed_does(
    compiled: str, rng: np.random.Generator, format: str, inputs: int, outputs: int
) -> None:
    """On the rounded weights, bit for bit: no second order of additions."""
    blocks = kernels.quantize(normal(rng, inputs, outputs), format)
    packed, bias = kernels.pack_quantized(blocks, format), normal(rng, outputs)
    widened = kernels.pack_linear(dequantize(blocks, format, inputs), transposed=True)
    for rows in (1, 2, 7, 14, 15, 27, 28, 100):
        x = normal(rng, rows, inputs)
        equal(
            kernels.linear_quantized(x, packed, format, outputs, bias, None, "gelu"),
            kernels.linear_packed(x, widened, outputs, bias, None, "gelu"),
        )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("inputs", "outputs"), [(19, 33), (301, 97), (4000, 40)])
def test_a_row_does_not_depend_on_the_rows_beside_it(
    compiled: str, rng: np.random.Generator, format: str, inputs: int, outputs: int
) -> None:
    """Alone, or among up to 600, which are worked off in several blocks."""
    packed = kernels.pack_quantized(kernels.quantize(normal(rng, inputs, outputs), format), format)
    x, bias = normal(rng, 600, inputs), normal(rng, outputs)
    whole = kernels.linear_quantized(x, packed, format, outputs, bias, None, "gelu")
    for rows in (*range(1, 18), 24, 25, 33, 100, 255):
        for first in (0, 600 - rows):
            some = np.ascontiguousarray(x[first : first + rows])
            part = kernels.linear_quantized(some, packed, format, outputs, bias, None, "gelu")
            equal(part, whole[first : first + rows])


@pytest.mark.parametrize("format", CODES)
def test_integers_are_exact_at_their_ends(backend: str, format: str) -> None:
    """Codes at both ends, and all scales one: sums of whole numbers, none of them saturated."""
    rng = np.random.default_rng(3)
    inputs, outputs, rows = 96, 45, 14
    blocks = np.zeros((outputs, 3, FORMATS[format].block_bytes), np.uint8)
    blocks[..., :2] = np.frombuffer(np.float16(1).tobytes(), np.uint8)
    if format == "q8":  # -128 is no code of ours, but a file may have it
        codes = rng.choice(np.array([-128, -127, 127], np.int8), (outputs, 3, 32))
        codes[0], codes[1] = -128, 127
        blocks[..., 2:] = codes.view(np.uint8)
    else:
        ends = np.array([0, 0x0F, 0xF0, 0xFF], np.uint8)
        first = 2 * FORMATS[format].units.count(2)
        blocks[..., first:] = rng.choice(ends, blocks[..., first:].shape)
        blocks[0, :, first:], blocks[1, :, first:] = 0xFF, 0
        blocks[2, :, 1] ^= 0x80  # a scale of -1
    x = rng.choice(np.array([-127, 127], np.float32), (rows, inputs))
    x[0], x[1] = 127, -127
    y = kernels.linear_quantized(x, kernels.pack_quantized(blocks, format), format, outputs)
    equal(y, x.astype(np.int64) @ dequantize(blocks, format, inputs).T.astype(np.int64))


def test_activations_are_rounded_to_the_nearest_of_255_codes(rng: np.random.Generator) -> None:
    x = normal(rng, 50, 70) * np.exp(rng.uniform(-80, 80, (50, 1))).astype(np.float32)
    scale, codes = activation_codes(x, 32)
    assert np.abs(codes).max() == 127
    missed = np.abs((scale * codes).reshape(50, -1)[:, :70] - x).reshape(50, -1)
    assert (missed <= np.repeat(scale[..., 0], 32, axis=1)[:, :70] * 0.50001).all()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_weights_that_cannot_be_stored_are_named(backend: str, format: str, bad: float) -> None:
    weight = np.ones((40, 35), np.float32)
    weight[33, 34] = bad
    if np.isfinite(bad) and abs(bad) <= FORMATS[format].largest:
        assert dequantize(kernels.quantize(weight, format), format, 40)[34, 33] >= 2.99e38
        return
    with pytest.raises(ValueError, match=rf"weight at \(33, 34\) is .*{format} holds finite"):
        kernels.quantize(weight, format)
    with pytest.raises(ValueError, match=r"weight at \(34, 33\)"):
        kernels.quantize(np.ascontiguousarray(weight.T), format, transposed=True)


def test_packed_weights_go_where_there_is_room_for_them(backend: str) -> None:
    blocks = np.zeros((33, 3, 34), np.uint8)
    with pytest.raises(ValueError, match=r"packed must have shape \(2, 3264\), not \(2, 3265\)"):
        kernels.pack_quantized(blocks, "q8", np.zeros((2, 3265), np.uint8))
    room = np.zeros((2, 3264), np.uint8)
    room.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kernels.pack_quantized(blocks, "q8", room)


@pytest.mark.parametrize("format", FORMATS)
def test_what_lies_in_a_file_is_packed_as_from_memory(
    backend: str, rng: np.random.Generator, tmp_path: Path, format: str
) -> None:
    """Two weights in one call; the rows of the first stand in the opposite order in the file."""
    first, second = (kernels.quantize(normal(rng, *shape), format) for shape in ((64, 70), (96, 9)))
    path = tmp_path / "blocks"
    path.write_bytes(b"what comes before" + first[::-1].tobytes() + second.tobytes())
    rows = np.full((4, PANEL), -1)
    width = first[0].size
    rows[:3].flat[:70] = 17 + width * np.arange(70)[::-1]
    rows[3, :9] = 17 + first.size + second[0].size * np.arange(9)
    groups = np.array([first.shape[1]] * 3 + [second.shape[1]])
    wanted = [kernels.pack_quantized(blocks, format).ravel() for blocks in (first, second)]
    packed = np.full(sum(map(len, wanted)), 7, np.uint8)
    with path.open("rb") as file:
        kernels.read_quantized(file, rows, groups, format, packed)
        equal(packed, np.concatenate(wanted))
        rows[3, 8] += 1  # the last row now ends a byte after the file
        with pytest.raises(OSError, match="the file ends within a row of blocks"):
            kernels.read_quantized(file, rows, groups, format, packed)


def test_places_that_do_not_fit_are_refused(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    path.write_bytes(bytes(34 * 4 * 64))
    rows, groups = 136 * np.arange(64).reshape(2, PANEL), np.array([4, 4])
    packed = np.zeros(34 * 4 * 64, np.uint8)
    read_only = packed.copy()
    read_only.flags.writeable = False
    with path.open("rb") as file:
        kernels.read_quantized(file, rows, groups, "q8", packed)
        for wrong, message in (
            ((rows[:1], groups, packed), r"rows must have shape \(2, 32\), not \(1, 32\)"),
            ((rows, groups + 1, packed), r"packed must have shape \(10880,\), not \(8704,\)"),
            ((rows, groups - 4, packed), "groups .* at least 1"),
            ((rows - 1, groups, packed), "-1 only after them"),
            ((rows + (1 << 62), groups, packed), "places up to"),
            ((rows, groups, read_only), "read-only"),
        ):
            with pytest.raises(ValueError, match=message):
                kernels.read_quantized(file, wrong[0], wrong[1], "q8", wrong[2])


@pytest.mark.parametrize("kernel", ["quantize", "pack_quantized", "linear_quantized"])
def test_an_unknown_format_is_refused(backend: str, kernel: str) -> None:
    arguments = {
        "quantize": (np.ones((3, 4), np.float32), "q3"),
        "pack_quantized": (np.zeros((3, 4, 34), np.uint8), "q3"),
        "linear_quantized": (np.ones((1, 3), np.float32), np.zeros((1, 1088), np.uint8), "q3", 4),
    }[kernel]
    with pytest.raises(ValueError, match=r"format 'q3' is unknown; allowed: float32, .*q5, q4"):
        getattr(kernels, kernel)(*arguments)


@pytest.mark.parametrize(
    ("kind", "format"), [(kind, format) for kind in GGUF_FORMATS for format in GGUF_FORMATS[kind]]
)
def test_blocks_of_gguf_files_are_taken_without_loss(
    backend: str, rng: np.random.Generator, kind: str, format: str
) -> None:
    """Packed and looked up again, they give what the gguf package reads, bit for bit."""
    gguf = pytest.importorskip("gguf")
    type_of = gguf.GGMLQuantizationType[kind]
    weights = normal(rng, 45, 96) * np.float32(0.05)
    data = gguf.quants.quantize(weights, type_of)
    blocks = from_gguf(data.view(np.uint8), kind, format)
    packed = kernels.pack_quantized(np.ascontiguousarray(blocks), format)
    table = kernels.embedding_quantized(np.arange(45), packed, format, 96, 45)
    equal(table, gguf.quants.dequantize(data, type_of))
    equal(unpack_quantized(packed, format, 45), blocks)


def test_a_scale_without_a_minimum_in_float16_is_refused() -> None:
    blocks = np.zeros((2, 3, 22), np.uint8)
    blocks[1, 2, :2] = np.frombuffer(np.float16(4200).tobytes(), np.uint8)
    with pytest.raises(ValueError, match=r"scale 4200.0 of group 2 in row 1: -16 times it"):
        from_gguf(blocks, "Q5_0", "q5")


def test_a_type_that_a_format_cannot_hold() -> None:
    with pytest.raises(ValueError, match=r"GGUF type 'Q4_1' can't be held in 'q4_0'; .*: Q4_0$"):
        from_gguf(np.zeros((2, 20), np.uint8), "Q4_1", "q4_0")


def test_four_bits_round_as_the_gguf_package_does(backend: str, rng: np.random.Generator) -> None:
    """Ties, a farthest weight of either sign and of both, zeros, and what is below any scale."""
    gguf = pytest.importorskip("gguf")
    weights = normal(rng, 300, 96) * np.exp(rng.uniform(-12, 9, (300, 1))).astype(np.float32)
    weights[0] = np.arange(96) - 48
    weights[1, 7], weights[1, 40] = 2000, -2000
    weights[1, 8], weights[1, 39] = -2000, 2000
    weights[2], weights[3] = 0, 1e-30
    blocks = kernels.quantize(weights, "q4_0", transposed=True)
    equal(blocks.reshape(300, -1), gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q4_0))
    weights = np.full((1, 32), 1e-41, np.float32)  # 1 / scale is infinite
    weights[0, ::2] = 0
    rounded = dequantize(kernels.quantize(weights, "q4_0", transposed=True), "q4_0", 32)
    equal(rounded, np.zeros_like(weights))
