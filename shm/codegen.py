# SPDX-License-Identifier: MIT
"""What the functions of :mod:`shm.intrinsics` become inside a compiled kernel.

Importing this module imports Numba (0.3 s), so only the processes that run packets, and the zygote they
are forked from, do so. The command line checks a configuration without it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.datamodel.models import OpaqueModel
from numba.core.datamodel.registry import register_default as register_model
from numba.core.imputils import lower_builtin, lower_constant, lower_getattr
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import register_jitable, typeof_impl

from shm import intrinsics, syscalls
from shm.layout import Layout

# Numba does not need it, but `pause` and, on arm64, `ticks` are inline assembly.
binding.initialize_native_asmparser()

I64 = ir.IntType(64)
_int64, _none = types.int64, types.none


def _lower(twin: Callable[..., Any], result: Any, codegen: Callable[..., Any]) -> None:
    """Replace `twin` in kernels by what `codegen(context, builder, sig, args)` emits.

    `result` is the Numba type returned, or a function of the argument types that gives it.
    """

    class Template(AbstractTemplate):
        key = twin

        def generic(self, args: Any, kws: Any) -> Any:
            returned = result(*args) if callable(result) and not isinstance(result, types.Type) else result
            # Plain integers of any width widen to int64; types passed as arguments stay themselves.
            wide = [_int64 if isinstance(a, types.Integer | types.Boolean) else a for a in args]
            return signature(returned, *wide)

    Template.__name__ = twin.__name__
    infer_global(twin, types.Function(Template))
    lower_builtin(twin, types.VarArg(types.Any))(codegen)


def _pointer(builder: Any, address: Any, bits: int) -> Any:
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


def _load(bits: int, ordering: str | None = None, swap: bool = False) -> Callable[..., Any]:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(builder, args[0], bits)
        if ordering:
            value = builder.load_atomic(pointer, ordering, bits // 8)
        else:
            value = builder.load(pointer, align=1)
        if swap:
            value = builder.bswap(value)
        return value if bits == 64 else builder.zext(value, I64)

    return codegen


def _store(bits: int, ordering: str | None = None, swap: bool = False) -> Callable[..., Any]:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(builder, args[0], bits)
        value = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
        if swap:
            value = builder.bswap(value)
        if ordering:
            builder.store_atomic(value, pointer, ordering, bits // 8)
        else:
            builder.store(value, pointer, align=1)
        return context.get_dummy_value()

    return codegen


for _bits, _twin in ((8, intrinsics.load8), (16, intrinsics.load16), (32, intrinsics.load32), (64, intrinsics.load64)):
    _lower(_twin, _int64, _load(_bits))
for _bits, _stored in (
    (8, intrinsics.store8),
    (16, intrinsics.store16),
    (32, intrinsics.store32),
    (64, intrinsics.store64),
):
    _lower(_stored, _none, _store(_bits))
_lower(intrinsics.be16, _int64, _load(16, swap=True))
_lower(intrinsics.be32, _int64, _load(32, swap=True))
_lower(intrinsics.put_be16, _none, _store(16, swap=True))
_lower(intrinsics.put_be32, _none, _store(32, swap=True))
_lower(intrinsics.acquire64, _int64, _load(64, "acquire"))
_lower(intrinsics.relaxed64, _int64, _load(64, "monotonic"))
_lower(intrinsics.release64, _none, _store(64, "release"))
_lower(intrinsics.acquire32, _int64, _load(32, "acquire"))
_lower(intrinsics.release32, _none, _store(32, "release"))


def _settle(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.fence("seq_cst", "singlethread")
    return context.get_dummy_value()


_lower(intrinsics.settle, _none, _settle)


def _fence(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.fence("seq_cst")
    return context.get_dummy_value()


_lower(intrinsics.fence, _none, _fence)


def _sys6(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    # "memory" keeps stores to a ring in front of the call that tells the kernel of them.
    if platform.machine() == "aarch64":
        instruction, places = "svc #0", "={x0},{x8},{x0},{x1},{x2},{x3},{x4},{x5},~{memory}"
    else:
        instruction = "syscall"
        places = "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9},~{rcx},~{r11},~{memory}"
    call = ir.InlineAsm(ir.FunctionType(I64, [I64] * 7), instruction, places, side_effect=True)
    return builder.call(call, args)


_lower(syscalls.sys6, _int64, _sys6)


def _copy(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    target, source = (_pointer(builder, a, 8) for a in args[:2])
    move = builder.module.declare_intrinsic("llvm.memmove", [target.type, source.type, I64])
    builder.call(move, [target, source, args[2], ir.Constant(ir.IntType(1), 0)])
    return context.get_dummy_value()


_lower(intrinsics.copy, _none, _copy)


def _prefetch(write: int) -> Callable[..., Any]:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        pointer = _pointer(builder, args[0], 8)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer.type], ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        )
        # Highest locality, data cache. Write intent saves the upgrade when the header is rewritten.
        builder.call(function, [pointer, i32(write), i32(3), i32(1)])
        return context.get_dummy_value()

    return codegen


_lower(intrinsics.prefetch, _none, _prefetch(1))
_lower(intrinsics.prefetch_read, _none, _prefetch(0))


def _ticks(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if platform.machine() == "aarch64":
        # The cycle counter PMCCNTR traps in user mode on Linux; the virtual counter does not.
        read = ir.InlineAsm(ir.FunctionType(I64, []), "mrs $0, cntvct_el0", "=r", side_effect=True)
        return builder.call(read, [])
    return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(I64, [])), [])


_lower(intrinsics.ticks, _int64, _ticks)


def _cpu_time_ns(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    timespec = cgutils.alloca_once(builder, ir.LiteralStructType([I64, I64]))
    as_int = builder.ptrtoint(timespec, I64)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.IntType(32), [ir.IntType(32), I64]), "clock_gettime"
    )
    builder.call(function, [ir.IntType(32)(3), as_int])  # 3 is CLOCK_THREAD_CPUTIME_ID
    zero, one = ir.IntType(32)(0), ir.IntType(32)(1)
    seconds = builder.load(builder.gep(timespec, [zero, zero]))
    return builder.add(builder.mul(seconds, I64(10**9)), builder.load(builder.gep(timespec, [zero, one])))


_lower(intrinsics.cpu_time_ns, _int64, _cpu_time_ns)


def _pause(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    instruction = "yield" if platform.machine() == "aarch64" else "pause"
    builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), instruction, "", side_effect=True), [])
    return context.get_dummy_value()


_lower(intrinsics.pause, _none, _pause)


def _bit_length(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.sub(I64(64), builder.ctlz(args[0], ir.IntType(1)(0)))


_lower(intrinsics.bit_length, _int64, _bit_length)


def _unlikely(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    expect = builder.module.declare_intrinsic("llvm.expect", [I64], ir.FunctionType(I64, [I64, I64]))
    return builder.call(expect, [args[0], I64(0)])


_lower(intrinsics.unlikely, _int64, _unlikely)


def _call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    prototype = ir.FunctionType(I64, [I64] * 4)
    return builder.call(builder.inttoptr(args[0], prototype.as_pointer()), args[1:])


_lower(intrinsics.call, _int64, _call)


def _record(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.inttoptr(args[0], context.get_value_type(sig.return_type))


_lower(intrinsics.record, lambda address, dtype: dtype.dtype, _record)


def _stack_record(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    storage = cgutils.alloca_once(builder, context.get_data_type(sig.return_type))
    return builder.bitcast(storage, context.get_value_type(sig.return_type))


_lower(intrinsics.stack_record, lambda dtype: dtype.dtype, _stack_record)


class LayoutType(types.Type):
    """A :class:`shm.layout.Layout` inside a kernel: `CORE["task"]` and `CORE.size` are constants."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        super().__init__(name=f"Layout({layout.name}, {layout.size}, {layout.fields})")


@typeof_impl.register(Layout)
def _typeof_layout(value: Layout, context: Any) -> LayoutType:
    return LayoutType(value)


register_model(LayoutType)(OpaqueModel)


@lower_constant(LayoutType)
def _layout_constant(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


@infer
class _LayoutField(AbstractTemplate):
    key = "static_getitem"

    def generic(self, args: Any, kws: Any) -> Any:
        layout, field = args
        if isinstance(layout, LayoutType) and isinstance(field, str):
            return signature(_int64, layout, types.literal(field))
        return None


@lower_builtin("static_getitem", LayoutType, types.StringLiteral)
def _layout_field(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return I64(sig.args[0].layout[args[1]])


@infer_getattr
class _LayoutSize(AttributeTemplate):
    key = LayoutType

    def resolve_size(self, layout: LayoutType) -> Any:
        return _int64


@lower_getattr(LayoutType, "size")
def _layout_size(context: Any, builder: Any, kind: LayoutType, value: Any) -> Any:
    return I64(kind.layout.size)


#: For functions that only compiled code calls: no wrappers for Python or C.
UNCALLED: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_registered = 0


def register_kernels() -> None:
    """Make every function marked with :func:`shm.intrinsics.kernel` so far callable from compiled code."""
    global _registered
    for function in intrinsics.KERNELS[_registered:]:
        # Left out, whether a function is inlined is its caller's choice: a composed path inlines all that it calls.
        inlined = {"forceinline": True} if function in intrinsics.INLINED else {}
        register_jitable(**inlined, **UNCALLED)(function)
    _registered = len(intrinsics.KERNELS)


register_kernels()
