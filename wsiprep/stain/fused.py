"""The map of two stains, one pixel at a time in a compiled kernel. Importing it imports numba (0.4 CPU s).

Compiled for one signature at import and cached by numba: beside this file, else in the user's cache folder (or in
``NUMBA_CACHE_DIR``); where none of them can be written it is compiled in every process (1 CPU s).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from wsiprep.stain.exponents import FINE_BITS, LEVELS, Exponents
from wsiprep.stain.normalise import Rgb

_WORD, _LONG = ir.IntType(32), ir.IntType(64)
_FOUR, _EIGHT = ir.VectorType(_WORD, 4), ir.VectorType(_WORD, 8)
_ZERO, _ONE, _TWO, _THREE = (np.uintp(value) for value in range(4))
_TUPLE: Any = types.UniTuple
_SIGNATURE = types.void(
    types.Array(types.uint8, 1, "C", readonly=True),
    types.Array(types.uint8, 1, "C"),
    types.Array(types.int32, 1, "C", readonly=True),
    _TUPLE(types.int32, 8),
    _TUPLE(types.int32, 8),
    types.Array(types.uint8, 1, "C", readonly=True),
    _TUPLE(types.uintp, 3),
    types.uintp,
    types.Array(types.float64, 3, "C", readonly=True),
    types.float64,
)


_unpacked: Any = cgutils.unpack_tuple


def _exponents_of(_: Any, rows: Any, least: Any, flipped: Any, red: Any, green: Any, blue: Any) -> tuple[Any, Any]:
    """The sums of a colour's rows in vectors of eight, which LLVM does not find in a loop over them.

    Places of R, G and B in the table of light, and both amounts together; without their fine bits.
    """
    signature = _TUPLE(types.uintp, 4)(rows, least, flipped, red, green, blue)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, least, flipped, *levels = args
        table = context.make_array(signature.args[0])(context, builder, rows).data
        table = builder.bitcast(table, _EIGHT.as_pointer())

        def vector(values: Any) -> Any:
            result = ir.Constant(_EIGHT, [0] * 8)
            for place, value in enumerate(_unpacked(builder, values)):
                result = builder.insert_element(result, value, ir.Constant(_WORD, place))
            return result

        def summed(part: int) -> Any:
            entries = []
            for channel, level in enumerate(levels):
                first = ir.Constant(_LONG, 2 * LEVELS * channel + part)
                place = builder.add(builder.shl(level, ir.Constant(_LONG, 1)), first)
                entries.append(builder.load(builder.gep(table, [place]), align=4))
            return builder.add(builder.add(entries[0], entries[1]), entries[2])

        def half(values: Any, start: int) -> Any:
            places = ir.Constant(ir.VectorType(_WORD, 4), list(range(start, start + 4)))
            return builder.shuffle_vector(values, values, places)

        def chosen(sign: str, one: Any, other: Any) -> Any:
            return builder.select(builder.icmp_signed(sign, one, other), one, other)

        parts = chosen("<", summed(0), summed(1))
        parts = builder.xor(chosen(">", parts, vector(least)), vector(flipped))
        total = builder.add(half(parts, 0), half(parts, 4))
        total = builder.lshr(total, ir.Constant(_FOUR, [FINE_BITS] * 4))
        pairs = builder.bitcast(total, ir.VectorType(_LONG, 2))  # little-endian, as all that numba runs on
        found = []
        for place in range(2):
            pair = builder.extract_element(pairs, ir.Constant(_WORD, place))
            found += [builder.and_(pair, ir.Constant(_LONG, 0xFFFFFFFF)), builder.lshr(pair, ir.Constant(_LONG, 32))]
        return context.make_tuple(builder, signature.return_type, found)

    return signature, codegen


_exponents: Any = intrinsic(_exponents_of)


def _kernel(
    pixels: Any, result: Any, rows: Any, least: Any, flipped: Any, light: Any, glass: Any, pale: Any, decisive: Any,
    threshold: Any,
) -> None:  # fmt: skip
    """``Planes``, pixel by pixel. Every place is unsigned: numba would look for negative ones.

    A colour is drawn before it is known to be glass, and then loaded again: fewer values to keep for those that
    are not. No fastmath, so that what decides is added up as everywhere else.
    """
    place, size = _ZERO, np.uintp(pixels.size)
    while place < size:
        red, green, blue, amounts = _exponents(
            rows, least, flipped,
            np.uintp(pixels[place]), np.uintp(pixels[place + _ONE]), np.uintp(pixels[place + _TWO]),
        )  # fmt: skip
        result[place] = light[red]
        result[place + _ONE] = light[green]
        result[place + _TWO] = light[blue]
        if amounts <= pale:
            red, green, blue = (
                np.uintp(pixels[place]), np.uintp(pixels[place + _ONE]), np.uintp(pixels[place + _TWO]),
            )  # fmt: skip
            if (red >= glass[0] and green >= glass[1] and blue >= glass[2]) or (
                decisive[0, 0, red] + decisive[0, 1, green] + decisive[0, 2, blue] <= threshold
                and decisive[1, 0, red] + decisive[1, 1, green] + decisive[1, 2, blue] <= threshold
            ):
                result[place], result[place + _ONE], result[place + _TWO] = red, green, blue
        place += _THREE


def _compiled() -> Any:
    def compiled(cache: bool) -> Any:
        return numba.njit([_SIGNATURE], cache=cache, nogil=True, boundscheck=False, error_model="numpy")(_kernel)

    try:
        return compiled(cache=True)
    except (RuntimeError, OSError):  # no folder for the cache, or a full one
        return compiled(cache=False)


_mapped = _compiled()


class Fused:
    """The map in one compiled pass over the pixels. Safe to call from many threads; releases the GIL."""

    def __init__(self, tables: Exponents) -> None:
        t = tables
        least, flipped = (tuple(int(value) for value in values) for values in (t.least, t.flipped))
        glass = tuple(np.uintp(level) for level in t.glass)
        self._tables = (t.rows.reshape(-1), least, flipped, t.light, glass, np.uintp(t.pale), t.decisive, t.threshold)

    def __call__(self, rgb: Rgb) -> Rgb:
        """uint8 (h, w, 3), any strides, to a new one."""
        pixels = np.ascontiguousarray(rgb)
        result = np.empty(pixels.shape, dtype=np.uint8)
        _mapped(pixels.reshape(-1), result.reshape(-1), *self._tables)
        return result
