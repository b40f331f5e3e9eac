"""The second, optional file: what only this proxy has. And commands that need a configuration say so."""

from pathlib import Path

import msgspec
import pytest

from strictarp.arp.switching import Scope
from strictarp.cli.main import main
from strictarp.cli.proxy import command, guard_settings
from strictarp.errors import UserError
from strictarp.guard.settings import PROXY
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.proxy.settings import Settings, load

HEAD = "apiVersion: strictarp.io/v1alpha1\nkind: ProxySettings\n"


def test_an_empty_file_means_the_defaults() -> None:
    assert load(HEAD, "f") == Settings()
    assert (Settings().open_forward, Settings().hand_over) == (False, True)


def test_switches_and_times_are_read() -> None:
    made = load(HEAD + "openForward: true\nhandOver: false\ndrainLimit: 5m\nfullLookPeriod: 30s\n", "f")
    assert (made.open_forward, made.hand_over, made.drain_limit, made.full_look) == (True, False, 300.0, 30.0)


def test_how_long_packets_are_held_back_has_a_limit() -> None:
    """The rules forget a connection after a minute, and would hold it back again."""
    assert load(HEAD + "holdBack: 3s\n", "f").hold_back == 3.0
    with pytest.raises(UserError, match=r"^holdBack: '31s' is too long, 30 s are the most"):
        load(HEAD + "holdBack: 31s\n", "f")


def test_every_fault_is_named_by_its_field() -> None:
    with pytest.raises(UserError) as caught:
        load(HEAD + "openForward: 1\nhandOver: perhaps\nliveness: {asks: 0}\n", "f")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["liveness.asks", "openForward", "handOver"]


def test_unknown_fields_are_warned_of() -> None:
    (warning,) = load(HEAD + "openFoward: true\n", "f").warnings
    assert "openFoward: unknown field" in warning


def test_migrate_needs_a_configuration_that_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["proxy", "migrate"]) == 64
    config = tmp_path / "config"
    config.write_text("kind: KubeProxyConfiguration\nmode: nftables\n")
    assert main(["proxy", "migrate", "--config", str(config)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "mode: strictarp serves ipvs only" in told.err


def test_the_file_says_how_strictarp_is_kept_and_options_come_first() -> None:
    text = HEAD + "strictARP: {scope: uplinks, uplinks: [eth1], state: /var/lib/other}\n"
    made = load(text, "f")
    assert made.guard == GuardSettings(Scope.UPLINKS, ("eth1",), Path("/var/lib/other"), PROXY)
    assert load(HEAD, "f").guard == GuardSettings(owner=PROXY)
    with pytest.raises(UserError, match=r"^strictARP\.scope: 'some' is none of"):
        load(HEAD + "strictARP: {scope: some}\n", "f")
    for argv, scope in (([], Scope.UPLINKS), (["--strictarp-scope", "vips"], Scope.VIPS)):
        with command.make_context("proxy", ["--config", "f", *argv]) as ctx:
            guard = guard_settings(ctx, made, Scope(ctx.params["scope"]), ctx.params["state"])
        assert guard == msgspec.structs.replace(made.guard, scope=scope)


def test_the_device_of_vips_may_have_another_name() -> None:
    assert (
        load(HEAD, "f").vip_device == load(HEAD + "vipDevice: {name: ''}\n", "f").vip_device == "kube-ipvs0"
    )
    assert load(HEAD + "vipDevice: {name: vips0}\n", "f").vip_device == "vips0"
    for odd in ("lo", "..", "a b", "a/b", "x" * 16):
        with pytest.raises(UserError, match=r"^vipDevice\.name: "):
            load(HEAD + f"vipDevice: {{name: {odd!r}}}\n", "f")


def test_scope_vips_goes_with_kube_ipvs0_alone_wherever_it_comes_from() -> None:
    with pytest.raises(UserError, match=r"^vipDevice\.name: "):
        load(HEAD + "vipDevice: {name: vips0}\nstrictARP: {scope: vips}\n", "f")
    assert load(HEAD + "strictARP: {scope: vips}\n", "f").guard.scope is Scope.VIPS
    made = load(HEAD + "vipDevice: {name: vips0}\n", "f")
    argv = ["--config", "f", "--strictarp-scope", "vips"]
    with (
        command.make_context("proxy", argv) as ctx,
        pytest.raises(UserError, match=r"^vipDevice\.name: "),
    ):
        guard_settings(ctx, made, Scope.VIPS, ctx.params["state"])
