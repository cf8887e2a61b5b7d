# SPDX-License-Identifier: MIT
"""Both kinds of engines, and both kinds of domUs, are what the platform asks for."""

import inspect

import pytest

from vre.domu.domus import Domus
from vre.domu.modelled import ModelledDomus
from vre.domu.supervisor import DomuSupervisor
from vre.platform.engine import Engine
from vre.platform.simulation import Simulation
from vre.supervision.processes import ProcessGroup

KINDS = ((Engine, ProcessGroup), (Engine, Simulation), (Domus, DomuSupervisor), (Domus, ModelledDomus))


def parameters(owner, name):
    return [parameter for parameter in inspect.signature(getattr(owner, name)).parameters if parameter != "self"]


@pytest.mark.parametrize(("protocol", "kind"), KINDS)
def test_each_kind_takes_what_its_protocol_says(protocol, kind):
    asked = [name for name, what in vars(protocol).items() if inspect.isfunction(what) and name[0] != "_"]
    assert asked and {name: parameters(kind, name) for name in asked} == {
        name: parameters(protocol, name) for name in asked
    }
