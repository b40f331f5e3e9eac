"""A Service may ask for a scheduler that the kernel does not have."""

import errno

from strictarp.netlink.ipvs import VirtualServer
from strictarp.netlink.messages import Refusal
from strictarp.proxy.config import Config
from strictarp.proxy.kernel_messages import ipvs_outcome
from strictarp.proxy.operations import AddServer, Operation, SetServer
from strictarp.proxy.seam import SchedulerMissing
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node


def without(name: str) -> ModelKernel:
    kernel = ModelKernel()

    def refuse(operation: Operation) -> str | None:
        wrong = isinstance(operation, AddServer | SetServer) and operation.server.scheduler == name
        return SchedulerMissing(f"no {name}") if wrong else None

    kernel.refuse = refuse
    return kernel


def schedulers(kernel: ModelKernel) -> dict[str, str]:
    return {".".join(map(str, key[1])): server.scheduler for key, (server, _) in kernel.servers.items()}


async def test_it_is_served_by_the_configurations_scheduler_and_told() -> None:
    kernel = without("twos")
    node = Node(kernel, Config(scheduler="lc"))
    node.put(
        service("odd", "203.0.113.10", annotations={"strictarp.io/scheduler": "twos"}),
        endpoint_slice("odd", ["198.51.100.1"]),
        service("good", "203.0.113.11"),
    )
    await node.turns(4, 1.0)
    assert schedulers(kernel) == {"203.0.113.10": "lc", "203.0.113.11": "lc"}
    assert len(kernel.servers[6, bytes([203, 0, 113, 10]), 80][1]) == 1
    assert node.syncer.failing == ""
    assert node.syncer.waiting_since is None
    (warning,) = node.engine.warnings["default/odd"]
    assert "'twos' is not in this kernel (module ip_vs_twos); lc is used" in warning


async def test_a_service_that_asks_for_it_later_keeps_its_virtual_server() -> None:
    kernel = without("twos")
    node = Node(kernel)
    node.put(service("odd", "203.0.113.10"), endpoint_slice("odd", ["198.51.100.1"]))
    await node.turns(2, 1.0)
    node.put(service("odd", "203.0.113.10", annotations={"strictarp.io/scheduler": "twos"}))
    await node.turns(3, 1.0)
    assert schedulers(kernel) == {"203.0.113.10": "rr"}
    assert node.syncer.failing == ""


async def test_without_the_configurations_own_scheduler_health_tells() -> None:
    node = Node(without("rr"))
    node.put(service("web", "203.0.113.10"))
    await node.turns(3, 1.0)
    assert "no rr" in node.syncer.failing


def test_the_kernels_answer_is_known_by_its_number() -> None:
    server = VirtualServer(6, bytes([192, 0, 2, 100]), 80, "twos")
    missing = ipvs_outcome(AddServer(server), Refusal(errno.ENOENT))
    assert isinstance(missing, SchedulerMissing)
    assert "ip_vs_twos" in missing
    assert not isinstance(ipvs_outcome(AddServer(server), Refusal(errno.ENOMEM)), SchedulerMissing)
