# SPDX-License-Identifier: MIT
"""What a domU must know: its elements, how they are wired, what it may use. The platform tells the zygote."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ElementSpec:
    """An untrusted element.

    Attributes
    ----------
    name : str
    source : int
        Which of its cluster's sources it is in.
    class_name : str
    arguments : str
        As they are written.
    exits : dict of int to int
        Output to output of the cluster, of those that leave it.
    inner : dict of int to (int, int)
        Output to number of the element that follows in the cluster and its input, of the others.
    """

    name: str
    source: int
    class_name: str
    arguments: str
    exits: dict[int, int]
    inner: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class Cluster:
    """Untrusted elements that are connected, behind one channel.

    Attributes
    ----------
    sources : tuple of str
        Paths of the files that its elements are in.
    elements : tuple of ElementSpec
    entries : tuple of (int, int)
        Element and its input, for each input of the cluster.
    """

    sources: tuple[str, ...] = ()
    elements: tuple[ElementSpec, ...] = ()
    entries: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class GraphMemory:
    """The memory of a graph: where it is mapped, its bytes, and those of the manifest behind it."""

    base: int
    size: int
    manifest_bytes: int


@dataclass(frozen=True)
class Probe:
    """Try what a domU must not be able to do: the fatal attempt of this name, or all that are not fatal."""

    fatal: str | None


@dataclass(frozen=True, kw_only=True)
class DomuSpec:
    """A domU.

    Attributes
    ----------
    domu : str
        What it is called.
    tier : str
        One of :data:`workers.sandbox.jail.TIERS`.
    uid : int or None
        The user that it becomes; None if the platform may not choose.
    root : str
        Path of an empty folder that its jail is built at.
    memory : int
        Bytes that it may have besides what is mapped when it starts.
    cpus : tuple of int
        The processors that it may run on.
    clusters : tuple of Cluster
        One for each channel; with a graph one, without elements.
    graph : GraphMemory or None
    inside : tuple of Cluster
        Those in the graph.
    probe : Probe or None
        It is there for that alone.
    """

    domu: str
    tier: str
    uid: int | None
    root: str
    memory: int
    cpus: tuple[int, ...]
    clusters: tuple[Cluster, ...] = ()
    graph: GraphMemory | None = None
    inside: tuple[Cluster, ...] = ()
    probe: Probe | None = None

    @property
    def sources(self) -> list[str]:
        """Paths of the files that its elements are in, each once."""
        return sorted({source for cluster in (*self.clusters, *self.inside) for source in cluster.sources})
