"""`--init-only` on a node where nothing has used IPVS yet: its sysctls come with its module."""

from pathlib import Path

import pytest

from strictarp.guard.settings import PROXY
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.proxy.config import Config, Conntrack
from strictarp.proxy.daemon import Options
from strictarp.proxy.process import initialise
from strictarp.proxy.seam import IpvsMissing
from strictarp.proxy.settings import Settings
from strictarp.sysctl.files import SysctlError
from support.model_kernel import ModelKernel


class FreshNode(ModelKernel):
    """`loads`: whether the module ip_vs is installed."""

    def __init__(self, *, loads: bool) -> None:
        super().__init__()
        self._loads = loads
        self.loaded = False
        self.sysctls: dict[str, int] = {}

    async def prepare(self, *, make: bool = True) -> None:
        assert not make, "kube-ipvs0 is the daemon's business"
        if not self._loads:
            raise IpvsMissing("IPVS is not in this kernel")
        self.loaded = True

    def ensure(self, name: str, value: int) -> int | None:
        if name.startswith("net.ipv4.vs.") and not self.loaded:
            raise SysctlError(f"sysctl {name}: does not exist here")
        self.sysctls[name] = value
        return None


def _options(folder: Path) -> Options:
    config = Config(conntrack=Conntrack(max_per_core=0))
    return Options(config, Settings(), "node1", guard=GuardSettings(state=folder, owner=PROXY))


async def test_the_module_is_loaded_before_its_sysctls_are_set(tmp_path: Path) -> None:
    node = FreshNode(loads=True)
    await initialise(_options(tmp_path), node, node.ensure)
    assert node.sysctls["net.ipv4.vs.conntrack"] == 1
    assert node.sysctls["net.ipv4.ip_forward"] == 1


async def test_a_kernel_without_ipvs_is_named_as_that(tmp_path: Path) -> None:
    node = FreshNode(loads=False)
    with pytest.raises(IpvsMissing):
        await initialise(_options(tmp_path), node, node.ensure)
    assert node.sysctls == {}
