"""Whatever a configuration file comes to hold: it is taken or refused in words, and the daemon goes on."""

import asyncio
import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strictarp.errors import UserError
from strictarp.kube import config as kubeconfig
from strictarp.lab import namespaces
from strictarp.lab.manifests import KUBE_PROXY_CONFIG
from strictarp.proxy import config, process
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Options
from strictarp.proxy.effective import effective_document
from strictarp.proxy.nftables import whole_table
from strictarp.proxy.settings import Settings
from support.odd_objects import places, put, values

TEXT = KUBE_PROXY_CONFIG.format(kubeconfig="/k", pods="198.51.100.0/24")
WHOLE = yaml.safe_load(TEXT)
FAULT = re.compile(r"^(\(document\)|[A-Za-z][\w.\[\]-]*): \S")


def _with(changed: list[tuple[tuple[object, ...], object]]) -> str:
    document = copy.deepcopy(WHOLE)
    for path, value in changed:
        put(document, path, value)
    return str(yaml.safe_dump(document))


texts = st.one_of(
    st.lists(st.tuples(st.sampled_from(places(WHOLE)), values), min_size=1, max_size=3).map(
        _with
    ),
    st.tuples(st.integers(0, len(TEXT)), st.integers(0, 20), st.text(max_size=6)).map(
        lambda cut: TEXT[: cut[0]] + cut[2] + TEXT[cut[0] + cut[1] :]
    ),
    st.tuples(
        st.sampled_from([line.split(":")[0].strip() for line in TEXT.splitlines()]),
        st.sampled_from(
            ["!!bool x", "!!int ''", "!!timestamp x", "!!float x", "!!binary x", "0x" + "f" * 5000, ".inf",
             ".nan", '"\\0"', '"a\\nb"', "&a [*a]", "&a {b: *a}", "? [a]",
             "<<: 5", "2001-99-99", "-1", "1e400", "'"]
        ),
    ).map(lambda line: f"{TEXT}{line[0]}: {line[1]}\n"),
)  # fmt: skip


def _load(text: str) -> Config | None:
    """None where it is refused, in words that name fields."""
    try:
        return config.load(text, "f")
    except UserError as error:
        lines = str(error).splitlines()
        assert lines
        assert all(FAULT.match(line) for line in lines), lines
        return None


@settings(max_examples=150)
@given(texts)
@example(TEXT + "mode: !!bool x\n")
@example(TEXT + "mode: 0x" + "f" * 5000 + "\n")
def test_a_file_is_a_configuration_or_refused_with_each_field_named(text: str) -> None:
    loaded = _load(text)
    if loaded is not None:
        effective_document(text)
        table = whole_table(loaded, (), ())
        assert all(line.isprintable() for line in table.splitlines())


@pytest.mark.parametrize(
    "name", ["a\nb", "a b", "a\tb", "a/b", 'a"b', "a*", "x" * 16, "ü" * 8, "a:b", "\x7f"]
)
def test_what_is_no_name_of_an_interface_is_refused(name: str) -> None:
    for mode, field in (
        ("BridgeInterface", "bridgeInterface"),
        ("InterfaceNamePrefix", "interfaceNamePrefix"),
    ):
        document = {**WHOLE, "detectLocalMode": mode, "detectLocal": {field: name}}
        with pytest.raises(UserError, match=rf"^detectLocal\.{field}: "):
            config.load(yaml.safe_dump(document), "f")


@pytest.mark.netns
@pytest.mark.parametrize("name", ["cni0", "veth-1.2", "ü", "a{b}", "a;b", "$a", "@a", "#a", "a,b", "'a'"])
def test_every_other_name_loads(name: str) -> None:
    space = namespaces.create("nft")
    for mode, field in (
        ("BridgeInterface", "bridgeInterface"),
        ("InterfaceNamePrefix", "interfaceNamePrefix"),
    ):
        document = {**WHOLE, "detectLocalMode": mode, "detectLocal": {field: name}}
        loaded = config.load(yaml.safe_dump(document), "f")
        namespaces.run(space, ["nft", whole_table(loaded, (), ())])
    space.close()


class _Proxy:
    """Takes what it is given."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.taken: list[Config] = []

    def say(self, reason: str, message: str, *, warning: bool = False) -> None:
        del warning
        self.said.append((reason, message))

    async def reconfigure(self, config: Config, text: str) -> None:
        del text
        self.taken.append(config)


async def _until(what: Callable[[], object]) -> None:
    for _ in range(500):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


ODD = [
    "mode: !!bool x\n",
    "mode: 0x" + "f" * 5000 + "\n",
    'clientConnection: {kubeconfig: "/a\\0b"}\n',
    "clientConnection: {kubeconfig: /bad}\n",
    "ipvs: {scheduler: best}\n",
    "\udc80",
    "",
]


async def test_the_follower_outlives_every_odd_file_and_takes_the_next_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strictarp.proxy.following.EVERY_SECONDS", 0.01)
    monkeypatch.setattr(process.texts_of, "__defaults__", (0.01,))
    bad = tmp_path / "kubeconfig"
    bad.write_text("contexts: !!bool x\n")
    good = TEXT.replace("kubeconfig: /k", "kubeconfig: ''")
    file, proxy = tmp_path / "config.conf", _Proxy()
    file.write_text(good)
    options = Options(config.load(good, "f"), Settings(), "node1", "node1", file, good)
    following = asyncio.create_task(process.follow_configuration(options, proxy))  # type: ignore[arg-type]
    for number, odd in enumerate(ODD, 1):
        text = good + odd.replace("/bad", str(bad)) if odd else ""
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        await _until(lambda number=number: len(proxy.said) >= number)
        assert proxy.said[-1][0] == process.REFUSED, odd
        assert "\n" not in proxy.said[-1][1]
    file.write_text(good + "ipvs: {scheduler: lc}\n")
    await _until(lambda: proxy.taken)
    assert proxy.taken[-1].scheduler == "lc"
    assert not following.done()
    following.cancel()


@pytest.mark.parametrize(
    "text", ["a: !!bool x", "a: !!timestamp x", "a: !!int ''", "[" * 5000, "a: 2001-99-99"]
)
def test_a_kubeconfig_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kubeconfig"):
        kubeconfig.parse(text, tmp_path / "kubeconfig")
    with pytest.raises(UserError, match="kubeconfig"):
        kubeconfig.load("/a\0b")
