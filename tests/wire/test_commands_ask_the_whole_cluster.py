"""`strictarp probe --all` and `watch` with the embedded API server and kernels in namespaces."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.kube.objects import EVENTS, NODES, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.manifests import kubeconfig
from support.api import Api, running_api
from support.segment import VIP, Segment, bind_vip, build, write_sysctls

pytestmark = pytest.mark.netns
OTHER = "192.0.2.101"
STRICT = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    """n1, n2 and n3 hold both VIPs; n3 alone has strictARP; n1 announces (and its kernel is its voice)."""
    with build(["client", "n1", "n2", "n3"]) as made:
        for name in ("n1", "n2", "n3"):
            bind_vip(made.hosts[name])
            namespaces.ip(made.hosts[name], f"addr add {OTHER}/32 dev vips0")
        write_sysctls(made.hosts["n3"], STRICT)
        yield made


async def fill(api: Api, segment: Segment) -> None:
    for name in ("n1", "n2", "n3"):
        address = {"type": "InternalIP", "address": segment.address(name)}
        await api.client.create(NODES, {"metadata": {"name": name}})
        await api.client.merge_patch(NODES, name, {"status": {"addresses": [address]}}, subresource="status")
    for name, ips in (("web", [VIP, "2001:db8::1"]), ("api", [OTHER])):
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
        await api.client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        status = {"status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}}
        await api.client.merge_patch(SERVICES, name, status, "default", subresource="status")
        event = {
            "metadata": {"name": f"{name}.1", "namespace": "default"},
            "involvedObject": {"kind": "Service", "namespace": "default", "name": name},
            "reason": "nodeAssigned",
            "message": 'announcing from node "n1" with protocol "layer2"',
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        await api.client.create(EVENTS, event)


def run(segment: Segment, folder: Path, *argv: str, empty: bool = False) -> int:
    """A command line in the client's namespace, with an API server there."""

    async def with_api() -> int:
        async with running_api(folder) as api:
            if not empty:
                await fill(api, segment)
            file = folder / "kubeconfig"
            file.write_text(json.dumps(kubeconfig(api.url)))
            return await asyncio.to_thread(main, [*argv, "--kubeconfig", str(file)])

    with namespaces.entered(segment.hosts["client"]):
        return asyncio.run(with_api())


def test_all_addresses_are_asked_and_the_silenced_announcer_is_not_blamed(
    segment: Segment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(segment, tmp_path, "probe", "--all", "--wait", "0.4", "--json") == 2
    captured = capfd.readouterr()
    found = json.loads(captured.out)
    assert [(each["ip"], each["services"]) for each in found] == [
        (VIP, ["default/web"]),
        (OTHER, ["default/api"]),
    ]
    for each in found:
        assert {name["node"] for name in each["names"].values()} == {"n1", "n2"}
        (culprit,) = each["culprits"]
        assert (culprit["who"], culprit["fault"]) == ("n2", "kernel")
    assert "not asked for, since ARP is for IPv4: 2001:db8::1 (default/web)" in captured.err


def test_people_get_a_table_and_one_line_for_each_culprit(
    segment: Segment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(segment, tmp_path, "probe", "--all", "--wait", "0.4", "--form", "both") == 2
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "2 addresses: 0 answered by exactly one host, 2 by several"
    assert lines[1].split() == [
        "address",
        "Services",
        "verdict",
        "MAC",
        "address",
        "answers",
        "first",
        "after",
        "who",
    ]
    blame = [line for line in lines if line.startswith("likely culprit")]
    assert len(blame) == 1
    assert f"n2 ({segment.mac('n2')}), kernel, for {VIP}, {OTHER}" in blame[0]


def test_a_watch_without_addresses_watches_those_of_the_cluster(
    segment: Segment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(segment, tmp_path, "watch", "--json", "--for", "1.6", "--interval", "1") == 2
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {(each["ip"], each["event"]) for each in events} == {(VIP, "several"), (OTHER, "several")}
    assert {culprit["who"] for each in events for culprit in each["culprits"]} == {"n2"}


def test_names_are_a_help_and_no_condition(
    segment: Segment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig("http://127.0.0.1:1")))
    with namespaces.entered(segment.hosts["client"]):
        named = ["--kubeconfig", str(file), "--wait", "0.2"]
        assert main(["probe", segment.address("n1"), *named]) == 0
        assert "no names from the cluster" in capfd.readouterr().err
        assert main(["probe", "--all", *named]) == 3
        assert "cannot look at the cluster" in capfd.readouterr().err


def test_a_cluster_without_addresses_cannot_be_looked_at(
    segment: Segment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(segment, tmp_path, "probe", "--all", empty=True) == 3
    assert "no Service has a LoadBalancer ingress address" in capfd.readouterr().err


def test_facts_of_nodes_show_what_the_wire_cannot(
    segment: Segment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("n1", "n2"):
        with namespaces.entered(segment.hosts[name]):
            assert main(["facts", "--json", str(tmp_path / f"{name}.json")]) == 0
    files = ["--facts", str(tmp_path / "n1.json"), "--facts", f"second={tmp_path / 'n2.json'}"]
    with namespaces.entered(segment.hosts["client"]):
        assert main(["probe", VIP, "--wait", "0.2", *files]) == 2
    printed = capfd.readouterr().out
    assert f"culprit: n1 eth0 ({segment.mac('n1')}), kernel, for {VIP}" in printed
    assert f"culprit: second eth0 ({segment.mac('n2')}), kernel, for {VIP}" in printed


def test_a_proxy_is_told_by_the_form_it_answers(segment: Segment, capfd: pytest.CaptureFixture[str]) -> None:
    n2, n3, ip = segment.hosts["n2"], segment.hosts["n3"], "198.51.100.9"
    namespaces.ip(n2, f"addr add {ip}/32 dev vips0")
    namespaces.ip(
        n3,
        "link add far0 type bridge",
        "link set far0 up",
        "addr add 198.51.100.1/24 dev far0",
        f"neigh add proxy {ip} dev eth0",
    )
    write_sysctls(n3, {"net/ipv4/conf/eth0/forwarding": 1, "net/ipv4/neigh/eth0/proxy_delay": 0})
    try:
        with namespaces.entered(segment.hosts["client"]):
            assert main(["probe", ip, "-i", "eth0", "--wait", "0.3", "--form", "both"]) == 2
    finally:
        namespaces.ip(n3, "link del far0")
        namespaces.ip(n2, f"addr del {ip}/32 dev vips0")
    printed = capfd.readouterr().out
    assert "1 (request only)" in printed
    assert f"likely culprit: {segment.mac('n3')}, proxy-arp, for {ip}" in printed
    assert printed.count("culprit") == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["probe", VIP, "--all"],
        ["probe", VIP, "--form", "probe", "--sender", "192.0.2.9"],
        ["watch", VIP, "--prometheus", "nonsense"],
        ["watch", VIP, "--interval", "0"],
    ],
)
def test_what_does_not_fit_together_is_a_usage_error(argv: list[str]) -> None:
    assert main(argv) == 64


def test_a_file_that_is_no_facts_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "facts.json"
    file.write_text("{}")
    assert main(["probe", VIP, "--facts", str(file)]) == 3
    assert "strictarp facts --json" in capfd.readouterr().err


def test_a_page_that_cannot_be_written_is_told_before_anything_is_asked(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["watch", VIP, "--html", "/nonexistent/page.html"]) == 64
    assert "name a file that can be written" in capfd.readouterr().err


@pytest.mark.parametrize("command", [["probe", VIP], ["doctor", "--on-this-node"], ["enable"], ["preflight"]])
def test_a_report_that_cannot_be_written_is_told_before_anything_is_done(
    command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--json", "/nonexistent/report.json"]) == 64
    assert "cannot be written" in capfd.readouterr().err


def test_a_page_is_written_through_links_and_to_what_is_no_plain_file(
    segment: Segment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with namespaces.entered(segment.hosts["client"]):
        for target in (tmp_path / "link.html", pipe):
            assert main(["watch", VIP, "--for", "1.5", "--html", str(target)]) == 2
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert os.read(reading, 15) == b"<!DOCTYPE html>"
    os.close(reading)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.html", "page.html", "pipe"]
