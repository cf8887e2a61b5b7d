# SPDX-License-Identifier: MIT
"""A composed module for people: its graph as a comment on top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workers.compiler.composer import compose
from workers.graph.shape import Shape


def listing(shape: Shape, names: Sequence[str] = (), title: str = "") -> str:
    """Return the module of a shape behind a comment that shows its graph and its tasks.

    Parameters
    ----------
    shape : Shape
    names : sequence of str, optional
        What a router calls its elements, by number.
    title : str, optional
        First line of the comment.
    """
    comment = [*([title, ""] if title else []), *_graph(shape, names)]
    return "".join(f"# {line}".rstrip() + "\n" for line in comment) + "\n" + compose(shape)


def _graph(shape: Shape, names: Sequence[str]) -> Iterator[str]:
    elements = [f"{names[i]} :: {name}" if names else name for i, name in enumerate(shape.classes)]
    width = max(map(len, elements), default=0)
    for i, element in enumerate(elements):
        ways = [
            f"[{output}] -> {f'[{port}] ' if port else ''}e{target}"
            for source, output, target, port in shape.edges
            if source == i
        ]
        yield f"{f'e{i}':4} {element:{width}}  {'   '.join(ways)}"
    yield ""
    for number, (kind, driver) in enumerate(shape.tasks):
        yield f"task{number} is driven by e{driver} ({kind})"
    yield "A function eN runs element N and what follows it; rN is entered from the slow path."
