"""One world for all tests of real traffic: it takes its time to build in the virtual machine."""

from collections.abc import Iterator

import pytest

from support import more_traffic
from support.traffic import World, start


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A node with everything programmed."""
    made = start(tmp_path_factory.mktemp("world"))
    yield made
    made.end()


@pytest.fixture(scope="session")
def kinds(world: World) -> World:
    """The same node with more kinds of Services."""
    more_traffic.add(world)
    return world
