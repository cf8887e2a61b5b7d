# SPDX-License-Identifier: MIT
"""A little of what the fuzzers do, the same each time."""

from __future__ import annotations

import pytest

from tests.fuzz import configurations, requests
from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source


def test_damaged_configurations_are_models_or_mistakes():
    assert configurations.run(60, seed=5, most=150)[0] == 150


def test_damaged_requests_and_messages_are_answered():
    assert requests.run(60, seed=5, most=1500)[0] == 1500


def test_a_name_declared_twice_whose_class_is_not_known_is_two_mistakes():
    with pytest.raises(ConfigError) as caught:
        check(Source("a :: Cuonter; a :: Counter; FromDevice(eth0) -> a -> Discard;", "x.click"))
    assert len(caught.value.problems) == 2
