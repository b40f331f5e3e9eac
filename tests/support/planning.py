"""Plans of example objects, by the plan command's own functions."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from strictarp.kube.objects import EndpointSlice, Service
from strictarp.proxy.config import Config
from strictarp.proxy.operations import Element
from strictarp.proxy.plan import document, plan_objects
from strictarp.proxy.situation import NodeFacts, first_of_each_family, situation

Document = dict[str, Any]
HERE = "192.0.2.11"
HERE6 = "2001:db8:1::11"


def plan(
    *objects: Service | EndpointSlice,
    config: Config = Config(),  # noqa: B008 - a frozen value
    addresses: tuple[str, ...] = (HERE,),
    dead: tuple[str, ...] = (),
    zone: str = "",
    others: Mapping[str, str] | None = None,
) -> Document:
    """The plan of node1 as the document that the command prints. `others`: addresses of other nodes."""
    packed = tuple(ipaddress.ip_address(address).packed for address in addresses)
    elsewhere = {ipaddress.ip_address(ip).packed: name for ip, name in (others or {}).items()}
    node = NodeFacts("node1", packed, first_of_each_family(packed), zone, others=elsewhere)
    desired, warnings = plan_objects(
        [each for each in objects if isinstance(each, Service)],
        [each for each in objects if isinstance(each, EndpointSlice)],
        situation(config, node, frozenset(dead)),
    )
    made: Document = json.loads(json.dumps(document(desired, config, warnings)))
    return made


def elements_of(*objects: Service | EndpointSlice, config: Config) -> set[Element]:
    """What the kernel's sets must hold, also those that the document does not list."""
    packed = (ipaddress.ip_address(HERE).packed,)
    desired, _ = plan_objects(
        [each for each in objects if isinstance(each, Service)],
        [each for each in objects if isinstance(each, EndpointSlice)],
        situation(config, NodeFacts("node1", packed, packed)),
    )
    return set(desired.elements)


def servers(made: Document) -> set[str]:
    """`TCP address:port` of each virtual server."""
    return {f"{each['protocol']} {each['address']}:{each['port']}" for each in made["virtualServers"]}


def backends(made: Document, address: str) -> dict[str, int]:
    """Address of each real server behind an address, with its weight."""
    return {
        real["address"]: real["weight"]
        for each in made["virtualServers"]
        if each["address"] == address
        for real in each["realServers"]
    }
