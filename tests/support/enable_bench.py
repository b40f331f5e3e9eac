"""`strictarp enable` and `disable` over HTTP: embedded API server, a rolling DaemonSet, proxies that tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from strictarp.cli.main import main
from strictarp.lab.manifests import KUBE_PROXY_CONFIG, kubeconfig
from support.api import running_api
from support.rolled_proxies import Proxies, running_proxies

CONFIG = (
    KUBE_PROXY_CONFIG.replace('healthzBindAddress: ""', "healthzBindAddress: 0.0.0.0:{port}")
    .replace("{kubeconfig}", "k")
    .replace("{pods}", "198.51.100.0/24")
)


class Bench:
    def __init__(self, proxies: Proxies, folder: Path) -> None:
        self.proxies = proxies
        self.api = proxies.api
        self.folder = folder
        self._kubeconfig = folder / "kubeconfig"
        self._kubeconfig.write_text(json.dumps(kubeconfig(self.api.url)))
        self._report = folder / "report.json"

    async def run(self, command: str, *rest: str) -> tuple[int, dict[str, object]]:
        """The command line in a thread with an event loop of its own; exit code and report."""
        self._report.unlink(missing_ok=True)
        argv = [command, "--kubeconfig", str(self._kubeconfig), "--json", str(self._report), *rest]
        code = await asyncio.to_thread(main, argv)
        return code, json.loads(self._report.read_text()) if self._report.exists() else {}


@asynccontextmanager
async def running_bench(folder: Path) -> AsyncIterator[Bench]:
    async with running_api(folder) as api, running_proxies(api, CONFIG) as proxies:
        yield Bench(proxies, folder)
