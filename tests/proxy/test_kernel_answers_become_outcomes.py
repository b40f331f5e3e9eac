import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.netlink import ipvs_encode
from strictarp.netlink.ipvs import RealServer, VirtualServer
from strictarp.netlink.messages import Refusal
from strictarp.netlink.rtnl_encode import encode_del_address, encode_new_address
from strictarp.proxy.kernel_messages import (
    address_message,
    address_outcome,
    follow_up,
    ipvs_message,
    ipvs_outcome,
)
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
)
from strictarp.proxy.seam import Vanished
from support.strategies_net import ipv4, real_servers, virtual_servers

SERVER, REAL = VirtualServer(6, bytes([192, 0, 2, 100]), 80), RealServer(bytes([198, 51, 100, 17]), 8080)
KEY, VIP4, VIP6 = SERVER.key, SERVER.address, bytes.fromhex("20010db8" + "00" * 12)


@given(virtual_servers(), real_servers())
def test_each_operation_is_its_own_message(server: VirtualServer, real: RealServer) -> None:
    assert ipvs_message(9, AddServer(server)) == ipvs_encode.encode_new_service(9, server)
    assert ipvs_message(9, SetServer(server)) == ipvs_encode.encode_set_service(9, server)
    assert ipvs_message(9, RemoveServer(server.key)) == ipvs_encode.encode_del_service(9, server.key)
    assert ipvs_message(9, AddReal(server.key, real)) == ipvs_encode.encode_new_dest(9, server.key, real)
    assert ipvs_message(9, SetReal(server.key, real)) == ipvs_encode.encode_set_dest(9, server.key, real)
    assert ipvs_message(9, RemoveReal(server.key, real)) == ipvs_encode.encode_del_dest(9, server.key, real)


@given(st.integers(1, 999), ipv4)
def test_an_address_is_bound_with_its_full_length(index: int, address: bytes) -> None:
    assert address_message(index, BindAddress(address)) == encode_new_address(index, address, 32)
    assert address_message(index, UnbindAddress(VIP6)) == encode_del_address(index, VIP6, 128)


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        (SetServer(SERVER), errno.ESRCH),
        (AddReal(KEY, REAL), errno.ESRCH),
        (SetReal(KEY, REAL), errno.ESRCH),
        (SetReal(KEY, REAL), errno.ENOENT),
    ],
)
def test_what_somebody_else_deleted_has_vanished(
    operation: SetServer | AddReal | SetReal, number: int
) -> None:
    assert isinstance(ipvs_outcome(operation, Refusal(number)), Vanished)
    assert not isinstance(ipvs_outcome(operation, Refusal(errno.ENOMEM)), Vanished)


def test_a_device_that_is_gone_has_vanished() -> None:
    gone = Refusal(errno.ENODEV)
    assert isinstance(address_outcome(BindAddress(VIP4), gone, "kube-ipvs0"), Vanished)


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        (RemoveServer(KEY), errno.ESRCH),
        (RemoveReal(KEY, REAL), errno.ENOENT),
        (RemoveReal(KEY, REAL), errno.ESRCH),
    ],
)
def test_removing_what_is_gone_is_done(operation: RemoveServer | RemoveReal, number: int) -> None:
    assert ipvs_outcome(operation, Refusal(number)) is None


def test_adding_what_is_there_becomes_changing_it() -> None:
    there = Refusal(errno.EEXIST)
    assert follow_up(AddServer(SERVER), there) == SetServer(SERVER)
    assert follow_up(AddReal(KEY, REAL), there) == SetReal(KEY, REAL)
    assert follow_up(AddReal(KEY, REAL), None) is None
    assert follow_up(AddReal(KEY, REAL), Refusal(errno.ESRCH)) is None
    assert follow_up(SetReal(KEY, REAL), there) is None


def test_a_refusal_says_what_and_why() -> None:
    assert ipvs_outcome(AddServer(SERVER), None) is None
    assert "load module ip_vs_rr" in (ipvs_outcome(AddServer(SERVER), Refusal(errno.ENOENT)) or "")
    assert "its virtual server does not exist" in (
        ipvs_outcome(SetReal(KEY, REAL), Refusal(errno.ESRCH)) or ""
    )
    assert "CAP_NET_ADMIN" in (ipvs_outcome(SetServer(SERVER), Refusal(errno.EPERM)) or "")
    assert "remove virtual server TCP 192.0.2.100:80" in (
        ipvs_outcome(RemoveServer(KEY), Refusal(errno.EPERM)) or ""
    )
    assert "198.51.100.17:8080" in (ipvs_outcome(RemoveReal(KEY, REAL), Refusal(errno.EBUSY)) or "")


def test_addresses_that_are_already_as_wanted_are_done() -> None:
    for operation, number in (
        (BindAddress(VIP4), errno.EEXIST),
        (UnbindAddress(VIP4), errno.EADDRNOTAVAIL),
        (UnbindAddress(VIP4), errno.ENODEV),
    ):
        assert address_outcome(operation, Refusal(number), "kube-ipvs0") is None
    assert address_outcome(BindAddress(VIP4), None, "kube-ipvs0") is None


def test_addresses_that_cannot_be_bound_say_where_and_why() -> None:
    gone = address_outcome(BindAddress(VIP4), Refusal(errno.ENODEV), "kube-ipvs0") or ""
    assert gone.startswith("bind address 192.0.2.100 on kube-ipvs0: the device is gone")
    off = address_outcome(BindAddress(VIP6), Refusal(errno.EACCES), "kube-ipvs0") or ""
    assert "net.ipv6.conf.kube-ipvs0.disable_ipv6" in off
    full = address_outcome(UnbindAddress(VIP4), Refusal(errno.EPERM), "kube-ipvs0") or ""
    assert full == "unbind address 192.0.2.100 on kube-ipvs0: Operation not permitted (EPERM)"
