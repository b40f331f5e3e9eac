"""The controller: gives Services of type LoadBalancer their addresses.

RBAC: list, watch services, namespaces, nodes; patch services/status; create, get, patch events. In its
namespace: list, watch ipaddresspools, l2advertisements, addressconflicts; patch the status of ipaddresspools
and configurationstates; get, create, patch leases; get, create secrets, configurationstates. No capability.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from strictarp import logs, serving
from strictarp.controller.configuring import Rules
from strictarp.controller.elector import Elector
from strictarp.controller.exposition import Figures, health_application, metrics_application
from strictarp.controller.term import Term
from strictarp.kube import config as kubeconfig
from strictarp.kube.client import Client
from strictarp.stopping import cancelled, stop_at_signals, until_stopped

log = logging.getLogger(__name__)


class Options(msgspec.Struct, frozen=True):
    """What the command line says. A port of 0 means: not served."""

    kubeconfig: str | None
    identity: str
    rules: Rules = Rules()
    metrics_port: int = 9120
    health_port: int = 17472


def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT. Raises UserError for an unusable kubeconfig."""
    logs.setup("controller")
    return asyncio.run(_until_signal(options, kubeconfig.load(options.kubeconfig)))


async def _until_signal(options: Options, client_config: kubeconfig.ClientConfig) -> int:
    stop = stop_at_signals()
    async with Client(client_config) as client:
        work = asyncio.create_task(Controller(options, client).run())
        await until_stopped(work, stop)
        await cancelled(work)
    log.info("stopped")
    return 0


class Controller:
    """Candidate, then leader, then candidate again, with the servers beside."""

    def __init__(self, options: Options, client: Client) -> None:
        self._options = options
        self._client = client
        self.figures = Figures()
        self.elector = Elector(client, options.rules.namespace, options.identity)

    async def run(self) -> None:
        """Until cancelled; then the Lease is given back."""
        options = self._options
        async with asyncio.TaskGroup() as group:
            if options.metrics_port:
                application = metrics_application(self.figures)
                group.create_task(serving.serve(application, None, options.metrics_port, "metrics"))
            if options.health_port:
                group.create_task(serving.serve(health_application(), None, options.health_port, "health"))
            try:
                while True:
                    await self.elector.acquire()
                    await self._lead()
            finally:
                await self.elector.resign()

    async def _lead(self) -> None:
        """Work for as long as the Lease is ours."""
        log.info("leading", extra={"fields": {"identity": self.elector.identity}})
        self.figures.leading = True
        term = Term(
            self._client,
            rules=self._options.rules,
            figures=self.figures,
            may_write=lambda: self.elector.leading,
        )
        work = asyncio.create_task(term.run())
        hold = asyncio.create_task(self.elector.hold())
        try:
            await asyncio.wait({work, hold}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.figures.leading = False
            work.cancel()
            hold.cancel()
            await asyncio.wait({work, hold})
        if not work.cancelled():
            work.result()  # an error of ours ends the process
        log.warning("no longer leading")
