"""Reading and writing the ConfigMap that the proxies read. Thin; what is written is decided by `edit`."""

from __future__ import annotations

from strictarp.cluster.edit import Edit, set_strictarp
from strictarp.cluster.signs import Holder
from strictarp.errors import UserError
from strictarp.kube.client import Client
from strictarp.kube.errors import Conflict, NotFound
from strictarp.kube.objects import CONFIGMAPS, ConfigMap

CONFLICTS = 5


class TooManyConflicts(Exception):
    """Somebody else keeps writing it; the message names it."""


class Place:
    """The ConfigMap of one cluster."""

    def __init__(self, client: Client, holder: Holder, *, wanted: bool) -> None:
        self._client = client
        self._holder = holder
        self._wanted = wanted
        self._ours: Edit | None = None

    async def look(self) -> Edit:
        """What would be edited. Raises UserError, KubeError."""
        text = self._text(await self._read())
        self._ours = edit = set_strictarp(text, self._wanted, self._holder)
        return edit

    async def write(self) -> None:
        """Edit what is there now; somebody else's edit meanwhile is kept, and edited in turn.

        Raises UserError, KubeError, TooManyConflicts.
        """
        for _ in range(CONFLICTS):
            config = await self._read()
            edit = set_strictarp(self._text(config), self._wanted, self._holder)
            if edit.changed:
                self._ours = edit  # before the write: also what may have been written can be put back
            if not edit.changed or await self._put(config, edit.after):
                return
        raise TooManyConflicts(
            f"{self._holder.title}: changed by somebody else {CONFLICTS} times; run this again"
        )

    async def restore(self) -> None:
        """Put the old text back; if somebody has edited since, our value alone. Raises as `write`."""
        ours = self._ours
        for _ in range(CONFLICTS):
            config = await self._read()
            text = self._text(config)
            if ours is None or text == ours.before:
                return
            back = ours.before
            if text != ours.after:
                back = set_strictarp(text, bool(ours.was), self._holder).after
            if text == back or await self._put(config, back):
                return
        raise TooManyConflicts(f"{self._holder.title}: changed by somebody else {CONFLICTS} times")

    async def _read(self) -> ConfigMap:
        try:
            return await self._client.get(CONFIGMAPS, self._holder.name, self._holder.namespace)
        except NotFound:
            raise UserError(f"{self._holder.config_map}: not found; somebody has deleted it") from None

    def _text(self, config: ConfigMap) -> str:
        text = (config.data or {}).get(self._holder.key)
        if text is None:
            raise UserError(f"{self._holder.config_map}: data: there is no key {self._holder.key} any more")
        return text

    async def _put(self, config: ConfigMap, text: str) -> bool:
        """False if somebody else was faster."""
        version = config.metadata.resource_version
        patch = {"metadata": {"resourceVersion": version}, "data": {self._holder.key: text}}
        try:
            await self._client.merge_patch(CONFIGMAPS, self._holder.name, patch, self._holder.namespace)
        except Conflict:
            return False
        return True
