"""Two inner loops spelled out for the processor's vector unit, callable from numba functions.

Numba leaves both loops scalar or half as fast when they are written in Python, so they are given here in
the compiler's own intermediate language. `double_lanes` works on every processor that LLVM knows;
`byte_tile` is for AVX-512 VNNI and for AVX2 (`byte_unit`), and `has_byte_tile` finds out by running it.

Addresses are plain integers (``array.ctypes.data``); the callers keep the arrays alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit

LANES = 8
TILE_ROWS = 32
LINE = 64  # bytes of a cache line, which is what `prefetch` asks for
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32 = ir.FloatType()
LANES_F64 = ir.VectorType(ir.DoubleType(), LANES)


def _at(builder: Any, base: Any, byte_offset: Any, kind: Any) -> Any:
    """Return a pointer to ``kind`` that many bytes behind ``base``."""
    if isinstance(byte_offset, int):
        byte_offset = I64(byte_offset)
    place = builder.gep(base, [byte_offset], source_etype=I8)
    return builder.bitcast(place, ir.PointerType(kind))


def load(builder: Any, base: Any, byte_offset: Any, kind: Any, align: int) -> Any:
    """Return the value of that kind so many bytes behind ``base``."""
    value = builder.load(_at(builder, base, byte_offset, kind), typ=kind)
    value.align = align
    return value


def store(builder: Any, value: Any, base: Any, byte_offset: Any, align: int) -> None:
    """Write a value so many bytes behind ``base``."""
    builder.store(value, _at(builder, base, byte_offset, value.type)).align = align


def spread(builder: Any, value: Any, width: int) -> Any:
    """Return a vector of copies of one number."""
    empty = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
    first = builder.insert_element(empty, value, I32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(I32, width), [0] * width))


def same(kind: Any, number: float) -> Any:
    """Return a constant vector of one number."""
    return ir.Constant(kind, [number] * kind.count)


def pairs_summed(builder: Any, first: Any, second: Any) -> Any:
    """Return [n] sums of two products, of vectors of 2 n numbers of 16 bits: one PMADDWD on x86."""
    count = first.type.count // 2
    wide, places = ir.VectorType(I32, 2 * count), ir.VectorType(I32, count)
    products = builder.mul(builder.sext(first, wide), builder.sext(second, wide))
    even, odd = (ir.Constant(places, list(range(start, 2 * count, 2))) for start in (0, 1))
    halves = (builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), of) for of in (even, odd))
    return builder.add(*halves)


def unsigned_halves(builder: Any, bytes_: Any) -> tuple[Any, Any]:
    """Return the even and the odd bytes of a vector of 16-bit numbers, each as 16-bit numbers."""
    kind = bytes_.type
    return builder.and_(bytes_, same(kind, 255)), builder.lshr(bytes_, same(kind, 8))


def declared(builder: Any, name: str, kind: Any) -> Any:
    """Return the function of that name and type, which the compiler knows."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def byte_products(builder: Any, words: Any) -> tuple[Any, Any]:
    """Return what adds products of bytes, four to a word, by VNNI, and the type of its operands."""
    operand = ir.VectorType(I8, 4 * words.count) if llvm.llvm_version_info[0] >= 22 else words
    kind = ir.FunctionType(words, [words, operand, operand])
    return declared(builder, f"llvm.x86.avx512.vpdpbusd.{32 * words.count}", kind), operand


class Loop:
    """A counted loop ``for i in range(steps)`` that carries values from turn to turn (steps >= 1)."""

    def __init__(self, builder: Any, steps: Any, carried: list[Any]) -> None:
        self.builder, self.steps = builder, steps
        before = builder.block
        self.block = builder.append_basic_block("loop")
        self.after = builder.append_basic_block("after")
        builder.branch(self.block)
        builder.position_at_end(self.block)
        self.index = builder.phi(I64)
        self.index.add_incoming(I64(0), before)
        self.values = [builder.phi(value.type) for value in carried]
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, before)

    def close(self, carried: list[Any]) -> None:
        """End the body; the code after it sees ``carried`` as the last turn left it."""
        following = self.builder.add(self.index, I64(1))
        self.index.add_incoming(following, self.block)
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, self.block)
        self.builder.cbranch(self.builder.icmp_signed("<", following, self.steps), self.block, self.after)
        self.builder.position_at_end(self.after)


@intrinsic
def double_lanes(typing: Any, vectors: Any, addresses: Any, query: Any, steps: Any, out: Any) -> Any:
    """Sum the products of some vectors with one query in eight float64 lanes each.

    Arguments: the array (its type says float16 as uint16, or float32), a tuple of addresses of its rows,
    the address of the query as float64, dim // 8 (at least 1), the address of float64 [rows, 8].
    """
    if vectors.dtype not in (types.uint16, types.float32):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_half = signature.args[0].dtype == types.uint16
        element, width = (ir.HalfType(), 2) if is_half else (ir.FloatType(), 4)
        source, count = ir.VectorType(element, LANES), signature.args[1].count
        pointer = ir.PointerType(I8)
        bases = [builder.inttoptr(builder.extract_value(arguments[1], i), pointer) for i in range(count)]
        query, out = builder.inttoptr(arguments[2], pointer), builder.inttoptr(arguments[4], pointer)
        loop = Loop(builder, arguments[3], [ir.Constant(LANES_F64, [0.0] * LANES)] * count)
        offset = builder.mul(loop.index, I64(LANES * width))
        other = load(builder, query, builder.mul(loop.index, I64(LANES * 8)), LANES_F64, 8)
        sums = []
        for total, base in zip(loop.values, bases, strict=True):
            mine = builder.fpext(load(builder, base, offset, source, width), LANES_F64)
            sums.append(builder.fadd(total, builder.fmul(mine, other)))
        loop.close(sums)
        for i, total in enumerate(sums):
            store(builder, total, out, i * LANES * 8, 8)
        return context.get_dummy_value()

    tuple_of = types.UniTuple(types.uintp, addresses.count)
    return types.void(vectors, tuple_of, types.uintp, types.intp, types.uintp), generate


@intrinsic
def widen(typing: Any, value: Any) -> Any:
    """Return one stored number as float32: a float32, or a float16 given as its uint16 bits."""
    if value not in (types.uint16, types.float32):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if signature.args[0] == types.float32:
            return arguments[0]
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(value), generate


@intrinsic
def whole_registers(typing: Any) -> Any:
    """Let the compiler use the widest registers in the function that calls this: by itself it takes half."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # one of LLVM's attributes of functions that llvmlite has no name for
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def lowest_bit(typing: Any, mask: Any) -> Any:
    """Return the position of the lowest bit that is set in a uint32 other than 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1)), I64)

    return types.int64(types.uint32), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the cache line at an address; it is read soon. Changes nothing else."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(I8), I32, I32, I32])
        place = builder.inttoptr(arguments[0], ir.PointerType(I8))
        builder.call(declared(builder, "llvm.prefetch.p0", kind), [place, I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


Sums = dict[tuple[int, int], Any]
"""By query and vector of rows."""


def _multiply_vnni(builder: Any, at: Sequence[Any], stride: Any, steps: Any, sums: Sums) -> Sums:
    """Add the products of bytes, four of a row at once, by queries as they are packed."""
    codes, queries = at
    function, operand = byte_products(builder, next(iter(sums.values())).type)
    loop = Loop(builder, steps, list(sums.values()))
    offset = builder.mul(loop.index, I64(4 * TILE_ROWS))
    rows = [load(builder, codes, builder.add(offset, I64(64 * part)), operand, 1) for part in (0, 1)]
    following = {}
    for (query, part), total in zip(sums, loop.values, strict=True):
        place = builder.add(builder.mul(loop.index, I64(4)), builder.mul(stride, I64(query)))
        four = builder.bitcast(spread(builder, load(builder, queries, place, I32, 1), 16), operand)
        following[query, part] = builder.call(function, [total, rows[part], four])
    loop.close(list(following.values()))
    return following


def _multiply_pairs(builder: Any, at: Sequence[Any], stride: Any, steps: Any, sums: Sums) -> Sums:
    """Do the same in 16 bits, by queries of `tile_queries`; the sums are as many as registers hold."""
    codes, queries = at
    loop = Loop(builder, steps, list(sums.values()))
    offset, shorts = builder.mul(loop.index, I64(4 * TILE_ROWS)), ir.VectorType(I16, 16)
    rows = {
        part: unsigned_halves(builder, load(builder, codes, builder.add(offset, I64(32 * part)), shorts, 1))
        for part in sorted({part for _, part in sums})
    }
    following = {}
    for (query, part), total in zip(sums, loop.values, strict=True):
        place = builder.add(builder.mul(loop.index, I64(8)), builder.mul(stride, I64(query)))
        for odd, row in enumerate(rows[part]):
            pair = load(builder, queries, builder.add(place, I64(4 * odd)), I32, 1)
            pair = builder.bitcast(spread(builder, pair, 8), shorts)
            total = builder.add(total, pairs_summed(builder, row, pair))
        following[query, part] = total
    loop.close(list(following.values()))
    return following


def _byte_tile(num_queries: int, unit: str | None = None) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, queries, starts, scales, floors, out, masks = (
            builder.inttoptr(builder.extract_value(arguments[0], place), ir.PointerType(I8))
            for place in range(7)
        )
        stride, steps = arguments[1:]
        vnni = (byte_unit() if unit is None else unit) == "vnni"
        width = 16 if vnni else 8
        parts = range(TILE_ROWS // width)
        sums: Sums = {}
        for query in range(num_queries):
            start = spread(builder, load(builder, starts, 4 * query, I32, 4), width)
            sums |= {(query, part): start for part in parts}
        if vnni:
            sums = _multiply_vnni(builder, (codes, queries), stride, steps, sums)
        else:  # sixteen registers: four queries by two vectors of rows, or one by four
            for first in range(0, num_queries, 4):
                for some in (parts,) if num_queries == 1 else (parts[:2], parts[2:]):
                    wanted = [
                        (query, part) for query in range(first, min(first + 4, num_queries)) for part in some
                    ]
                    own = {of: sums[of] for of in wanted}
                    sums |= _multiply_pairs(builder, (codes, queries), stride, steps, own)
        numbers = ir.VectorType(F32, width)
        factors = [load(builder, scales, 4 * width * part, numbers, 4) for part in parts]
        found = I32(0)
        for query in range(num_queries):
            floor, mask = spread(builder, load(builder, floors, 4 * query, F32, 4), width), I32(0)
            for part in parts:
                store(builder, sums[query, part], out, 4 * (TILE_ROWS * query + width * part), 4)
                score = builder.fmul(builder.sitofp(sums[query, part], numbers), factors[part])
                bits = builder.bitcast(builder.fcmp_ordered(">=", score, floor), ir.IntType(width))
                mask = builder.or_(mask, builder.shl(builder.zext(bits, I32), I32(width * part)))
            store(builder, mask, masks, 4 * query, 4)
            found = builder.or_(found, mask)
        return found

    @intrinsic
    def tile(typing: Any, addresses: Any, stride: Any, steps: Any) -> Any:
        return types.uint32(types.UniTuple(types.uintp, 7), types.intp, types.intp), generate

    return tile


# Sums of byte products of one panel of 32 rows and n queries. Takes, as a tuple, the addresses of the
# panel's codes ([steps, 32, 4] uint8), the queries (`tile_queries`), the sums to start from ([n] int32), the
# rows' scales ([32] float32), the floors ([n] float32), the sums ([n, 32] int32, out), the masks ([n] uint32,
# out: bit r says sum * scale >= floor for row r); then a query's bytes and the steps. Returns the masks' or.
byte_tile_12 = _byte_tile(12)
byte_tile_4 = _byte_tile(4)
byte_tile_1 = _byte_tile(1)


@cache
def has_half_lanes() -> bool:
    """Return whether the processor widens float16 itself (else blocks are widened by numpy first)."""
    features = llvm.get_host_cpu_features()
    return bool(features.get("f16c", False)) or llvm.get_process_triple().startswith(("aarch64", "arm64"))


@cache
def byte_unit() -> str:
    """Return what multiplies bytes here: ``vnni`` (of AVX-512), ``avx2``, or nothing of either."""
    named = getattr(config, "CPU_FEATURES", None)  # numba may compile for another processor
    every = llvm.get_host_cpu_features() if named is None else dict.fromkeys(named.split(","), True)
    has = {name.removeprefix("+") for name, given in every.items() if given}
    return "vnni" if "avx512vnni" in has else "avx2" if "avx2" in has else ""


def tile_queries(codes: NDArray[np.int8], unit: str | None = None) -> NDArray[Any]:
    """Return packed queries [Q, 4 * steps] as `byte_tile_12` takes them.

    Without VNNI in 16 bits, the first and third of four numbers before the second and fourth.
    """
    if (byte_unit() if unit is None else unit) == "vnni":
        return codes
    fours = codes.reshape(len(codes), codes.shape[1] // 4, 4)[:, :, [0, 2, 1, 3]]
    return np.ascontiguousarray(fours, dtype=np.int16).reshape(codes.shape)


@cache
def has_byte_tile() -> bool:
    """Return whether this processor and compiler run `byte_tile_1` rightly: asked once, by a trial."""
    if not byte_unit():
        return False
    codes = (np.arange(2 * TILE_ROWS * 4, dtype=np.int64) * 37 % 256).astype(np.uint8)
    query = np.array([[127, -127, 3, -4, 5, -60, 7, 8]], dtype=np.int8)
    sums, masks = np.zeros((1, TILE_ROWS), dtype=np.int32), np.zeros(1, dtype=np.uint32)
    try:
        _trial(codes, tile_queries(query), np.ones(TILE_ROWS, dtype=np.float32), sums, masks)
    except Exception:  # whatever a foreign compiler says, the answer is no
        return False
    rows = codes.reshape(2, TILE_ROWS, 4).transpose(1, 0, 2).reshape(TILE_ROWS, 8)
    return bool(np.array_equal(sums[0], rows.astype(np.int32) @ query[0].astype(np.int32) + 7))


@njit(nogil=True, cache=True)
def _trial(codes: Any, query: Any, scales: Any, sums: Any, masks: Any) -> None:
    starts, floors = np.full(1, 7, dtype=np.int32), np.zeros(1, dtype=np.float32)
    byte_tile_1(tile_at(codes, query, starts, scales, floors, sums, masks), query.strides[0], 2)


@njit(nogil=True, cache=True)
def tile_at(codes: Any, queries: Any, starts: Any, scales: Any, floors: Any, sums: Any, masks: Any) -> Any:
    """Return the addresses that `byte_tile_12` takes, of whole arrays."""
    return (
        np.uintp(codes.ctypes.data),
        np.uintp(queries.ctypes.data),
        np.uintp(starts.ctypes.data),
        np.uintp(scales.ctypes.data),
        np.uintp(floors.ctypes.data),
        np.uintp(sums.ctypes.data),
        np.uintp(masks.ctypes.data),
    )
