"""The map of two stains, one pixel at a time in compiled code: written for LLVM, made for this processor in 0.15 CPU s.

LLVM comes with llvmlite. The compiler behind it in numba would import for 1 s, and find no vector in the sums of a
row; so the loop is written in LLVM's own language, with a row as a vector of eight. It is compiled once a process,
and keeps nothing on disk.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from wsiprep.stain.exponents import FINE_BITS, LEVELS, Exponents
from wsiprep.stain.normalise import Rgb

_ROW_BYTES, _ENTRIES_BYTES = 64, 32
_CHANNEL_BYTES = LEVELS * _ROW_BYTES
_LOW_WORD = (1 << 32) - 1
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_uint64
_ARGUMENTS = (*[_POINTER] * 2, _LONG, *[_POINTER] * 5, _LONG, _POINTER, ctypes.c_double)


def _row(channel: int, name: str) -> str:
    """What a colour's level of a channel adds to its exponents: as ``%name.free`` and ``%name.alone``."""
    return f"""
  %{name}.line = shl nuw nsw i64 %{name}, {_ROW_BYTES.bit_length() - 1}
  %{name}.at = getelementptr i8, ptr %rows, i64 %{name}.line
  %{name}.free.at = getelementptr i8, ptr %{name}.at, i64 {channel * _CHANNEL_BYTES}
  %{name}.alone.at = getelementptr i8, ptr %{name}.at, i64 {channel * _CHANNEL_BYTES + _ENTRIES_BYTES}
  %{name}.free = load <8 x i32>, ptr %{name}.free.at, align 4
  %{name}.alone = load <8 x i32>, ptr %{name}.alone.at, align 4"""


def _level(channel: int, name: str) -> str:
    """A channel's level of the pixel, as ``%name`` (i64)."""
    return f"""
  %{name}.from = getelementptr i8, ptr %pixel, i64 {channel}
  %{name}.byte = load i8, ptr %{name}.from, align 1
  %{name} = zext i8 %{name}.byte to i64"""


def _drawn(channel: int, exponent: str) -> str:
    """A channel of the result, by its place in the table of light."""
    return f"""
  %light.at.{channel} = getelementptr i8, ptr %light, i64 %{exponent}
  %level.{channel} = load i8, ptr %light.at.{channel}, align 1
  %to.{channel} = getelementptr i8, ptr %drawn, i64 {channel}
  store i8 %level.{channel}, ptr %to.{channel}, align 1"""


def _decided(stain: int, levels: tuple[str, ...]) -> str:
    """Whether a stain is absent, as ``%absent.stain``, added up in the order of ``Exponents.unstained``."""
    lines, total = [], ""
    for channel, level in enumerate(levels):
        name = f"d{stain}{channel}"
        lines.append(f"""
  %{name}.place = add i64 %{level}, {LEVELS * (3 * stain + channel)}
  %{name}.at = getelementptr double, ptr %decisive, i64 %{name}.place
  %{name} = load double, ptr %{name}.at, align 8""")
        if total:
            lines.append(f"\n  %{name}.sum = fadd double %{total}, %{name}")
        total = f"{name}.sum" if total else name
    return "".join(lines) + f"\n  %absent.{stain} = fcmp ole double %{total}, %threshold"


_AGAIN = ("r.again", "g.again", "b.again")
_PROGRAM = f"""
define void @map(ptr %pixels, ptr %result, i64 %size, ptr %rows, ptr %least.at, ptr %flipped.at, ptr %light,
                 ptr %glass, i64 %pale, ptr %decisive, double %threshold) {{
entry:
  %least = load <8 x i32>, ptr %least.at, align 4
  %flipped = load <8 x i32>, ptr %flipped.at, align 4
  %green.glass.at = getelementptr i64, ptr %glass, i64 1
  %blue.glass.at = getelementptr i64, ptr %glass, i64 2
  %red.glass = load i64, ptr %glass, align 8
  %green.glass = load i64, ptr %green.glass.at, align 8
  %blue.glass = load i64, ptr %blue.glass.at, align 8
  %empty = icmp eq i64 %size, 0
  br i1 %empty, label %done, label %colour
colour:
  %place = phi i64 [0, %entry], [%next.place, %next]
  %pixel = getelementptr i8, ptr %pixels, i64 %place
  %drawn = getelementptr i8, ptr %result, i64 %place
  {_level(0, "r")}{_level(1, "g")}{_level(2, "b")}
  {_row(0, "r")}{_row(1, "g")}{_row(2, "b")}
  %free.two = add <8 x i32> %r.free, %g.free
  %free = add <8 x i32> %free.two, %b.free
  %alone.two = add <8 x i32> %r.alone, %g.alone
  %alone = add <8 x i32> %alone.two, %b.alone
  %is.free = icmp slt <8 x i32> %free, %alone
  %there = select <8 x i1> %is.free, <8 x i32> %free, <8 x i32> %alone
  %is.there = icmp sgt <8 x i32> %there, %least
  %present = select <8 x i1> %is.there, <8 x i32> %there, <8 x i32> %least
  %parts = xor <8 x i32> %present, %flipped
  %first = shufflevector <8 x i32> %parts, <8 x i32> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  %second = shufflevector <8 x i32> %parts, <8 x i32> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %fine = add <4 x i32> %first, %second
  %total = lshr <4 x i32> %fine, <{", ".join([f"i32 {FINE_BITS}"] * 4)}>
  %pairs = bitcast <4 x i32> %total to <2 x i64>
  %red.green = extractelement <2 x i64> %pairs, i64 0
  %blue.amounts = extractelement <2 x i64> %pairs, i64 1
  %red = and i64 %red.green, {_LOW_WORD}
  %green = lshr i64 %red.green, 32
  %blue = and i64 %blue.amounts, {_LOW_WORD}
  %amounts = lshr i64 %blue.amounts, 32
  {_drawn(0, "red")}{_drawn(1, "green")}{_drawn(2, "blue")}
  %is.pale = icmp ule i64 %amounts, %pale
  br i1 %is.pale, label %maybe, label %next
maybe:
  {"".join(_level(channel, name) for channel, name in enumerate(_AGAIN))}
  %bright.red = icmp uge i64 %r.again, %red.glass
  %bright.green = icmp uge i64 %g.again, %green.glass
  %bright.blue = icmp uge i64 %b.again, %blue.glass
  %bright.two = and i1 %bright.red, %bright.green
  %bright = and i1 %bright.two, %bright.blue
  {_decided(0, _AGAIN)}{_decided(1, _AGAIN)}
  %absent = and i1 %absent.0, %absent.1
  %stays = or i1 %bright, %absent
  br i1 %stays, label %kept, label %next
kept:
  store i8 %r.again.byte, ptr %to.0, align 1
  store i8 %g.again.byte, ptr %to.1, align 1
  store i8 %b.again.byte, ptr %to.2, align 1
  br label %next
next:
  %next.place = add nuw i64 %place, 3
  %more = icmp ult i64 %next.place, %size
  br i1 %more, label %colour, label %done
done:
  ret void
}}
"""
"""``Planes``, pixel by pixel. A colour is drawn before it is known to be glass, and loaded again then: fewer values
to keep for all the others. Floating point only decides, by sums without a product that a processor could fuse."""


@cache
def _compiled() -> tuple[Callable[..., None], Any]:
    """The function, which lets other threads run meanwhile, and what owns its code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    processor, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=processor, features=features, opt=3)
    program = llvm.parse_assembly(_PROGRAM)
    program.verify()
    engine = llvm.create_mcjit_compiler(program, machine)
    engine.finalize_object()
    return ctypes.CFUNCTYPE(None, *_ARGUMENTS)(engine.get_function_address("map")), engine


class Fused:
    """The map in one compiled pass over the pixels. Safe to call from many threads; releases the GIL."""

    def __init__(self, tables: Exponents) -> None:
        self._tables = tables  # owns the memory below
        t = tables
        arrays = (t.rows, t.least, t.flipped, t.light, t.glass)
        self._map, _ = _compiled()
        self._arguments = (*(a.ctypes.data for a in arrays), t.pale, t.decisive.ctypes.data, t.threshold)

    def __call__(self, rgb: Rgb) -> Rgb:
        """uint8 (h, w, 3), any strides, to a new one."""
        pixels = np.ascontiguousarray(rgb)
        result = np.empty(pixels.shape, dtype=np.uint8)
        self._map(pixels.ctypes.data, result.ctypes.data, pixels.size, *self._arguments)
        return result
