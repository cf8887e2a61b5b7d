# SPDX-License-Identifier: MIT
"""Graphs that run in their router's domU: the bridge in dom0 takes packets there and back."""

from __future__ import annotations

from shm.channel import OUTPUTS
from vre.errors import Problem
from vre.language.graph import Edge, Graph, Node
from workers.domu.spec import Cluster
from workers.element import load


def inputs(graph: Graph) -> list[str]:
    """Return the ports that a graph receives from, in the order of its elements."""
    return [node.values["devname"] for node in graph.nodes if node.cls.driver == "rx"]


def outputs(graph: Graph) -> list[str]:
    """Return the ports that a graph sends to."""
    return list(dict.fromkeys(n.values["devname"] for n in graph.nodes if n.cls.sends()))


def problems_inside(graph: Graph) -> list[Problem]:
    """Return what is wrong with a graph that is to run in a domU."""
    if len(outputs(graph)) <= OUTPUTS:
        return []
    return [graph.nodes[0].problem(f"a graph in a domU sends to at most {OUTPUTS} ports")]


def clusters(graph: Graph) -> tuple[Cluster, ...]:
    """Return its untrusted elements, grouped by connection (:mod:`vre.language.fusion`)."""
    return tuple(node.values["cluster"] for node in graph.nodes if node.cls.driver == "domu")


def bridge(inner: Graph) -> Graph:
    """Return the graph that takes packets from the ports of `inner` to its domU, and back to them."""
    registry, first = load(), inner.nodes[0]
    crossing = Node("domu", registry["Untrusted"], "", first.where, {"class": None, "args": []})
    crossing.values["cluster"] = Cluster()
    nodes, edges = [crossing], []
    receivers = [node for node in inner.nodes if node.cls.driver == "rx"]
    for i, node in enumerate(receivers):
        nodes.append(node)
        edges.append(Edge(len(nodes) - 1, 0, 0, i))
    for i, nic in enumerate(outputs(inner)):
        sender = next(n for n in inner.nodes if n.cls.sends() and n.values["devname"] == nic)
        nodes.append(sender)
        edges.append(Edge(0, i, len(nodes) - 1, 0))
    return Graph(nodes, edges)
