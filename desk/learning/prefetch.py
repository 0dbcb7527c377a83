"""Asking the processor for memory ahead of its use, in compiled code."""

# numba's interface for own instructions is untyped.
# pyright: basic, reportMissingTypeStubs=false

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_READ, _KEEP, _DATA = 0, 3, 1


def _prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    signature = types.void(array, types.intp, types.intp)

    def generate(context: Any, builder: Any, called: Any, arguments: Any) -> Any:
        kind = called.args[0]
        values = context.make_array(kind)(context, builder, arguments[0])
        index = [arguments[1], arguments[2]]
        address = cgutils.get_item_pointer(context, builder, kind, values, index, wraparound=False)
        byte = builder.bitcast(address, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [byte.type, number, number, number])
        name = "llvm.prefetch.p0"
        instruction = cgutils.get_or_insert_function(builder.module, shape, name)
        builder.call(instruction, [byte, number(_READ), number(_KEEP), number(_DATA)])
        return context.get_dummy_value()

    return signature, generate


prefetch: Any = intrinsic(_prefetch)
"""`prefetch(array, row, column)` starts fetching that cache line; it changes nothing, never faults."""
