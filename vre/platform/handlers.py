# SPDX-License-Identifier: MIT
"""Click handlers: the values of elements that can be read, and written, while they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shm.manifest import ElementEntry
from vre.config.model import Model
from vre.errors import HandlerError, nearest
from vre.memory.address_space import view
from vre.memory.layout import Builder
from workers.datapath.fib import Fib
from workers.element import cap, load
from workers.elements.route import control, show_table
from workers.ranges import Bounded


class Handlers:
    """Reads and writes the handlers of a platform's elements in shared memory."""

    def __init__(self, model: Model, builder: Builder) -> None:
        self._model, self._builder = model, builder
        #: Waits until the cores of a router have finished their slices; raises if that is impossible now.
        self.await_readers: Callable[[str], object] = lambda router: None

    def _elements(self, router: str) -> dict[str, ElementEntry]:
        return {element.name: element for element in self._builder.routers[router].program.element_entries()}

    def _fib(self, router: str, element: str) -> Fib | None:
        return self._builder.routers[router].program.fibs.get(element)

    def _find(self, router: str, handler: str) -> tuple[ElementEntry, Any, Any, str]:
        name, _, what = handler.rpartition(".")
        elements = self._elements(router)
        element = elements.get(name)
        if element is None:
            where = (
                ", whose graph runs in its domU, which has no handlers"
                if self._model.routers[router].hosted_graph
                else ""
            )
            raise HandlerError(f"no element '{name}' in router '{router}'{where or nearest(name, elements)}")
        cls = load()[element.class_name]
        return element, cls, view(element.state, cls.layout().dtype)[0], what

    def read(self, router: str, handler: str, most: int | None = None) -> str:
        """Return the value of `element.handler`, or its first `most` characters."""
        return self._read(router, handler, most)[:most]

    def _read(self, router: str, handler: str, most: int | None) -> str:
        element, cls, state, what = self._find(router, handler)
        fib = self._fib(router, element.name)
        fixed = {"name": element.name, "class": element.class_name, "config": element.config}
        if what in fixed:
            return fixed[what]
        readers = {field: cap(field) for field in cls.live()} | cls.read_handlers
        if fib is not None:
            readers["table"] = lambda _: show_table(fib, most)
        if what == "handlers":
            reads, writes = cls.handlers()
            return "".join(f"{name}\n" for name in sorted({*fixed, *reads, *writes, "handlers"}))
        if what not in readers:
            raise HandlerError(f"'{element.name}' has no read handler '{what}'{nearest(what, readers)}")
        return readers[what](state)

    def write(self, router: str, handler: str, text: str) -> None:
        """Write `element.handler`."""
        element, cls, state, what = self._find(router, handler)
        fib = self._fib(router, element.name)
        try:
            if fib is not None and what in cls.table_writes:
                fib.await_readers = lambda: self.await_readers(router)
                outputs = {
                    e.output for e in self._model.routers[router].graph.edges if self._is(router, e.source, element)
                }
                control(fib, max(outputs, default=-1) + 1, what, text)
                return
            bounded, live = Bounded(state, cls.state), cls.live()
            if what in cls.write_handlers:
                cls.write_handlers[what](bounded, text)
            elif what in live:
                bounded[what] = live[what].kind(text)
            else:
                raise HandlerError(f"'{element.name}' has no write handler '{what}'{nearest(what, cls.handlers()[1])}")
        except ValueError as error:
            raise HandlerError(str(error)) from None

    def _is(self, router: str, number: int, element: ElementEntry) -> bool:
        return self._model.routers[router].graph.nodes[number].name == element.name

    def sources_done(self) -> bool:
        """Return whether there are source elements with STOP, and all of them have reached their LIMIT."""
        found = False
        for router in self._builder.routers:
            for element in self._elements(router).values():
                cls = load()[element.class_name]
                if not cls.stops:
                    continue
                state = view(element.state, cls.layout().dtype)[0]
                if state["stop"]:
                    found = True
                    if state["limit"] < 0 or state["count"] < state["limit"]:
                        return False
        return found
