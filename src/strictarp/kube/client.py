"""The Kubernetes API over HTTP: aiohttp carries, msgspec decodes, errors have types."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar

import aiohttp
import msgspec

from strictarp import __version__
from strictarp.kube.config import ClientConfig
from strictarp.kube.errors import Gone, Malformed, Unreachable, error_from_body
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.tls import ssl_context
from strictarp.kube.tokens import token_of
from strictarp.kube.wire import Decoder, Refused

T = TypeVar("T", bound=KubeObject)

PAGE = 500
REQUEST_LIMIT = 30.0
CONNECT_LIMIT = 5.0
LIST_RESTARTS = 3
LOG_LIMIT = 64 << 20
MERGE_PATCH = "application/merge-patch+json"
JSON = "application/json"


class _Version(msgspec.Struct, rename="camel"):
    git_version: str = ""


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """A complete list, the resourceVersion it shows, and the objects that could not be decoded."""

    items: tuple[T, ...]
    resource_version: str
    refused: tuple[Refused, ...] = ()


class _Group(msgspec.Struct, frozen=True):
    name: str


class _Groups(msgspec.Struct, frozen=True):
    groups: tuple[_Group, ...] = ()


class Api(Protocol):
    """What the watch cache needs of an API: complete lists, and the bytes of one watch connection."""

    async def list(
        self, res: Resource[T], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Listing[T]:
        """All objects; raises KubeError."""
        ...

    def watch(
        self,
        res: Resource[T],
        namespace: str = "",
        *,
        resource_version: str,
        timeout_seconds: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The chunks of one watch; entering and iterating raise KubeError."""
        ...


class Client:
    """A connection pool to one API server; an async context manager.

    Every call raises ApiError (with its subclasses) when the server refuses, Unreachable when it does not
    answer. `timeout` bounds each request, in seconds; watches are bounded by whoever reads them.
    """

    def __init__(self, config: ClientConfig, *, timeout: float = REQUEST_LIMIT) -> None:
        self.config = config
        self._timeout = timeout
        self._token = token_of(config)
        self._session: aiohttp.ClientSession | None = None
        self._decoders: dict[tuple[str, type, object, object], Decoder[KubeObject]] = {}
        self.answers: Counter[tuple[str, str]] = Counter()
        """How often the server answered a method with a code; `<error>` when it did not answer."""
        self.took: Callable[[str, float], object] = lambda _method, _seconds: None
        """Told the method and the seconds of each request, until the whole answer or its failure; of a watch
        until it begins."""

    async def __aenter__(self) -> Client:
        context = ssl_context(self.config)
        connector = aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
            headers={"User-Agent": f"strictarp/{__version__}", "Accept": JSON},
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- objects ------------------------------------------------------------------------------------------

    async def get(self, res: Resource[T], name: str, namespace: str = "") -> T:
        """One object; raises NotFound, Malformed."""
        return self._decoder(res).object(await self._call("GET", res.path(namespace, name)))

    async def list(
        self, res: Resource[T], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Listing[T]:
        """All objects, read in pages of one state; begins again when that state is compacted meanwhile.

        No resourceVersion is sent, so the list is the most recent there is and never an older cache.
        """
        selectors = _selectors(label_selector, field_selector)
        for _ in range(LIST_RESTARTS - 1):
            try:
                return await self._list(res, namespace, selectors)
            except Gone:
                continue
        return await self._list(res, namespace, selectors)

    async def _list(self, res: Resource[T], namespace: str, selectors: dict[str, str]) -> Listing[T]:
        decoder, path = self._decoder(res), res.path(namespace)
        query = {"limit": str(PAGE), **selectors}
        items: list[T] = []
        refused: list[Refused] = []
        while True:
            page = decoder.page(await self._call("GET", path, query))
            items += page.items
            refused += page.refused
            if not page.continue_token:
                return Listing(tuple(items), page.resource_version, tuple(refused))
            query = {**query, "continue": page.continue_token}

    async def create(self, res: Resource[T], body: Mapping[str, object], namespace: str = "") -> T:
        """Create an object, in its own namespace if none is given; raises AlreadyExists, Invalid."""
        path = res.path(namespace or _metadata(body, "namespace"))
        return self._decoder(res).object(await self._call("POST", path, body=body))

    async def replace(
        self, res: Resource[T], body: Mapping[str, object], namespace: str = "", *, subresource: str = ""
    ) -> T:
        """Replace an object by a whole document; its `metadata.resourceVersion` guards against lost updates.

        Raises Conflict when it is stale, ValueError for a document without `metadata.name`.
        """
        name = _metadata(body, "name")
        if not name:
            raise ValueError("the document to replace has no metadata.name")
        path = res.path(namespace or _metadata(body, "namespace"), name, subresource)
        return self._decoder(res).object(await self._call("PUT", path, body=body))

    async def merge_patch(
        self,
        res: Resource[T],
        name: str,
        patch: Mapping[str, object],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> T:
        """Change some fields (RFC 7386: null removes, lists are replaced).

        With `metadata.resourceVersion` in the patch a stale one raises Conflict; without, it wins.
        """
        path = res.path(namespace, name, subresource)
        return self._decoder(res).object(await self._call("PATCH", path, body=patch, content=MERGE_PATCH))

    async def delete(self, res: Resource[T], name: str, namespace: str = "") -> None:
        """Delete an object; raises NotFound."""
        await self._call("DELETE", res.path(namespace, name))

    async def groups(self) -> frozenset[str]:
        """The API groups that the server has (`/apis`); raises Malformed."""
        body = await self._call("GET", "/apis")
        try:
            listed = msgspec.json.decode(body, type=_Groups)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed(200, "Malformed", f"/apis: unreadable answer: {error}") from error
        return frozenset(group.name for group in listed.groups)

    async def version(self) -> str:
        """The server's version (`/version`), such as v1.36.2; raises Malformed."""
        body = await self._call("GET", "/version")
        try:
            return msgspec.json.decode(body, type=_Version).git_version
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed(200, "Malformed", f"/version: unreadable answer: {error}") from error

    async def logs(self, name: str, namespace: str, *, limit: int = LOG_LIMIT) -> str:
        """What a pod's only container has printed so far; at most `limit` bytes of it.

        Raises NotFound, BadRequest while it has not started.
        """
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        received = await self._call("GET", path, {"limitBytes": str(limit)}, accept="*/*")
        return received.decode("utf-8", "replace")

    # --- HTTP ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watch(
        self,
        res: Resource[T],
        namespace: str = "",
        *,
        resource_version: str,
        timeout_seconds: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """One watch connection with bookmarks; yields the stream's chunks."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            **_selectors(label_selector, field_selector),
        }
        path = res.path(namespace)
        what = f"WATCH {path}"
        headers = await self._headers()
        try:
            async with self._bounded("GET"):
                answer = await self._open().get(
                    self.config.server + path,
                    params=query,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=self.config.server_name,
                )
                self._count("GET", answer.status)
                if answer.status != 200:
                    body = await answer.read()
                    raise error_from_body(answer.status, body, what, answer.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.answers["GET", "<error>"] += 1
            raise self._unreachable(what, error) from error
        try:
            yield self._chunks(answer, what)
        finally:
            answer.close()

    async def _chunks(self, answer: aiohttp.ClientResponse, what: str) -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(what, error) from error

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, object] | None = None,
        content: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        what = f"{method} {path}"
        headers = {**await self._headers(), "Accept": accept}
        data = None
        if body is not None:
            headers["Content-Type"] = content
            data = msgspec.json.encode(body)
        try:
            async with (
                self._bounded(method),
                self._open().request(
                    method,
                    self.config.server + path,
                    params=query,
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=self.config.server_name,
                ) as answer,
            ):
                received = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.answers[method, "<error>"] += 1
            raise self._unreachable(what, error) from error
        self._count(method, answer.status)
        if not 200 <= answer.status < 300:
            raise error_from_body(answer.status, received, what, answer.headers.get("Retry-After"))
        return received

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside of `async with`")
        return self._session

    @asynccontextmanager
    async def _bounded(self, method: str) -> AsyncIterator[None]:
        """Within the time limit of a request, and timed."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                yield
        finally:
            self.took(method, time.monotonic() - begun)

    def _count(self, method: str, status: int) -> None:
        self.answers[method, str(status)] += 1
        if status == HTTPStatus.UNAUTHORIZED:
            self._token.refused()

    async def _headers(self) -> dict[str, str]:
        token = await self._token.current()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _unreachable(self, what: str, error: Exception) -> Unreachable:
        why = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            why = f"no answer within {self._timeout:g} s"
        return Unreachable(f"{self.config.server}: {what}: {why}")

    def _decoder(self, res: Resource[T]) -> Decoder[T]:
        key = (res.path(), res.type, res.keep, res.mend)  # different callers want different structs
        found = self._decoders.get(key)
        if found is None:
            made = Decoder(res)
            self._decoders[key] = made  # type: ignore[assignment]
            return made
        return found  # type: ignore[return-value]


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    wanted = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: text for name, text in wanted.items() if text}


def _metadata(body: Mapping[str, object], field: str) -> str:
    metadata = body.get("metadata")
    value = metadata.get(field) if isinstance(metadata, Mapping) else None
    return value if isinstance(value, str) else ""
