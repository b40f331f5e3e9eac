"""Against the running kernel: which namespace /proc/sys/net shows, and that its rules are ours."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from strictarp.lab import namespaces
from strictarp.sysctl import files
from strictarp.sysctl.effective import strictarp_in_force, strictarp_writes

pytestmark = pytest.mark.netns

KEY = files.conf("all", "arp_ignore")


@pytest.fixture
def namespace() -> Iterator[namespaces.Namespace]:
    made = namespaces.create("sysctl-test")
    yield made
    made.close()


def test_values_are_those_of_the_threads_namespace_without_mounting_anew(
    namespace: namespaces.Namespace,
) -> None:
    outside = files.read_int(KEY)
    with namespaces.entered(namespace):
        files.write(KEY, 8)
        assert files.read_int(KEY) == 8
    assert files.read_int(KEY) == outside
    with namespaces.entered(namespace):
        assert files.read_int(KEY) == 8


def test_a_pool_thread_keeps_the_namespace_it_was_born_in(namespace: namespaces.Namespace) -> None:
    with ThreadPoolExecutor(max_workers=1) as pool:
        outside = pool.submit(files.read_int, KEY).result()
        with namespaces.entered(namespace):
            files.write(KEY, outside + 1)
            assert files.read_int(KEY) == outside + 1
            assert pool.submit(files.read_int, KEY).result() == outside


def test_an_interface_with_a_dot_in_its_name_is_found(namespace: namespaces.Namespace) -> None:
    namespaces.ip(namespace, "link add eth0.100 type bridge")
    with namespaces.entered(namespace):
        name = files.conf("eth0.100", "arp_announce")
        assert files.ensure(name, 2) == 0
        assert files.snapshot(["eth0.100", "gone"], ["arp_announce"]) == {"eth0.100": {"arp_announce": 2}}
        with pytest.raises(files.Missing):
            files.read("net.ipv4.conf.eth0.100.arp_announce")


def test_a_value_that_the_kernel_refuses_is_told(namespace: namespaces.Namespace) -> None:
    with namespaces.entered(namespace), pytest.raises(files.BadValue, match="'much'"):
        files.write(KEY, "much")


def test_the_writes_bring_strictarp_into_force(namespace: namespaces.Namespace) -> None:
    with namespaces.entered(namespace):
        files.write(KEY, 0)
        files.write(files.conf("all", "arp_announce"), 0)
        before = files.snapshot(["all"], ["arp_ignore", "arp_announce"])["all"]
        for key, value in strictarp_writes(before["arp_ignore"], before["arp_announce"]).items():
            files.ensure(files.conf("all", key), value)
        after = files.snapshot(["all", "lo"], ["arp_ignore", "arp_announce"])
    assert after["all"] == {"arp_ignore": 1, "arp_announce": 2}
    assert strictarp_in_force(
        after["all"]["arp_ignore"],
        after["lo"]["arp_ignore"],
        all_announce=after["all"]["arp_announce"],
        dev_announce=after["lo"]["arp_announce"],
    )
