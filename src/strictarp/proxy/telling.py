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
        self._held: list[tuple[str, str, bool]] | None = []
        self._sending: set[asyncio.Task[bool]] = set()

    def about_node(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Say something about this node: in the log, and as an Event once `release` was called."""
        log.log(logging.ERROR if warning else logging.INFO, message, extra={"fields": {"event": reason}})
        if self._held is not None:
            self._held.append((reason, message, warning))
        else:
            self._send_about_node(reason, message, warning=warning)

    def release(self) -> None:
        """The API answers: send what was held back, and from now on everything at once."""
        held, self._held = self._held or [], None
        for reason, message, warning in held:
            self._send_about_node(reason, message, warning=warning)

    def _send_about_node(self, reason: str, message: str, *, warning: bool) -> None:
        node = self._find_node() or Node(metadata=Metadata(name=self._node))
        self._send(node, reason, message, warning=warning)

    def about_service(self, key: str, reason: str, message: str) -> None:
        """Warn about a Service by an Event; the log has it already. Nothing when it is gone."""
        service = self._find_service(key)
        if service is not None:
            self._send(service, reason, message, warning=True)

    async def sent(self, seconds: float) -> None:
        """Try to send everything, also what was held back, but not for longer."""
        self.release()
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
