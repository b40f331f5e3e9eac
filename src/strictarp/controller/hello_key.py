"""The Secret with the key of the speakers' hellos: made when it is absent, never changed."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Callable

from strictarp.hello.secret import SECRET
from strictarp.kube.client import Client
from strictarp.kube.errors import Conflict, KubeError, NotFound
from strictarp.kube.objects import SECRETS

log = logging.getLogger(__name__)

KEY_BYTES = 32
PERIOD = 60.0
RETRY = 10.0


async def keep_key(client: Client, namespace: str, may_write: Callable[[], bool]) -> None:
    """See that the Secret is there, until cancelled."""
    while True:
        try:
            await _make(client, namespace, may_write)
        except KubeError as error:
            log.warning("Secret %s not made", SECRET, extra={"fields": {"error": str(error)}})
            await asyncio.sleep(RETRY)
            continue
        await asyncio.sleep(PERIOD)


async def _make(client: Client, namespace: str, may_write: Callable[[], bool]) -> None:
    try:
        await client.get(SECRETS, SECRET, namespace)
    except NotFound:
        if not may_write():
            return
        key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        body = {"metadata": {"name": SECRET}, "type": "Opaque", "data": {"key": key}}
        try:
            await client.create(SECRETS, body, namespace)
        except Conflict:
            return  # made by another
        log.info("Secret %s made", SECRET)
