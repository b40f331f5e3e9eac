"""The second, optional file: what only this proxy has. And commands that need a configuration say so."""

from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.errors import UserError
from strictarp.proxy.settings import Settings, load

HEAD = "apiVersion: strictarp.io/v1alpha1\nkind: ProxySettings\n"


def test_an_empty_file_means_the_defaults() -> None:
    assert load(HEAD, "f") == Settings()
    assert (Settings().open_forward, Settings().hand_over) == (False, True)


def test_switches_and_times_are_read() -> None:
    made = load(HEAD + "openForward: true\nhandOver: false\ndrainLimit: 5m\nfullLookPeriod: 30s\n", "f")
    assert (made.open_forward, made.hand_over, made.drain_limit, made.full_look) == (True, False, 300.0, 30.0)


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
