"""What the proxy has to say to people: Events about its Node and about Services. Thin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from strictarp.kube import events
from strictarp.kube.client import Client
from strictarp.kube.model import KubeObject, Metadata
from strictarp.kube.objects import Node, Service

log = logging.getLogger(__name__)

COMPONENT = "strictarp-proxy"


class Telling:
    """`node`: name of this one. `find_node`, `find_service`: objects, as far as they are known."""

    def __init__(
        self,
        client: Client,
        node: str,
        find_node: Callable[[], Node | None],
        find_service: Callable[[str], Service | None],
    ) -> None:
        self._client = client
        self._node = node
        self._find_node = find_node
        self._find_service = find_service
        self._sending: set[asyncio.Task[bool]] = set()

    def about_node(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Say something about this node: in the log, and as an Event."""
        log.log(logging.ERROR if warning else logging.INFO, message, extra={"fields": {"event": reason}})
        node = self._find_node() or Node(metadata=Metadata(name=self._node))
        self._send(node, reason, message, warning=warning)

    def about_service(self, key: str, reason: str, message: str) -> None:
        """Warn about a Service by an Event; the log has it already. Nothing when it is gone."""
        service = self._find_service(key)
        if service is not None:
            self._send(service, reason, message, warning=True)

    async def sent(self, seconds: float) -> None:
        """Wait until everything was said, but not for longer."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=seconds)

    def _send(self, about: KubeObject, reason: str, message: str, *, warning: bool) -> None:
        task = asyncio.create_task(
            events.emit(
                self._client,
                about=about,
                reason=reason,
                message=message,
                type="Warning" if warning else "Normal",
                component=COMPONENT,
                host=self._node,
            )
        )
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
