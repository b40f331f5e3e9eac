"""Which API server is meant, and as whom: files as kubectl finds them, and credentials from commands."""

import asyncio
import json
import stat
from pathlib import Path

import pytest

from strictarp.errors import UserError
from strictarp.kube import access
from strictarp.kube.access import Access
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig, load, parse
from strictarp.kube.errors import Unauthorized, Unreachable
from strictarp.kube.exec_plugin import ExecPlugin, ask
from strictarp.kube.objects import NODES
from support.guarded_api import GuardedApi

V1 = "client.authentication.k8s.io/v1"


def config(name: str, **user: object) -> dict[str, object]:
    """A kubeconfig with one context, cluster and user of that name."""
    return {
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}.example:6443"}}],
        "users": [{"name": name, "user": user}],
        "current-context": name,
    }


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def command(path: Path, *lines: str) -> Path:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def says(token: str, **status: object) -> str:
    """A line of shell that prints an ExecCredential; variables in it are replaced."""
    text = json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": token, **status}})
    return f"cat <<END\n{text}\nEND"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def server(wanted: Access) -> str:
    return access.find(wanted).server


def test_the_file_named_wins_over_kubeconfig_and_that_over_the_home_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="name a kubeconfig with --kubeconfig"):
        access.find(Access())
    write(home / ".kube" / "config", config("usual"))
    assert server(Access()) == "http://usual.example:6443"
    monkeypatch.setenv("KUBECONFIG", str(write(tmp_path / "b", config("listed"))))
    assert server(Access()) == "http://listed.example:6443"
    assert server(Access(str(write(tmp_path / "c", config("named"))))) == "http://named.example:6443"


def test_several_files_are_one_and_the_first_that_names_a_thing_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = config("one")
    second = config("two")
    second["clusters"] = [*second["clusters"], {"name": "one", "cluster": {"server": "http://other"}}]  # type: ignore[misc]
    files = write(tmp_path / "1", first), tmp_path / "missing", write(tmp_path / "2", second)
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
    assert server(Access()) == "http://one.example:6443"
    assert server(Access(context="two")) == "http://two.example:6443"
    with pytest.raises(UserError, match=r"/1, .*/2: contexts: there is no entry named 'three'"):
        access.find(Access(context="three"))


def test_a_path_is_relative_to_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a" / "config", config("one"))
    write(tmp_path / "b" / "config", config("two", tokenFile="token"))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a/config:{tmp_path}/b/config")
    assert access.find(Access(context="two")).token_file == tmp_path / "b" / "token"


def test_a_context_without_a_file_is_told() -> None:
    with pytest.raises(UserError, match="--context: there is no kubeconfig"):
        access.find(Access(context="x"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x", r"exec: must be a mapping"),
        ({"apiVersion": V1}, r"exec\.command: missing"),
        ({"command": "c", "apiVersion": "v0"}, r"exec\.apiVersion: must be .*/v1 or .*/v1beta1, not 'v0'"),
        ({"command": "c", "apiVersion": V1, "args": "x"}, r"exec\.args: must be a list of texts"),
        ({"command": "c", "apiVersion": V1, "env": [{"name": "A"}]}, r"exec\.env\[0\]: must have a name and"),
        ({"command": "c", "apiVersion": V1, "interactiveMode": "Y"}, r"exec\.interactiveMode: must be Never"),
    ],
)
def test_what_is_wrong_with_exec_is_told_with_its_field(given: object, told: str) -> None:
    with pytest.raises(UserError, match=rf"^f: users\[one\]\.user\.{told}"):
        parse(json.dumps(config("one", exec=given)), Path("f"))


def test_a_command_is_told_what_it_may_need_to_know(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command(tmp_path / "login", f'printf %s "$KUBERNETES_EXEC_INFO$WHO$1" > {told}', says("bearer"))
    user = {
        "command": "./login", "apiVersion": V1, "args": ["-x"], "provideClusterInfo": True,
        "env": [{"name": "WHO", "value": "me"}],
    }  # fmt: skip
    plugin = load(write(tmp_path / "config", config("one", exec=user))).plugin
    assert plugin is not None
    assert asyncio.run(ask(plugin)).token == "bearer"  # noqa: S105
    info, end, rest = told.read_text().partition("}}}")
    assert rest == "me-x"
    assert json.loads(info + end)["spec"] == {
        "interactive": False,
        "cluster": {"server": "http://one.example:6443"},
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("exit 3", "ended with exit code 3"),
        ("echo secret-but-no-json", "printed no ExecCredential"),
        (says(""), "gave no token"),
        (says("secret\u0007"), "no HTTP header can carry"),
        (says("secret").replace("/v1", "/v1beta1"), "answered in"),
    ],
)
def test_a_command_that_gives_no_token_is_told_without_what_it_printed(
    line: str, told: str, tmp_path: Path
) -> None:
    plugin = ExecPlugin("f: exec", str(command(tmp_path / "login", line)))
    with pytest.raises(Unreachable, match=told) as failed:
        asyncio.run(ask(plugin))
    assert "secret" not in str(failed.value)


def test_a_command_that_is_not_there_is_told_with_the_hint() -> None:
    with pytest.raises(Unreachable, match=r"exec\.command: cannot run '/nonexistent'.*install it"):
        asyncio.run(ask(ExecPlugin("f: exec", "/nonexistent", hint="install\n it")))


async def test_a_token_is_kept_until_it_ends_or_is_refused(tmp_path: Path) -> None:
    count = f"echo x >> {tmp_path}/asked; n=$(wc -l < {tmp_path}/asked)"
    script = command(tmp_path / "login", count, says("t$n"))
    async with GuardedApi("t1") as api:
        plugin = ExecPlugin("f: exec", str(script))
        async with Client(ClientConfig(api.url, plugin=plugin)) as client:
            await client.list(NODES)
            await client.list(NODES)
            assert (tmp_path / "asked").read_text() == "x\n"
            api.token = "t2"  # noqa: S105
            with pytest.raises(Unauthorized):
                await client.list(NODES)
            await client.list(NODES)
            assert (tmp_path / "asked").read_text() == "x\nx\n"


async def test_a_token_that_has_ended_is_not_sent(tmp_path: Path) -> None:
    script = command(
        tmp_path / "login",
        f"echo x >> {tmp_path}/asked",
        says("t", expirationTimestamp="2020-01-01T00:00:00Z"),
    )
    async with (
        GuardedApi("t") as api,
        Client(ClientConfig(api.url, plugin=ExecPlugin("f", str(script)))) as client,
    ):
        await client.list(NODES)
        await client.list(NODES)
    assert (tmp_path / "asked").read_text() == "x\nx\n"
