# SPDX-License-Identifier: MIT
"""Configurations of routing daemons, made from a router's ports: OSPF (RFC 2328) on all of them, hello 1 s."""

from __future__ import annotations

from ipaddress import IPv4Interface

#: Seconds between hellos, and without one until a neighbour is dead (RFC 2328, appendix C.3).
HELLO_S, DEAD_S = 1, 4


def router_id(ports: dict[str, tuple[str, ...]]) -> str:
    """Return a router's id: its first IPv4 address."""
    return next((str(IPv4Interface(a).ip) for listed in ports.values() for a in listed if ":" not in a), "0.0.0.1")


def _point_to_point(addresses: tuple[str, ...]) -> bool:
    return any(IPv4Interface(a).network.prefixlen >= 30 for a in addresses if ":" not in a)


def bird(ports: dict[str, tuple[str, ...]]) -> str:
    """Return a configuration of BIRD 2 for ports with these addresses."""
    interfaces = "\n".join(
        f'    interface "{name}" {{ hello {HELLO_S}; dead {DEAD_S}; '
        f"type {'ptp' if _point_to_point(addresses) else 'broadcast'}; wait {DEAD_S}; }};"
        for name, addresses in ports.items()
    )
    return f"""router id {router_id(ports)};
protocol device {{ scan time 1; }}
protocol kernel {{ merge paths on; persist; ipv4 {{ import none; export where source != RTS_DEVICE; }}; }}
protocol ospf v2 {{
  ecmp yes;
  ipv4 {{ import all; export none; }};
  area 0 {{
{interfaces}
  }};
}}
"""


def frr(ports: dict[str, tuple[str, ...]]) -> str:
    """Return a configuration of FRR for ports with these addresses."""
    interfaces = "".join(
        f"interface {name}\n ip ospf area 0\n ip ospf hello-interval {HELLO_S}\n ip ospf dead-interval {DEAD_S}\n"
        f" ip ospf network {'point-to-point' if _point_to_point(addresses) else 'broadcast'}\nexit\n"
        for name, addresses in ports.items()
    )
    return f"{interfaces}router ospf\n ospf router-id {router_id(ports)}\nexit\n"


GENERATED = {"bird": bird, "frr": frr}
