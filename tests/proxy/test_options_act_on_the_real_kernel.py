"""--init-only and --dry-run through the command, on the real kernel and next to a proxy that runs."""

import pytest

from strictarp.cli.main import main
from support.forked import until
from support.traffic import NODE, POD_GATEWAY, VIP, World

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]


def _command(world: World, *argv: str) -> list[str]:
    """Run `strictarp proxy` to its end; what it printed, without its log."""
    whole = ["proxy", "--config", str(world.folder / "config"), "--hostname-override", "node1", *argv]
    whole += ["--strictarp-state", str(world.folder / "lib")]
    name = "command-" + "".join(argv).replace("-", "")
    log = world.folder / f"{name}.log"
    log.unlink(missing_ok=True)
    code = world.child("node", lambda: main(whole), name).wait()
    told = log.read_text()
    assert code == 0, told
    return [line for line in told.splitlines() if not line.startswith("{")]


def test_what_needs_a_writable_proc_sys_is_done_alone(world: World) -> None:
    names = ("net.ipv4.vs.conntrack", "net.ipv4.vs.expire_nodest_conn")
    world.run("sysctl", "-qw", *(f"{name}=0" for name in names))
    assert _command(world, "--init-only") == []
    assert world.run("sysctl", "-n", *names).split() == ["1", "1"]


def test_dry_runs_tell_the_difference_and_change_nothing(world: World) -> None:
    before = world.run("cat", "/proc/net/ip_vs")
    until(lambda: _command(world, "--dry-run") == [], 60, "all of it is programmed")
    told = _command(world, "--cleanup", "--dry-run")
    assert f"remove virtual server TCP {VIP}:80" in told
    assert "delete device kube-ipvs0" in told
    assert any(line.startswith("put back net.ipv4.conf.all.arp_ignore") for line in told)
    assert [line.split()[:3] for line in world.run("cat", "/proc/net/ip_vs").splitlines()] == [
        line.split()[:3] for line in before.splitlines()
    ]
    assert world.callers(VIP, 80) == {NODE, POD_GATEWAY}
