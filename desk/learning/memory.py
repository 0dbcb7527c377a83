"""Memory in compiled code: asked for ahead of its use, and copied without looking who else is there."""

# numba's interface for own instructions is untyped, and it looks at their parameters one by one.
# pyright: basic, reportMissingTypeStubs=false
# ruff: noqa: PLR0917

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_READ, _KEEP, _DATA = 0, 3, 1
_AT_ONCE = 4
"""Numbers that are copied by one instruction: any x86 or ARM of 64 bits has it."""


def _address(context: Any, builder: Any, kind: Any, array: Any, *index: Any) -> Any:
    values = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, values, index, wraparound=False)


def _prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    signature = types.void(array, types.intp, types.intp)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        address = _address(context, builder, called.args[0], *arguments)
        byte = builder.bitcast(address, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [byte.type, number, number, number])
        name = "llvm.prefetch.p0"
        instruction = cgutils.get_or_insert_function(builder.module, shape, name)
        builder.call(instruction, [byte, number(_READ), number(_KEEP), number(_DATA)])
        return context.get_dummy_value()

    return signature, generate


def _copy_numbers(
    typing_context: Any, target: Any, at: Any, source: Any, row: Any, column: Any, count: Any
) -> Any:
    signature = types.void(target, types.intp, source, *[types.intp] * 3)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        target, at, source, row, column, count = arguments
        into = _address(context, builder, called.args[0], target, at, count.type(0))
        of = _address(context, builder, called.args[2], source, row, column)
        size, several = of.type.pointee, ir.VectorType(of.type.pointee, _AT_ONCE)
        whole = builder.and_(count, count.type(-_AT_ONCE))
        with cgutils.for_range_slice(builder, count.type(0), whole, count.type(_AT_ONCE)) as (n, _):
            _move(context, builder, into, of, n, several)
        with cgutils.for_range_slice(builder, whole, count, count.type(1)) as (n, _):
            _move(context, builder, into, of, n, size)
        return context.get_dummy_value()

    return signature, generate


def _move(context: Any, builder: Any, into: Any, of: Any, number: Any, kind: Any) -> None:
    align = context.get_abi_sizeof(of.type.pointee)
    found = builder.load(builder.bitcast(builder.gep(of, [number]), kind.as_pointer()), align=align)
    builder.store(
        found, builder.bitcast(builder.gep(into, [number]), kind.as_pointer()), align=align
    )


prefetch: Any = intrinsic(_prefetch)
"""`prefetch(array, row, column)` starts fetching that cache line; it changes nothing, never faults."""
copy_numbers: Any = intrinsic(_copy_numbers)
"""`copy_numbers(target, at, source, row, column, count)`: `target[at, :count]` becomes
`source[row, column:column + count]`, both of one type, in C order, and not of the same memory.

A plain loop asks at every row whether the two overlap, which takes as long as the copy. Indices are
not checked."""
