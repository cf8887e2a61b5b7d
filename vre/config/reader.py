# SPDX-License-Identifier: MIT
"""From a platform file, or from Python, to a checked model.

All errors are reported at once, before anything starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from shm.run_directory import name_of
from vre.config import fields
from vre.config.control import CONTROL_KEYS, read_control
from vre.config.impaired_links import take_impairments
from vre.config.links import read_links
from vre.config.machines import MACHINES
from vre.config.model import Control, Domu, Model, Nic, Router, RouterPort
from vre.config.tables import Tables
from vre.config.toml import Document
from vre.config.validate import validate
from vre.errors import ConfigError, nearest
from vre.language.bridge import problems_inside
from vre.language.checker import check
from vre.language.graph import Graph
from vre.language.lexer import Source
from workers.core.stride import DISCIPLINES
from workers.files import place, read_text
from workers.sandbox.jail import TIERS

#: What must be a file name: one word with a dot or a slash in it, which no configuration is.
_FILE = re.compile(r"[\w./-]*[./][\w./-]*")


def load_model(file: Path, name: str | None = None) -> Model:
    """Return the model that a platform file describes.

    Raises
    ------
    ConfigError
        All mistakes with their positions.
    """
    return read_model(Reader(Document(file), file.parent), name_of(file) if name is None else name)


def read_model(reader: Reader, name: str) -> Model:
    """Return the model that a reader's document describes. Raises ConfigError with all mistakes."""
    document, model = reader.document, reader.model()
    model.name = name
    reader.problems += validate(model, lambda message, *path: document.problem(message, *path))
    if reader.problems:
        raise ConfigError(reader.problems)
    return model


class Reader(Tables):
    """Turns the tables of a platform file, whose names are relative to `folder`, into a model."""

    def __init__(self, document: Document, folder: Path) -> None:
        super().__init__(document)
        self.folder = folder

    def model(self) -> Model:
        """Return the model; `problems` says what is missing from it."""
        data = self.document.data
        top = self.take(data, (), {"platform": fields.anything, "nics": fields.anything, "routers": fields.anything})
        settings = self.take(
            top.get("platform", {}),
            ("platform",),
            {
                "cores": fields.integer(1, fields.MAX_CORES),
                "machine": fields.choice(*MACHINES),
                "clock": fields.choice("auto", "wall", "cpu", "virtual"),
                "idle": fields.choice("auto", "poll", "sleep"),
                "quantum": fields.integer(1, 256),
                "discipline": fields.choice(*DISCIPLINES),
                "sample": fields.integer(1, 1_000_000),
                "turn": fields.duration_ns,
                "memory": fields.line_rate,
                "memory_shares": fields.boolean,
                "wire": fields.choice("apart", "shared"),
                "rebalance": fields.boolean,
                "sandbox": fields.choice(*TIERS),
                "seed": fields.integer(0, 1 << 62),
            },
        )
        if "turn" in settings:
            settings["turn_ns"] = settings.pop("turn")
        machine = MACHINES[settings.get("machine", "host")]
        settings.setdefault("quantum", machine.quantum)
        model = Model(**settings)
        for name, table in self.tables(top, "nics").items():
            model.nics[name] = self._nic(name, table)
        for name, table in self.tables(top, "routers").items():
            router = self._router(name, table, model)
            if router:
                model.routers[name] = router
        if not top.get("routers"):
            self.problem("no routers: add a table [routers.NAME] with a config", "routers")
        return model

    def _nic(self, name: str, table: Any) -> Nic:
        path = ("nics", name)
        values = self.take(
            table,
            path,
            {
                "link": fields.anything,
                "slots": fields.integer(16, 65536),
                "queues": fields.choice("multi", "single"),
                "speed": fields.bit_rate,
            },
        )
        given, impaired = take_impairments(self, values.pop("link", []), (*path, "link"))
        links = read_links(self, given, (*path, "link"), self.folder)
        return Nic(name, links, **values, impaired=impaired)

    def _router(self, name: str, table: Any, model: Model) -> Router | None:
        path = ("routers", name)
        values = self.take(
            table,
            path,
            {
                "entitlement": fields.entitlement,
                "config": fields.string,
                "ports": fields.anything,
                "cores": fields.cores,
                "cost": fields.number(*fields.CYCLES, "cycles a packet"),
                "define": fields.variables,
                "domu": fields.anything,
                "deadline": fields.deadline_ns,
                "direct": fields.boolean,
            },
        )
        domu, domu_config, control = self._domu(values.get("domu", {}), (*path, "domu"))
        direct = values.get("direct", False)
        graph = self._graph(values.get("config"), domu_config, direct, values.get("define", {}), path)
        ports, names = self._ports(values, path)
        if graph is None:
            return None
        router = Router(
            name, values.get("entitlement", 1.0), graph, ports, values.get("cores"), values.get("cost"), domu
        )
        router.deadline_ns = values.get("deadline", Router.deadline_ns)
        router.names, router.control = names, control
        graph.rename_ports(names)
        if domu_config is not None or direct:
            router.host_in_domu(direct)
        return router

    def _ports(self, values: dict[str, Any], path: tuple[str, ...]) -> tuple[dict[str, RouterPort], dict[str, str]]:
        """Return a router's claims by port, and its own names of ports."""
        ports, names = {}, {}
        kinds: dict[str, Callable[[Any], Any]] = {
            "nic": fields.string,
            "mac": fields.mac,
            "vlan": fields.integer(0, 4094),
            "address": fields.addresses,
        }
        for name, port in self.tables(values, "ports", *path).items():
            found = self.take(port, (*path, "ports", name), kinds)
            nic = found.get("nic", name)
            if nic in ports:
                self.problem(f"another port of '{path[-1]}' is port '{nic}' already", *path, "ports", name)
            if nic != name:
                names[name] = nic
            ports[nic] = RouterPort(nic, found.get("mac", -1), found.get("vlan", -1))
            ports[nic].addresses = found.get("address", ())
        return ports, names

    def _domu(self, table: Any, path: tuple[str, ...]) -> tuple[Domu, str | None, Control | None]:
        """Return a domU's limits, the configuration that runs in it, if any, and the router's control plane, if any."""
        kinds: dict[str, Callable[[Any], Any]] = {
            "memory": fields.memory,
            "deadline": fields.deadline_ns,
            "start": fields.start_time,
            "core": fields.integer(0, fields.MAX_CORES - 1),
            "config": fields.string,
            **CONTROL_KEYS,
        }
        names = {"memory": "memory", "deadline": "deadline_ns", "start": "start_s", "core": "core"}
        values = self.take(table, path, kinds)
        config = values.pop("config", None)
        control = read_control(self, values, path, self.folder)
        return Domu(**{names[key]: value for key, value in values.items()}), config, control

    def _graph(
        self, config: str | None, domu_config: str | None, direct: bool, define: dict[str, str], path: tuple[str, ...]
    ) -> Graph | None:
        """Return a router's graph: that of `config`, or of `domu_config`, which runs in its domU."""
        if domu_config is not None:
            if config is not None:
                message = "the domU has the whole graph, so the router can have no other: give one 'config'"
                self.problem(message, *path, "domu", "config")
            config, path = domu_config, (*path, "domu")
        if config is None:
            self.problem(f"router '{path[-1]}' has no config: a .click file or the text itself", *path)
            return None
        if _FILE.fullmatch(config) and not config.endswith(".click"):
            message = f"config: '{config}' is neither a configuration nor the name of a .click file"
            self.problem(message + nearest(config, _beside(self.folder)), *path, "config")
            return None
        if "\n" not in config and config.endswith(".click"):
            file = self.folder / config
            try:
                source = Source(read_text(place(config, self.folder)), str(file))
            except OSError as error:
                self.problem(f"config: cannot read {file}: {error.strerror}", *path, "config")
                return None
        else:
            line, column = self.document.value_place(*path, "config")
            source = Source(config, str(self.document.file), line, column)
        try:
            graph = check(source, define)
            self.problems += problems_inside(graph) if domu_config is not None or direct else []
            return graph
        except ConfigError as error:
            self.problems += error.problems
            return None


def _beside(folder: Path) -> list[str]:
    """Return the names of configurations in a folder, to compare a misspelt one with."""
    return [file.name for file in islice(folder.glob("*.click"), 100)]


def from_text(text: str, file: str = "config") -> Graph:
    """Return the checked graph of a Click configuration given as text."""
    return check(Source(text, file))
