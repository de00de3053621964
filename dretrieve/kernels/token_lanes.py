"""Inner loops over token vectors in which a vector register holds one number per query token.

A *row* is a stored token or a centroid in bytes, a *lane* one token of the query. A query has 8, 16 or 32
lanes at a time (its *width*); those beyond its tokens hold zeros. The loops are given in the compiler's own
intermediate language, as in `dretrieve.kernels.simd`, so that what goes from row to row stays in registers.
All work on every processor; the products in bytes take AVX-512 VNNI where there is such, and are the same
integers without.

Addresses are plain integers (``array.ctypes.data``); the callers keep the arrays alive. Every loop takes the
width first and has at least one turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.simd import (
    F32,
    I8,
    I16,
    I32,
    I64,
    LINE,
    Loop,
    byte_products,
    byte_unit,
    declared,
    has_byte_tile,
    load,
    pairs_summed,
    prefetch,
    same,
    spread,
    store,
    unsigned_halves,
)

WIDTHS = (8, 16, 32)
AHEAD = 1 << 12  # how many bytes before its turn a row is asked for
TILE = 8  # rows multiplied at once: their sums fill the registers and hide the latency of a product
AT, COUNT = types.uintp, types.intp


def _by_width(body: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes an intrinsic of ``body(builder, width, arguments)``: a branch for each width.

    The intrinsic's first argument is the width. A body gets the others, addresses as pointers, and returns an
    int64 or nothing.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        taken = [
            builder.inttoptr(value, ir.PointerType(I8)) if kind == AT else value
            for kind, value in zip(signature.args[1:], arguments[1:], strict=True)
        ]
        other, after = builder.append_basic_block("other"), builder.append_basic_block("after")
        switch = builder.switch(arguments[0], other)
        builder.position_at_end(other)
        builder.unreachable()
        results = []
        for width in WIDTHS:
            block = builder.append_basic_block("width")
            switch.add_case(I64(width), block)
            builder.position_at_end(block)
            results.append((body(builder, width, taken), builder.block))
            builder.branch(after)
        builder.position_at_end(after)
        if signature.return_type == types.void:
            return context.get_dummy_value()
        found = builder.phi(I64)
        for result, block in results:
            found.add_incoming(result, block)
        return found

    return generate


def _larger(builder: Any, value: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", value, other), value, other)


def _multiply_vnni(builder: Any, totals: list[Any], row: Any, lanes: list[Any]) -> list[Any]:
    """Add to each lane the products of four bytes of a row (unsigned) and of the lane (signed)."""
    function, operand = byte_products(builder, totals[0].type)
    four = builder.bitcast(spread(builder, row, totals[0].type.count), operand)
    pairs = zip(totals, lanes, strict=True)
    return [builder.call(function, [total, four, builder.bitcast(lane, operand)]) for total, lane in pairs]


def _multiply_plain(builder: Any, totals: list[Any], row: Any, lanes: list[Any]) -> list[Any]:
    """Do the same by numbers of 16 bits."""
    halves = ir.VectorType(I16, 2 * totals[0].type.count)
    eight, added = same(halves, 8), []
    codes = unsigned_halves(builder, builder.bitcast(spread(builder, row, totals[0].type.count), halves))
    for total, lane in zip(totals, lanes, strict=True):
        signed = builder.bitcast(lane, halves)
        mine = builder.ashr(builder.shl(signed, eight), eight), builder.ashr(signed, eight)
        for one, other in zip(codes, mine, strict=True):
            total = builder.add(total, pairs_summed(builder, one, other))
        added.append(total)
    return added


def _products_of(rows: int, vnni: bool | None = None) -> Any:
    """Make the intrinsic for so many rows; ``vnni`` None uses it where the processor has it."""

    def body(builder: Any, width: int, arguments: list[Any]) -> None:
        base, stride, steps, lanes, starts, out = arguments
        has = byte_unit() == "vnni" and has_byte_tile() if vnni is None else vnni
        multiply = _multiply_vnni if has else _multiply_plain
        words = ir.VectorType(I32, min(width, 16))
        places = range(0, width, words.count)
        together = rows if has else max(1, 64 // width)  # of more sums some leave the sixteen registers
        for first in range(0, rows, together):
            some = range(first, min(first + together, rows))
            begun = [load(builder, starts, 4 * place, words, 4) for place in places]
            loop = Loop(builder, steps, begun * len(some))
            offset = builder.mul(loop.index, I64(4 * width))
            codes = [load(builder, lanes, builder.add(offset, I64(4 * place)), words, 1) for place in places]
            sums: list[Any] = []
            for row in some:
                place = builder.add(builder.mul(stride, I64(row)), builder.mul(loop.index, I64(4)))
                totals = loop.values[len(sums) : len(sums) + len(codes)]
                sums += multiply(builder, totals, load(builder, base, place, I32, 1), codes)
            loop.close(sums)
            for place, total in enumerate(sums, start=first * len(codes)):
                store(builder, total, out, 4 * words.count * place, 4)

    @intrinsic
    def made(
        typing: Any, width: Any, rows: Any, stride: Any, steps: Any, lanes: Any, starts: Any, out: Any
    ) -> Any:
        return types.void(COUNT, AT, COUNT, COUNT, AT, AT, AT), _by_width(body)

    return made


_one_row, _tile_rows = _products_of(1), _products_of(TILE)


@njit(nogil=True, cache=True)
def products(
    width: Any, rows: Any, stride: Any, count: Any, steps: Any, lanes: Any, starts: Any, out: Any
) -> None:
    """Write the sums of byte products of rows with the lanes.

    Args:
        width: lanes.
        rows: the address of the rows' codes, uint8.
        stride: bytes from one row to the next.
        count: of rows.
        steps: a quarter of the dimensions, at least 1.
        lanes: [steps, width, 4] int8.
        starts: [width] int32, where the sums begin.
        out: [count, width] int32.
    """
    row = 0
    while row < count:
        if count < TILE:
            place = np.uintp(out + 4 * width * row)
            _one_row(width, np.uintp(rows + row * stride), stride, steps, lanes, starts, place)
            row += 1
        else:  # the last eight may overlap those before them, whose sums they write again
            first = min(row, count - TILE)
            place = np.uintp(out + 4 * width * first)
            if width > 8:  # with so few lanes the sums wait for the rows anyway
                for line in range(0, TILE * stride, LINE):
                    prefetch(np.uintp(rows + first * stride + AHEAD + line))
            _tile_rows(width, np.uintp(rows + first * stride), stride, steps, lanes, starts, place)
            row += TILE


def _of_code(builder: Any, codes: Any, index: Any, table: Any, kind: Any) -> Any:
    """Return the row of a table for the ``index``-th of uint16 codes."""
    code = builder.zext(load(builder, codes, builder.mul(index, I64(2)), I16, 2), I64)
    size = kind.element.width // 8 * kind.count
    return load(builder, table, builder.mul(code, I64(size)), kind, size)


def _in_order(builder: Any, row: Any, largest: list[Any], above: Callable[[Any, Any], Any]) -> list[Any]:
    """Return the largest of each lane so far, falling, after one more row."""
    placed = []
    for value in largest:
        higher = above(row, value)
        placed.append(builder.select(higher, row, value))
        row = builder.select(higher, value, row)
    return placed


def _first_of(builder: Any, largest: list[Any], wanted: Any) -> tuple[list[Any], Any]:
    """Return the first ``wanted`` of some vectors, zeros instead of the others, and the last of these."""
    firsts, last = [largest[0]], largest[0]
    for place, value in enumerate(largest[1:], start=1):
        inside = builder.icmp_signed(">", wanted, I64(place))
        firsts.append(builder.select(inside, value, same(value.type, 0)))
        last = builder.select(inside, value, last)
    return firsts, last


def _top_of_codes(most: int) -> Any:
    def body(builder: Any, width: int, arguments: list[Any]) -> Any:
        wanted, codes, count, table, out = arguments
        kind, words = ir.VectorType(I8, width), ir.VectorType(I32, width)
        loop = Loop(builder, count, [same(kind, 0)] * most)
        row = _of_code(builder, codes, loop.index, table, kind)
        placed = _in_order(builder, row, loop.values, lambda a, b: builder.icmp_unsigned(">", a, b))
        loop.close(placed)
        firsts, last = _first_of(builder, placed, wanted)
        store(builder, last, out, 0, 1)
        total = builder.zext(firsts[0], words)
        for value in firsts[1:]:
            total = builder.add(total, builder.zext(value, words))
        add = declared(builder, f"llvm.vector.reduce.add.v{width}i32", ir.FunctionType(I32, [words]))
        return builder.zext(builder.call(add, [total]), I64)

    @intrinsic
    def made(typing: Any, width: Any, wanted: Any, codes: Any, count: Any, table: Any, out: Any) -> Any:
        return types.int64(COUNT, COUNT, AT, COUNT, AT, AT), _by_width(body)

    return made


def _top_of_scores(most: int) -> Any:
    def body(builder: Any, width: int, arguments: list[Any]) -> None:
        wanted, scores, count, out = arguments
        kind = ir.VectorType(F32, width)
        loop = Loop(builder, count, [same(kind, -np.inf)] * most)
        row = load(builder, scores, builder.mul(loop.index, I64(4 * width)), kind, 4)
        placed = _in_order(builder, row, loop.values, lambda a, b: builder.fcmp_ordered(">", a, b))
        loop.close(placed)
        firsts, last = _first_of(builder, placed, wanted)
        total = firsts[0]
        for value in firsts[1:]:
            total = builder.fadd(total, value)
        store(builder, total, out, 0, 4)
        store(builder, last, out, 4 * width, 4)

    @intrinsic
    def made(typing: Any, width: Any, wanted: Any, scores: Any, count: Any, out: Any) -> Any:
        return types.void(COUNT, COUNT, AT, COUNT, AT), _by_width(body)

    return made


MOST_LARGEST = 16
_codes_1, _codes_2, _codes_4, _codes_8, _codes_16 = map(_top_of_codes, (1, 2, 4, 8, MOST_LARGEST))
_scores_2, _scores_4, _scores_8, _scores_16 = map(_top_of_scores, (2, 4, 8, MOST_LARGEST))


@njit(nogil=True, cache=True)
def top_of_codes(width: Any, wanted: Any, codes: Any, count: Any, table: Any, out: Any) -> Any:
    """Write the ``wanted``-th largest table entry of each lane, [width] uint8; return the sum of the largest.

    The entries are those of some uint16 codes in a table [C, width] uint8; ``wanted`` is from 1 to
    `MOST_LARGEST` and at most ``count``.
    """
    if wanted <= 1:
        return _codes_1(width, wanted, codes, count, table, out)
    if wanted <= 2:
        return _codes_2(width, wanted, codes, count, table, out)
    if wanted <= 4:
        return _codes_4(width, wanted, codes, count, table, out)
    if wanted <= 8:
        return _codes_8(width, wanted, codes, count, table, out)
    return _codes_16(width, wanted, codes, count, table, out)


@njit(nogil=True, cache=True)
def top_of_scores(width: Any, wanted: Any, scores: Any, count: Any, out: Any) -> None:
    """Write the sum of each lane's ``wanted`` largest scores, then the last of these, [2, width] float32.

    Scores are [count, width] float32; ``wanted`` as in `top_of_codes`.
    """
    if wanted <= 2:
        _scores_2(width, wanted, scores, count, out)
    elif wanted <= 4:
        _scores_4(width, wanted, scores, count, out)
    elif wanted <= 8:
        _scores_8(width, wanted, scores, count, out)
    else:
        _scores_16(width, wanted, scores, count, out)


def _soft_body(builder: Any, width: int, arguments: list[Any]) -> None:
    scores, count, best = arguments
    kind, words = ir.VectorType(F32, width), ir.VectorType(I32, width)
    largest, scale = (load(builder, best, place, kind, 4) for place in (0, 4 * width))
    loop = Loop(builder, count, [same(kind, 0.0)] * 2)
    row = load(builder, scores, builder.mul(loop.index, I64(4 * width)), kind, 4)
    power = _larger(builder, builder.fmul(builder.fsub(row, largest), scale), same(kind, -126.0))
    whole = builder.fptosi(power, words)  # towards zero: what is left is above -1
    rest = builder.fsub(power, builder.sitofp(whole, kind))
    term = same(kind, POWERS[0])
    for factor in POWERS[1:]:
        term = builder.fadd(builder.fmul(term, rest), same(kind, factor))
    exponent = builder.shl(builder.add(whole, same(words, 127)), same(words, 23))
    term = builder.fmul(term, builder.bitcast(exponent, kind))
    carried = builder.fadd(loop.values[0], builder.fmul(term, row)), builder.fadd(loop.values[1], term)
    loop.close([*carried])
    store(builder, builder.fdiv(*carried), best, 0, 4)


POWERS = (0.0096181, 0.0555041, 0.2402265, 0.6931472, 1.0)
"""2 ** x for x from -1 to 0 within a quarter of a percent, the highest power of x first."""


@intrinsic
def soft_of_scores(typing: Any, width: Any, scores: Any, count: Any, best: Any) -> Any:
    """Write over each lane's best the mean of its scores s, each as often as 2 ** (scale * (s - best)).

    Scores are [count, width] float32; ``best`` is [2, width] float32, the largest scores and the scales.
    """
    return types.void(COUNT, AT, COUNT, AT), _by_width(_soft_body)


def _codes_above_body(builder: Any, width: int, arguments: list[Any]) -> Any:
    codes, count, table, floors, out = arguments
    kind, bits = ir.VectorType(I8, width), ir.IntType(width)
    floor = load(builder, floors, 0, kind, 1)
    loop = Loop(builder, count, [I64(0)])
    row = _of_code(builder, codes, loop.index, table, kind)
    reached = builder.bitcast(builder.icmp_unsigned(">=", row, floor), bits)
    # always written, kept only by counting on
    store(builder, builder.trunc(loop.index, I32), out, builder.mul(loop.values[0], I64(4)), 4)
    found = builder.add(loop.values[0], builder.zext(builder.icmp_unsigned("!=", reached, bits(0)), I64))
    loop.close([found])
    return found


@intrinsic
def codes_above(typing: Any, width: Any, codes: Any, count: Any, table: Any, floors: Any, out: Any) -> Any:
    """Write the positions of the codes that reach a lane's floor ([width] uint8); return how many.

    ``out`` has room for ``count`` int32; the table is [C, width] uint8.
    """
    return types.int64(COUNT, AT, COUNT, AT, AT, AT), _by_width(_codes_above_body)


def _add_body(builder: Any, width: int, arguments: list[Any]) -> None:
    sums, count, codes, table, rates, best = arguments
    kind, words, entries = (ir.VectorType(element, width) for element in (F32, I32, I16))
    unit, factor = load(builder, rates, 0, kind, 4), load(builder, rates, 4 * width, kind, 4)
    loop = Loop(builder, count, [load(builder, best, 0, kind, 4)])
    row = builder.sitofp(_of_code(builder, codes, loop.index, table, entries), kind)
    place = builder.mul(loop.index, I64(4 * width))
    total = builder.sitofp(load(builder, sums, place, words, 4), kind)
    score = builder.fadd(builder.fmul(row, unit), builder.fmul(total, factor))
    store(builder, score, sums, place, 4)
    largest = _larger(builder, score, loop.values[0])
    loop.close([largest])
    store(builder, largest, best, 0, 4)


@intrinsic
def add_centroids(
    typing: Any, width: Any, sums: Any, count: Any, codes: Any, table: Any, rates: Any, best: Any
) -> Any:
    """Turn sums of products into scores, ``rates[0] * table[code] + rates[1] * sum``; raise a lane's best.

    ``sums`` is [count, width] int32, overwritten by float32; ``codes`` [count] uint16; the table [C, width]
    int16; rates [2, width] and best [width] float32.
    """
    return types.void(COUNT, AT, COUNT, AT, AT, AT, AT), _by_width(_add_body)


def _lanes_above_body(builder: Any, width: int, arguments: list[Any]) -> None:
    scores, count, floors, out = arguments
    kind = ir.VectorType(F32, width)
    floor = load(builder, floors, 0, kind, 4)
    loop = Loop(builder, count, [])
    row = load(builder, scores, builder.mul(loop.index, I64(4 * width)), kind, 4)
    bits = builder.bitcast(builder.fcmp_unordered(">=", row, floor), ir.IntType(width))
    bits = bits if width == 32 else builder.zext(bits, I32)
    store(builder, bits, out, builder.mul(loop.index, I64(4)), 4)
    loop.close([])


@intrinsic
def lanes_above(typing: Any, width: Any, scores: Any, count: Any, floors: Any, out: Any) -> Any:
    """Write a uint32 for each row of scores: a bit for every lane that is not below its floor.

    Scores are [count, width] float32, floors [width] float32.
    """
    return types.void(COUNT, AT, COUNT, AT, AT), _by_width(_lanes_above_body)


def _fill_body(builder: Any, width: int, arguments: list[Any]) -> None:
    sums, count, gains, table, peaks, totals = arguments
    kind, words, entries = (ir.VectorType(element, width) for element in (F32, I32, I16))
    gain = load(builder, gains, 0, kind, 4)
    carried = [load(builder, place, 0, kind, 4) for place in (peaks, totals)]
    loop = Loop(builder, count, carried)
    row = load(builder, sums, builder.mul(loop.index, I64(4 * width)), words, 4)
    entry = builder.fptosi(builder.fmul(builder.sitofp(row, kind), gain), words)
    store(builder, builder.trunc(entry, entries), table, builder.mul(loop.index, I64(2 * width)), 2 * width)
    number = builder.sitofp(entry, kind)
    carried = [_larger(builder, number, loop.values[0]), builder.fadd(loop.values[1], number)]
    loop.close(carried)
    for value, place in zip(carried, (peaks, totals), strict=True):
        store(builder, value, place, 0, 4)


@intrinsic
def fill_table(
    typing: Any, width: Any, sums: Any, count: Any, gains: Any, table: Any, peaks: Any, totals: Any
) -> Any:
    """Write ``gains * sums``, cut to whole numbers, [count, width] int16; carry their largest and their sum.

    ``sums`` is [count, width] int32, the others [width] float32.
    """
    return types.void(COUNT, AT, COUNT, AT, AT, AT, AT), _by_width(_fill_body)


def _shrink_body(builder: Any, width: int, arguments: list[Any]) -> None:
    table, count, gains, shifts, out = arguments
    kind, words, small = (ir.VectorType(element, width) for element in (F32, I32, I8))
    gain, shift = load(builder, gains, 0, kind, 4), load(builder, shifts, 0, kind, 4)
    loop = Loop(builder, count, [])
    place = builder.mul(loop.index, I64(2 * width))
    row = builder.sitofp(load(builder, table, place, ir.VectorType(I16, width), 2 * width), kind)
    number = _larger(builder, builder.fadd(builder.fmul(row, gain), shift), same(kind, 0.0))
    most = same(kind, 255.0)
    number = builder.select(builder.fcmp_ordered("<", number, most), number, most)
    entry = builder.trunc(builder.fptosi(number, words), small)
    store(builder, entry, out, builder.mul(loop.index, I64(width)), width)
    loop.close([])


@intrinsic
def shrink_table(typing: Any, width: Any, table: Any, count: Any, gains: Any, shifts: Any, out: Any) -> Any:
    """Write ``gains * table + shifts`` cut to 0 … 255, [count, width] uint8; the table is int16.

    Gains and shifts are [width] float32.
    """
    return types.void(COUNT, AT, COUNT, AT, AT, AT), _by_width(_shrink_body)
