"""Makes what the lab's processes will use, once, before they are forked: modules, decoders."""

from __future__ import annotations

import importlib

from strictarp.kube.objects import RESOURCES
from strictarp.kube.wire import Decoder

MODULES = (
    "strictarp.cli.controller",
    "strictarp.cli.disable",
    "strictarp.cli.doctor",
    "strictarp.cli.enable",
    "strictarp.cli.probe",
    "strictarp.cli.proxy",
    "strictarp.cli.speaker",
    "strictarp.cluster.switch",
    "strictarp.controller.daemon",
    "strictarp.doctor.session",
    "strictarp.lab.apiserver.server",
    "strictarp.lab.backend",
    "strictarp.lab.flood",
    "strictarp.lab.holding",
    "strictarp.lab.resolver",
    "strictarp.lab.stream",
    "strictarp.lab.supervisor",
    "strictarp.lab.witness",
    "strictarp.proxy.daemon",
    "strictarp.proxy.process",
    "strictarp.speaker.daemon",
    "strictarp.wire.inspecting",
)


def load() -> None:
    """Import them all; raises ImportError. What msgspec learns about a kind stays with the kind."""
    for name in MODULES:
        importlib.import_module(name)
    for resource in RESOURCES:
        Decoder(resource)
