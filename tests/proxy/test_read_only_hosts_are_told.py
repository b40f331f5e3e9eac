"""Containers in which /sys or /proc/sys is read-only: what cannot be set is told, as kube-proxy does."""

import subprocess
import sys
from pathlib import Path

import pytest

from strictarp.errors import UserError
from strictarp.proxy import host, sysctls
from strictarp.proxy.config import Config, Conntrack
from strictarp.sysctl.files import NotWritable, ReadOnly
from support.daemon_node import build, ensure

FEW = Config(conntrack=Conntrack(max_per_core=0, tcp_established_timeout=0.0, tcp_close_wait_timeout=0.0))


def _read_only(name: str, value: int) -> int | None:
    if "conntrack" in name and ".vs." not in name:
        raise ReadOnly(name, "Read-only file system")
    return ensure(name, value)


def test_the_hash_of_connection_tracking_grows_with_its_limit_and_never_shrinks(tmp_path: Path) -> None:
    file = tmp_path / "hashsize"
    config = Config(conntrack=Conntrack(max_per_core=1, minimum=4000))
    for before, after in (("16\n", "1000"), ("2048\n", "2048")):
        file.write_text(before)
        assert host.prepare(config, lambda *_: None, file) == []
        assert file.read_text().split()[0] == after
    assert host.prepare(config, lambda *_: None, tmp_path / "missing") == []
    file.write_text("many\n")
    assert host.prepare(config, lambda *_: None, file) == []
    assert sysctls.hash_size(4003) == 1000


def test_only_what_is_mounted_read_only_is_told() -> None:
    def refuse(name: str, _: int) -> int | None:
        if "conntrack_max" in name:
            raise ReadOnly(name, "Read-only file system")
        if "timeout" in name:
            raise NotWritable(name, "Permission denied")
        return None

    told = host.prepare(Config(conntrack=Conntrack(1, 4000)), refuse, Path("/nonexistent"))
    assert told == ["net.netfilter.nf_conntrack_max=4000"]


@pytest.mark.parametrize(("error", "kind"), [(ReadOnly, host.ReadOnlyHost), (NotWritable, UserError)])
def test_what_services_need_stops_the_start(error: type[NotWritable], kind: type[UserError]) -> None:
    def refuse(name: str, _: int) -> int | None:
        raise error(name, "no")

    with pytest.raises(kind) as stopped:
        host.prepare(FEW, refuse)
    assert type(stopped.value) is kind
    assert "net.ipv4.vs.conntrack" in str(stopped.value)


MOUNTED = """
import sys
from pathlib import Path
from strictarp.proxy import host
from strictarp.proxy.config import Config, Conntrack
from strictarp.sysctl import files

def ensure(name, value):
    return files.ensure(name, value) if "nf_conntrack" in name else None

print(host.prepare(Config(conntrack=Conntrack(0, 0, 86401.0, 0.0)), ensure))
print(host.prepare(Config(conntrack=Conntrack(0, 0, 0.0, 0.0)), ensure))
try:
    host.prepare(Config(), lambda *_: files.ensure("net.ipv4.ip_forward", 2))
except host.ReadOnlyHost as error:
    print(error)
"""


@pytest.mark.netns
def test_a_read_only_proc_sys_is_known_as_such() -> None:
    mounts = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    done = subprocess.run(
        [
            "unshare", "--net", "--mount", "sh", "-c",
            f'{mounts} && exec "$0" -c "$1"', sys.executable, MOUNTED,
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, second, third = done.stdout.splitlines()
    assert first == "['net.netfilter.nf_conntrack_tcp_timeout_established=86401']"
    assert second == "[]"
    assert "Read-only file system" in third


@pytest.mark.netns
async def test_an_event_tells_people(tmp_path: Path) -> None:
    async with build(tmp_path) as node:
        await node.start(ensure=_read_only)
        await node.until("203.0.113.140", 80, {"198.51.100.18": 1})
        await node.told("readOnlySysFS")
        assert "nf_conntrack_max" in (await node.events())["readOnlySysFS"]


@pytest.mark.netns
async def test_an_event_tells_why_the_proxy_does_not_start(tmp_path: Path) -> None:
    def refuse(name: str, _: int) -> int | None:
        raise ReadOnly(name, "Read-only file system")

    async with build(tmp_path) as node:
        await node.start(ensure=refuse)
        await node.told("readOnlySysFS")
        assert "net.ipv4.vs.conntrack" in (await node.events())["readOnlySysFS"]
        with pytest.raises(host.ReadOnlyHost):
            await node.ended()
