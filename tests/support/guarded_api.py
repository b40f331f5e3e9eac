"""An API server that lists no nodes, to whoever brings the right token."""

from aiohttp import web


class GuardedApi:
    """Listens on loopback; `token` may change."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "GuardedApi":
        application = web.Application()
        application.router.add_get("/api/v1/nodes", self._nodes)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _nodes(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "reason": "Unauthorized"}, status=401)
        body = {"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}
        return web.json_response(body)
