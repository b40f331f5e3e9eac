"""The API server over HTTP: a thin shell around the engine, the watches and the faults."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
from aiohttp import web

from strictarp import logs
from strictarp.errors import UserError
from strictarp.lab.apiserver import discovery
from strictarp.lab.apiserver.documents import text
from strictarp.lab.apiserver.engine import SERVICE_CIDR, Engine
from strictarp.lab.apiserver.faults import OPEN_WATCHES, Fault, Faults
from strictarp.lab.apiserver.journal import Journal
from strictarp.lab.apiserver.reading import get, list_body
from strictarp.lab.apiserver.refusals import Refusal, no_such_path
from strictarp.lab.apiserver.store import HISTORY, Store
from strictarp.lab.apiserver.targets import Query, Target, Verb, parse_path, parse_query, verb_of
from strictarp.lab.apiserver.watchers import BOOKMARK_SECONDS, Watcher, Watchers
from strictarp.stopping import stop_at_signals

log = logging.getLogger(__name__)

JSON = "application/json"


Logs = Callable[[str, str], Awaitable[str]]
"""What a kubelet has of a pod's output, by namespace and name. Raises Refusal while there is none."""


class Server:
    """Answers requests. `handle` is an aiohttp low-level handler.

    logs: whom to ask for pods' logs; without it none can be had.
    """

    def __init__(self, engine: Engine, bookmark_seconds: float = BOOKMARK_SECONDS) -> None:
        self.engine = engine
        self.faults = Faults()
        self.logs: Logs | None = None
        self.watchers = Watchers(self._store, bookmark_seconds)
        engine.on_events = self.watchers.wake

    def _store(self) -> Store:
        return self.engine.store

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request."""
        try:
            if request.path.startswith("/lab/"):
                return await self._lab(request)
            if request.path in discovery.HEALTH:
                return web.Response(text="ok")
            if (document := discovery.document(request.path)) is not None:
                return _json(msgspec.json.encode(document))
            target = parse_path(request.path)
            query = parse_query(target, request.query)
            verb = verb_of(request.method, target, watch=query.watch)
            fault = self.faults.take(request.path, verb)
            if fault is not None:
                return await self._suffer(fault, request, target, query)
            return await self._serve(request, verb, target, query)
        except Refusal as refusal:
            return refused(refusal)

    async def _serve(
        self, request: web.BaseRequest, verb: Verb, target: Target, query: Query
    ) -> web.StreamResponse:
        match verb:
            case "get" if target.subresource == "log":
                return await self._log(target)
            case "get":
                return _json(get(self.engine.store, target).raw)
            case "list":
                return _json(list_body(self.engine.store, target.kind, query))
            case "watch":
                return await self._watch(request, Watcher(request.path, target, query))
            case _:
                body = await request.read()
                answer = self.engine.write(verb, target, body, request.content_type, dict(request.query))
                return _json(answer, 201 if verb == "create" else 200)

    async def _log(self, target: Target) -> web.Response:
        pod = get(self.engine.store, target).document
        if self.logs is None:
            node = text(pod, "spec", "nodeName")
            raise Refusal(
                500, f"Get log of {target.name}: node {node or 'unknown'} has no kubelet that answers"
            )
        return web.Response(text=await self.logs(target.namespace, target.name))

    async def _watch(self, request: web.BaseRequest, watcher: Watcher) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": JSON})
        try:
            await response.prepare(request)
            async with aclosing(self.watchers.chunks(watcher)) as chunks:
                async for chunk in chunks:
                    await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            pass  # the client has left
        return response

    async def _suffer(
        self, fault: Fault, request: web.BaseRequest, target: Target, query: Query
    ) -> web.StreamResponse:
        if query.watch and fault.kind in OPEN_WATCHES:
            watcher = Watcher(request.path, target, query)
            watcher.fault = fault.kind
            return await self._watch(request, watcher)
        match fault.kind:
            case "status":
                raise Refusal(fault.status, "a fault that was asked for", retry_after=fault.retry_after)
            case "empty":
                return _json(list_body(Store(self.engine.store.version), target.kind, query))
            case "garbage":
                return _json(b'{"kind": "garb')
            case "truncate":
                return await _break_off(request, list_body(self.engine.store, target.kind, query))
            case _:
                return await _break_off(request, b"")

    # --- outside of the API --------------------------------------------------------------------------------

    async def _lab(self, request: web.BaseRequest) -> web.Response:
        match (request.method, request.path):
            case ("POST", "/lab/faults"):
                return self._set_fault(await request.read())
            case ("GET", "/lab/faults"):
                return _json(msgspec.json.encode({"faults": self.faults.waiting()}))
            case ("DELETE", "/lab/faults"):
                self.faults.clear()
                return _json(b"{}")
            case ("POST", "/lab/compact"):
                self.watchers.compact()
                return _json(msgspec.json.encode({"version": self.engine.store.version}))
            case ("GET", "/lab/state"):
                store = self.engine.store
                state = {"version": store.version, "objects": store.size(), "watches": self.watchers.count()}
                return _json(msgspec.json.encode(state))
            case ("PUT", path) if path.startswith("/lab/raw/"):
                target = parse_path(path.removeprefix("/lab/raw"))
                self.engine.put_raw(target, msgspec.json.decode(await request.read(), type=dict[str, object]))
                return _json(b"{}")
            case _:
                raise no_such_path()

    def _set_fault(self, body: bytes) -> web.Response:
        try:
            fault = msgspec.json.decode(body, type=Fault)
        except msgspec.DecodeError as error:
            raise Refusal(400, f"fault: {error}") from error
        hit = self.watchers.hurt(fault) if fault.kind in OPEN_WATCHES and fault.verb in {"", "watch"} else 0
        self.faults.add(fault)
        return _json(msgspec.json.encode({"watches": hit}))


async def _break_off(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """Send half of a body, or nothing, and break the connection."""
    response = web.StreamResponse(headers={"Content-Type": JSON, "Content-Length": str(len(body))})
    if body:
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": JSON})


def refused(refusal: Refusal) -> web.Response:
    """The answer that says no."""
    response = _json(refusal.body(), refusal.code)
    if refusal.retry_after:
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response


def parse_listen(listen: str) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 host in brackets; raises UserError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UserError(f"--listen: {listen!r}: must be HOST:PORT", exit_code=64)
    return host.strip("[]"), int(port)


async def serve(server: Server, listen: str) -> web.ServerRunner:
    """Begin to listen; the runner's `cleanup` ends it. Raises UserError if the address cannot be had."""
    host, port = parse_listen(listen)
    low = web.Server(server.handle, access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(low, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=512).start()
    except OSError as error:
        await runner.cleanup()
        raise UserError(f"cannot listen on {listen}: {error.strerror}") from error
    return runner


def run(
    listen: str,
    data_file: Path,
    *,
    service_cidr: str = SERVICE_CIDR,
    history: int = HISTORY,
    bookmark_seconds: float = BOOKMARK_SECONDS,
) -> int:
    """Serve until SIGTERM or SIGINT; returns 0. Raises UserError for a damaged file or a wrong option.

    `service_cidr`: the range of cluster IPs, or two of them (IPv4 and IPv6) separated by a comma.
    `history`: events a kind keeps for watches.
    """
    logs.setup("apiserver")
    try:
        engine = Engine(Journal(data_file), service_cidr=service_cidr, history=history)
    except ValueError as error:
        raise UserError(f"--service-cidr: {error}", exit_code=64) from error
    asyncio.run(_run(Server(engine, bookmark_seconds), listen))
    return 0


async def _run(server: Server, listen: str) -> None:
    ended = stop_at_signals()
    runner = await serve(server, listen)
    state = {"listen": listen, "version": server.engine.store.version, "objects": server.engine.store.size()}
    log.info("serving", extra={"fields": state})
    await ended.wait()
    server.watchers.close()
    await runner.cleanup()
