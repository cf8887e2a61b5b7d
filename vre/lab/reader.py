# SPDX-License-Identifier: MIT
"""From a topology file to a checked lab.

A topology file is a platform file with `[hosts.NAME]`, `links` and `[[checks]]`. Its links become the platform's ports:
a cable between two routers, a veth pair between a router and a host. All errors are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shm.run_directory import name_of
from vre.config import fields as kinds_of
from vre.config.reader import Reader, read_model
from vre.config.tables import Tables
from vre.config.toml import Document
from vre.errors import ConfigError, nearest
from vre.lab import fields
from vre.lab.compiled import Compiled, compile_platform
from vre.lab.document import PlatformView
from vre.lab.topology import Check, End, Host, Interface, Lab, LabLink, Route
from vre.lab.validate import validate

Kinds = dict[str, Callable[[Any], Any]]
#: Links of a lab, and checks.
_MOST = 4096


def load_lab(file: Path, name: str | None = None) -> Lab:
    """Return the lab that a topology file describes.

    Raises
    ------
    ConfigError
        All mistakes with their positions.
    """
    document = Document(file)
    reader = _LabReader(document)
    called = name_of(file) if name is None else name
    compiled = reader.platform(called)
    view = PlatformView(document, compiled.data, compiled.origins)
    try:
        model = read_model(Reader(view, file.parent), called)
    except ConfigError as error:
        reader.problems += error.problems
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda one: (one.where is None, one.where)))
    return Lab(called, file, model, reader.hosts, reader.links, reader.checks, reader.routers)


class _LabReader(Tables):
    """Turns a topology file's tables into a lab's parts."""

    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.hosts: dict[str, Host] = {}
        self.links: list[LabLink] = []
        self.checks: list[Check] = []
        self.routers: dict[str, dict[str, Interface]] = {}
        self._routes: dict[str, tuple[Route, ...]] = {}

    def platform(self, name: str) -> Compiled:
        """Read all that a platform file does not have; return what one would say of the rest."""
        tables = ("links", "hosts", "routers", "platform", "nics", "checks")
        top = self.take(self.document.data, (), dict.fromkeys(tables, kinds_of.anything))
        hosts, routers = self.tables(top, "hosts"), self.tables(top, "routers")
        for node in hosts:
            self._node(node, "hosts", routers)
        for node in routers:
            self._node(node, "routers", {})
        self._links(top.get("links", []), [*hosts, *routers])
        for node, table in hosts.items():
            self.hosts[node] = self._host(node, table)
        described = {node: self._router(node, table) for node, table in routers.items() if isinstance(table, dict)}
        self._checks(top.get("checks", []))
        for problem in validate(self.hosts, self.links, self.routers, self._routes):
            self.problem(problem.message, *problem.path)
        rest: dict[str, Any] = {key: top[key] for key in ("platform", "nics") if key in top}
        return compile_platform(name, rest, described, self.links, self.routers, self._routes, set(hosts))

    def _node(self, name: str, key: str, others: dict[str, Any]) -> None:
        try:
            fields.node(name)
        except ValueError as error:
            self.problem(str(error), key, name)
        if name in others:
            self.problem(f"'{name}' is a router, too: each node needs a name of its own", key, name)

    def _links(self, value: Any, nodes: list[str]) -> None:
        if not isinstance(value, list):
            self.problem('links must be a list, as in links = [["h1:eth0", "red:eth0"]]', "links")
            return
        used: dict[End, int] = {}
        for number, link in enumerate(value[:_MOST]):
            path = ("links", str(number))
            if not _is_link(link):
                self.problem('a link is ["NODE:PORT", "NODE:PORT"], or with { delay = "5ms" } behind', *path)
                continue
            ends = [self._end(one, nodes, (*path, str(i))) for i, one in enumerate(link[:2])]
            for i, end in enumerate(ends):
                if end in used:
                    self.problem(f"{end} has a link already: a port has one", *path, str(i))
                used.setdefault(end, number) if end else None
            extra = dict(link[2]) if len(link) == 3 else {}
            own = {key: extra.pop(key) for key in ("mtu",) if key in extra}
            mtu = self.take(own, (*path, "2"), {"mtu": kinds_of.integer(*fields.MTUS)}).get("mtu", 1500)
            if ends[0] and ends[1]:
                if ends[0] == ends[1]:
                    continue  # said above
                self.links.append(LabLink(number, (ends[0], ends[1]), mtu, extra))

    def _end(self, value: Any, nodes: list[str], path: tuple[str, ...]) -> End | None:
        try:
            end = fields.end(value)
        except ValueError as error:
            self.problem(str(error), *path)
            return None
        if end.node not in nodes:
            hint = nearest(end.node, nodes) or f"; there are {', '.join(nodes) or 'none'}"
            self.problem(f"there is no host or router '{end.node}'{hint}", *path)
            return None
        return end

    def _host(self, name: str, table: Any) -> Host:
        path = ("hosts", name)
        kinds: Kinds = {
            "address": kinds_of.anything,
            "gateway": fields.addresses,
            "routes": fields.routes,
            "run": fields.commands,
            "sysctl": fields.sysctls,
            "ipv6": kinds_of.boolean,
        }
        values = self.take(table, path, kinds)
        host = Host(name, self._addresses(name, values.get("address", {}), path))
        host.run, host.sysctls = values.get("run", ()), values.get("sysctl", {})
        host.ipv6 = values.get("ipv6", any(one.version == 6 for some in host.addresses.values() for one in some))
        defaults = {4: fields.network("0.0.0.0/0"), 6: fields.network("::/0")}
        gateways = tuple(Route(defaults[one.version], one) for one in values.get("gateway", ()))
        host.routes = (*values.get("routes", ()), *gateways)
        return host

    def _addresses(self, name: str, value: Any, path: tuple[str, ...]) -> dict[str, tuple[Interface, ...]]:
        """Return a host's addresses by interface; those without one are its only interface's."""
        ports = [end.port for link in self.links for end in link.ends if end.node == name]
        if isinstance(value, dict):
            return self.take(value, (*path, "address"), dict.fromkeys(ports, fields.interfaces))
        try:
            found = fields.interfaces(value)
        except ValueError as error:
            self.problem(f"address: {error}", *path, "address")
            return {}
        if len(ports) != 1:
            example = ports[0] if ports else "eth0"
            what = f'has {len(ports)} links: say which, as in address = {{ {example} = "{found[0]}" }}'
            self.problem(f"address: host '{name}' {what}" if ports else f"host '{name}' has no link", *path, "address")
            return {}
        return {ports[0]: found}

    def _router(self, name: str, table: dict[str, Any]) -> dict[str, Any]:
        """Return what a platform file says of a router: without its addresses and routes, which are noted."""
        path, rest = ("routers", name), dict(table)
        own = {key: rest.pop(key) for key in ("routes",) if key in rest}
        self._routes[name] = self.take(own, path, {"routes": fields.routes}).get("routes", ())
        self.routers[name] = {}
        ports = self.tables(rest, "ports", *path)
        rest["ports"] = {port: self._port(name, port, value) for port, value in ports.items()}
        return rest

    def _port(self, name: str, port: str, value: Any) -> Any:
        path = ("routers", name, "ports", port)
        given = {"address": value} if isinstance(value, str) else value
        if not isinstance(given, dict):
            self.problem('must be an address, or a table, as in { address = "10.0.1.1/24" }', *path)
            return {}
        rest = dict(given)
        if "address" in rest:
            try:
                self.routers[name][port] = fields.interface(rest.pop("address"))
            except ValueError as error:
                self.problem(f"address: {error}", *path, *(["address"] if isinstance(value, dict) else []))
        return rest

    def _checks(self, value: Any) -> None:
        if not isinstance(value, list):
            self.problem("checks must be tables, each as in [[checks]]", "checks")
            return
        for number, table in enumerate(value[:_MOST]):
            path = ("checks", str(number))
            kinds: Kinds = {
                "name": kinds_of.string,
                "host": kinds_of.choice(*self.hosts),
                "command": kinds_of.string,
                "status": kinds_of.integer(0, 255),
                "output": kinds_of.string,
                "within": fields.within,
            }
            values = self.take(table, path, kinds)
            missing = [key for key in ("host", "command") if isinstance(table, dict) and key not in table]
            if missing:
                self.problem(f"a check needs '{missing[0]}'", *path)
            elif "host" in values and "command" in values:
                if "within" in values:
                    values["within_s"] = values.pop("within")
                self.checks.append(Check(values.pop("name", values["command"]), **values))


def _is_link(value: Any) -> bool:
    """Return whether a link has two ends, and behind them at most a table."""
    if not isinstance(value, list) or not 2 <= len(value) <= 3:
        return False
    return isinstance((*value, {})[2], dict) and not any(isinstance(end, dict) for end in value[:2])
