"""What strictARP is known to break, change or leave alone: one row for each configuration, as a case and as
what must be told of it.
"""

from typing import Any

import msgspec

from strictarp.arp.losses import Evidence, Reason

Ask = tuple[str, str, str, bool, bool]
"""Interface, sender, target; answered before strictARP, and afterwards."""


class Row(msgspec.Struct, frozen=True):
    """lost: (interface, target as reported) → reason and evidence. fewer: target → who answers afterwards.

    senders: source → sender afterwards. needs: kinds of devices beyond those that every kernel has.
    """

    name: str
    case: dict[str, Any]
    asks: tuple[Ask, ...] = ()
    lost: dict[tuple[str, str], tuple[Reason, Evidence]] = {}
    fewer: dict[str, tuple[str, ...]] = {}
    senders: dict[str, str] = {}
    ineffective: tuple[str, ...] = ()
    unnoticed: int = 0
    needs: frozenset[str] = frozenset()


def nic(name: str = "eth0", number: int = 0x10, **more: object) -> dict[str, Any]:
    return {"name": name, "mac": f"02:00:00:00:00:{number:02x}", **more}


IPVS = nic("kube-ipvs0", 0x60, kind="dummy", up=False)
VIP = ["kube-ipvs0", "192.0.2.100/32"]
NODE = ["eth0", "192.0.2.11/24"]
LAN, POD = "192.0.2.77", "10.244.0.5"
WANTED = (Reason.VIP, Evidence.WANTED)
TO_POD = f"{POD}/32 dev cali1"
FORWARD = {"ipv4.ip_forward": 1, "conf.cali1.proxy_arp": 1, "neigh.cali1.proxy_delay": 0}


def case(*devs: dict[str, Any], addrs: list[Any] | None = None, **more: object) -> dict[str, Any]:
    return {"devs": list(devs), "addrs": addrs or [], "sysctl": {}, **more}


def likely(reason: Reason) -> tuple[Reason, Evidence]:
    return reason, Evidence.LIKELY


def quiet(reason: Reason) -> tuple[Reason, Evidence]:
    return reason, Evidence.NONE


ROWS = (
    Row(
        "a VIP on kube-ipvs0 asked on the NIC",
        case(nic(), IPVS, addrs=[NODE, VIP]),
        (("eth0", LAN, "192.0.2.100", True, False), ("eth0", LAN, "192.0.2.11", True, True)),
        {("eth0", "192.0.2.100"): WANTED},
        senders={"192.0.2.100": "192.0.2.11"},
        unnoticed=1,
    ),
    Row(
        "a ClusterIP asked from the LAN",
        case(nic(), IPVS, addrs=[NODE, ["kube-ipvs0", "10.96.0.1/32"]]),
        (("eth0", LAN, "10.96.0.1", True, False),),
        {("eth0", "10.96.0.1"): WANTED},
        senders={"10.96.0.1": "192.0.2.11"},
    ),
    Row(
        "anycast on lo in the subnet of the NIC",
        case(nic(), addrs=[NODE, ["lo", "192.0.2.53/32"]]),
        (("eth0", LAN, "192.0.2.53", True, False),),
        {("eth0", "192.0.2.53"): likely(Reason.ON_LOOPBACK)},
        senders={"192.0.2.53": "192.0.2.11"},
        unnoticed=1,
    ),
    Row(
        "anycast that is routed to the node's address is asked for by nobody",
        case(nic(), addrs=[NODE, ["lo", "198.51.100.53/32"]]),
        (("eth0", LAN, "198.51.100.53", True, False), ("eth0", LAN, "192.0.2.11", True, True)),
        {("eth0", "198.51.100.53"): quiet(Reason.ON_LOOPBACK)},
    ),
    Row(
        "a keepalived address on a dummy device",
        case(nic(), nic("vip0", 0x61, kind="dummy"), addrs=[NODE, ["vip0", "192.0.2.60/32"]]),
        (("eth0", LAN, "192.0.2.60", True, False),),
        {("eth0", "192.0.2.60"): likely(Reason.ON_DUMMY)},
        unnoticed=1,
    ),
    Row(
        "Antrea's Egress address on its dummy device",
        case(
            nic(),
            nic("antrea-egress0", 0x61, kind="dummy"),
            addrs=[NODE, ["antrea-egress0", "192.0.2.61/32"]],
        ),
        (("eth0", LAN, "192.0.2.61", True, False),),
        {("eth0", "192.0.2.61"): likely(Reason.ON_DUMMY)},
        unnoticed=1,
    ),
    Row(
        "a keepalived address on another NIC",
        case(nic(), nic("eth1", 0x11), addrs=[NODE, ["eth1", "10.1.0.1/24"], ["eth1", "192.0.2.60/32"]]),
        (("eth0", LAN, "192.0.2.60", True, False), ("eth1", "10.1.0.9", "10.1.0.1", True, True)),
        {("eth0", "192.0.2.60"): likely(Reason.OTHER_INTERFACE)},
        unnoticed=1,
    ),
    Row(
        "a keepalived address on a VLAN, asked on its parent",
        case(
            nic(),
            nic("eth0.10", 0x20, kind="vlan", link="eth0", id=10),
            addrs=[NODE, ["eth0.10", "10.10.0.1/24"], ["eth0.10", "192.0.2.60/32"]],
        ),
        (("eth0", LAN, "192.0.2.60", True, False), ("eth0.10", "10.10.0.9", "10.10.0.1", True, True)),
        {("eth0", "192.0.2.60"): likely(Reason.OTHER_INTERFACE)},
        needs=frozenset({"vlan"}),
        unnoticed=1,
    ),
    Row(
        "the parent's address asked on a VLAN",
        case(
            nic(),
            nic("eth0.10", 0x20, kind="vlan", link="eth0", id=10),
            addrs=[NODE, ["eth0.10", "10.10.0.1/24"]],
        ),
        (("eth0.10", "10.10.0.9", "192.0.2.11", True, False),),
        {("eth0.10", "192.0.2.11"): quiet(Reason.OTHER_INTERFACE)},
        needs=frozenset({"vlan"}),
    ),
    Row(
        "keepalived's macvlan over the NIC: one answer each instead of two",
        case(
            nic(),
            nic("vrrp51", 0x20, kind="macvlan", link="eth0"),
            addrs=[NODE, ["vrrp51", "192.0.2.60/32"]],
        ),
        (("eth0", LAN, "192.0.2.60", True, True), ("eth0", LAN, "192.0.2.11", True, True)),
        lost={("eth0", "192.0.2.60"): quiet(Reason.OTHER_INTERFACE)},
        fewer={"192.0.2.60": ("vrrp51",), "192.0.2.11": ("eth0",)},
        unnoticed=1,
    ),
    Row(
        "a pod behind a veth without address asks for the node",
        case(nic(), nic("cali1", 0x17), addrs=[NODE], routes=[TO_POD]),
        (("cali1", POD, "192.0.2.11", True, False),),
        {("cali1", "192.0.2.11"): likely(Reason.UNNUMBERED)},
    ),
    Row(
        "169.254.1.1 on lo as the pods' gateway",
        case(nic(), nic("cali1", 0x17), addrs=[NODE, ["lo", "169.254.1.1/32"]], routes=[TO_POD]),
        (("cali1", POD, "169.254.1.1", True, False),),
        {
            ("cali1", "169.254.1.1"): likely(Reason.UNNUMBERED),
            ("cali1", "192.0.2.11"): likely(Reason.UNNUMBERED),
        },
    ),
    Row(
        "169.254.1.1 on the veth itself",
        case(nic(), nic("cali1", 0x17), addrs=[NODE, ["cali1", "169.254.1.1/32"]], routes=[TO_POD]),
        (("cali1", POD, "169.254.1.1", True, True),),
    ),
    Row(
        "Calico's proxied gateway",
        case(
            nic(), nic("cali1", 0x17), addrs=[NODE], routes=["default via 192.0.2.1", TO_POD], sysctl=FORWARD
        ),
        (("cali1", POD, "169.254.1.1", True, True), ("cali1", POD, "192.0.2.11", True, False)),
        {("cali1", "192.0.2.11"): quiet(Reason.UNNUMBERED)},
    ),
    Row(
        "the gateway's /32 on the veth (ptp)",
        case(
            nic(),
            nic("veth1", 0x17),
            addrs=[NODE, ["veth1", "10.244.0.1/32"]],
            routes=[f"{POD}/32 dev veth1"],
        ),
        (("veth1", POD, "10.244.0.1", True, True),),
    ),
    Row(
        "a bridge of pods (cni0, docker0)",
        case(
            nic("cni0", 0x30, kind="bridge"),
            nic("veth1", 0x17, master="cni0"),
            addrs=[["cni0", "10.244.0.1/24"]],
        ),
        (("veth1", POD, "10.244.0.1", True, True),),
    ),
    Row(
        "a point-to-point address on its own veth",
        case(nic("veth1"), addrs=[["veth1", "10.244.0.1", {"peer": f"{POD}/32"}]]),
        (("veth1", POD, "10.244.0.1", True, False),),
        {("veth1", "10.244.0.1"): likely(Reason.POINT_TO_POINT)},
    ),
    Row(
        "a point-to-point address with a prefix that covers it",
        case(nic("veth1"), addrs=[["veth1", "10.244.0.1", {"peer": f"{POD}/24"}]]),
        (("veth1", POD, "10.244.0.1", True, True),),
    ),
    Row(
        "two NICs in one subnet answer for their own address only",
        case(nic(), nic("eth1", 0x11), addrs=[NODE, ["eth1", "192.0.2.12/24"]]),
        (
            ("eth0", LAN, "192.0.2.12", True, False),
            ("eth1", LAN, "192.0.2.12", True, True),
            ("eth1", LAN, "192.0.2.11", True, False),
            ("eth0", LAN, "192.0.2.11", True, True),
        ),
        {
            ("eth0", "192.0.2.12"): quiet(Reason.OTHER_INTERFACE),
            ("eth1", "192.0.2.11"): quiet(Reason.OTHER_INTERFACE),
        },
        fewer={"192.0.2.11": ("eth0",), "192.0.2.12": ("eth1",)},
        unnoticed=2,
    ),
    Row(
        "two NICs in one subnet, and rp_filter mutes the second",
        case(
            nic(),
            nic("eth1", 0x11),
            addrs=[NODE, ["eth1", "192.0.2.12/24"]],
            sysctl={"conf.all.rp_filter": 1},
        ),
        (("eth0", LAN, "192.0.2.12", True, False), ("eth1", LAN, "192.0.2.12", False, False)),
        {("eth0", "192.0.2.12"): likely(Reason.OTHER_INTERFACE)},
        unnoticed=2,
    ),
    Row(
        "two NICs in one subnet with arp_filter: nobody is left for the second address",
        case(
            nic(),
            nic("eth1", 0x11),
            addrs=[NODE, ["eth1", "192.0.2.12/24"]],
            sysctl={"conf.all.arp_filter": 1},
        ),
        (("eth0", LAN, "192.0.2.12", True, False), ("eth1", LAN, "192.0.2.12", False, False)),
        {("eth0", "192.0.2.12"): likely(Reason.OTHER_INTERFACE)},
        unnoticed=2,
    ),
    Row(
        "an address left on a bridge port",
        case(
            nic("br0", 0x30, kind="bridge"),
            nic(master="br0"),
            addrs=[["br0", "192.0.2.11/24"], ["eth0", "192.0.2.12/24"]],
        ),
        (("eth0", LAN, "192.0.2.12", True, False), ("eth0", LAN, "192.0.2.11", True, True)),
        {("br0", "192.0.2.12"): likely(Reason.ON_PORT)},
        unnoticed=1,
    ),
    Row(
        "an address left on a slave of a bond",
        case(
            nic("bond0", 0x30, kind="bond", up=False),
            nic(master="bond0", up=False),
            addrs=[["bond0", "192.0.2.11/24"], ["eth0", "192.0.2.12/24"]],
            cmds=["ip link set bond0 up", "ip link set eth0 up"],
        ),
        (("eth0", LAN, "192.0.2.12", True, False), ("eth0", LAN, "192.0.2.11", True, True)),
        {("bond0", "192.0.2.12"): likely(Reason.ON_PORT)},
        needs=frozenset({"bond"}),
        unnoticed=1,
    ),
    Row(
        "unnumbered: the loopback's address borrowed by a NIC",
        case(nic(), addrs=[["lo", "192.0.2.11/32"]], routes=["192.0.2.0/24 dev eth0"]),
        (("eth0", LAN, "192.0.2.11", True, False),),
        {("eth0", "192.0.2.11"): likely(Reason.UNNUMBERED)},
    ),
    Row(
        "unnumbered: the /32 on each NIC",
        case(
            nic(),
            nic("eth1", 0x11),
            addrs=[["eth0", "192.0.2.11/32"], ["eth1", "192.0.2.11/32"]],
            routes=["192.0.2.0/25 dev eth0", "192.0.2.128/25 dev eth1"],
        ),
        (("eth0", LAN, "192.0.2.11", True, True), ("eth1", LAN, "192.0.2.11", True, True)),
    ),
    Row(
        "a VIP on the VRF device",
        case(
            nic("vrf1", 0x30, kind="vrf", table=10),
            nic(master="vrf1"),
            addrs=[NODE, ["vrf1", "192.0.2.60/32"]],
        ),
        (("eth0", LAN, "192.0.2.60", True, False), ("eth0", LAN, "192.0.2.11", True, True)),
        {("eth0", "192.0.2.60"): likely(Reason.OTHER_INTERFACE)},
        needs=frozenset({"vrf"}),
        unnoticed=1,
    ),
    Row(
        "an address of the default VRF, asked on a slave",
        case(
            nic("vrf1", 0x30, kind="vrf", table=10),
            nic(master="vrf1"),
            nic("eth1", 0x11),
            addrs=[NODE, ["eth1", "10.1.0.1/24"]],
        ),
        (("eth0", LAN, "10.1.0.1", True, False),),
        {("eth0", "10.1.0.1"): quiet(Reason.OTHER_VRF)},
        needs=frozenset({"vrf"}),
    ),
    Row(
        "AnyIP: a local prefix",
        case(nic(), addrs=[NODE], routes=["local 198.51.100.0/24 dev lo"]),
        (("eth0", LAN, "198.51.100.77", True, False),),
        {("eth0", "198.51.100.0/24"): quiet(Reason.PREFIX)},
    ),
    Row(
        "a prefix on lo, in the NIC's subnet",
        case(nic(), addrs=[NODE, ["lo", "192.0.2.129/28"]]),
        (("eth0", LAN, "192.0.2.140", True, False),),
        {
            ("eth0", "192.0.2.128/28"): likely(Reason.PREFIX),
            ("eth0", "192.0.2.129"): likely(Reason.ON_LOOPBACK),
        },
        unnoticed=1,
    ),
    Row(
        "a node-local resolver on 127/8, with route_localnet",
        case(nic(), addrs=[NODE], sysctl={"conf.eth0.route_localnet": 1}),
        (("eth0", LAN, "127.0.0.53", True, False),),
        {("eth0", "127.0.0.0/8"): quiet(Reason.LOOPBACK_NET)},
    ),
    Row(
        "a node-local resolver on 169.254/16 of lo",
        case(nic(), addrs=[NODE, ["lo", "169.254.20.10/32"]]),
        (("eth0", LAN, "169.254.20.10", True, False),),
        {("eth0", "169.254.20.10"): quiet(Reason.ON_LOOPBACK)},
    ),
    Row(
        "own addresses of all kinds",
        case(
            nic(),
            addrs=[
                NODE,
                ["eth0", "192.0.2.12/24"],
                ["eth0", "198.51.100.1/24", {"scope": "host"}],
                ["eth0", "203.0.113.1/24", {"scope": "link"}],
            ],
        ),
        (
            ("eth0", LAN, "192.0.2.12", True, True),
            ("eth0", "198.51.100.9", "198.51.100.1", True, True),
            ("eth0", "203.0.113.9", "203.0.113.1", True, True),
        ),
        senders={"192.0.2.12": "192.0.2.11"},
    ),
    Row(
        "a bond's own address",
        case(
            nic("bond0", 0x30, kind="bond", up=False),
            nic(master="bond0", up=False),
            addrs=[["bond0", "192.0.2.11/24"]],
            cmds=["ip link set bond0 up", "ip link set eth0 up"],
        ),
        (("eth0", LAN, "192.0.2.11", True, True),),
        needs=frozenset({"bond"}),
    ),
    Row(
        "a VLAN's own address",
        case(
            nic(), nic("eth0.10", 0x20, kind="vlan", link="eth0", id=10), addrs=[["eth0.10", "10.10.0.1/24"]]
        ),
        (("eth0.10", "10.10.0.9", "10.10.0.1", True, True),),
        needs=frozenset({"vlan"}),
    ),
    Row(
        "an address probe for a VIP finds it in use no more",
        case(nic(), IPVS, addrs=[NODE, VIP]),
        (("eth0", "0.0.0.0", "192.0.2.100", True, False), ("eth0", "0.0.0.0", "192.0.2.11", True, True)),
        {("eth0", "192.0.2.100"): WANTED},
        unnoticed=1,
    ),
    Row(
        "an external IP that is the node's own",
        case(nic(), IPVS, addrs=[NODE, ["kube-ipvs0", "192.0.2.11/32"]]),
        (("eth0", LAN, "192.0.2.11", True, True),),
    ),
    Row(
        "an external IP that was the node's own until the NIC lost it",
        case(
            nic(),
            IPVS,
            addrs=[["eth0", "192.0.2.10/24"], ["eth0", "192.0.2.11/32"], ["kube-ipvs0", "192.0.2.11/32"]],
            cmds=["ip addr del 192.0.2.11/32 dev eth0"],
        ),
        (("eth0", LAN, "192.0.2.11", True, False),),
        {("eth0", "192.0.2.11"): WANTED},
        unnoticed=1,
    ),
    Row(
        "packets to a pod over a veth without address: a VIP may be picked as sender",
        case(IPVS, nic(), nic("cali1", 0x17), addrs=[VIP, NODE], routes=[TO_POD]),
        lost={
            ("eth0", "192.0.2.100"): WANTED,
            ("cali1", "192.0.2.100"): WANTED,
            ("cali1", "192.0.2.11"): likely(Reason.UNNUMBERED),
        },
        senders={"192.0.2.11": "192.0.2.100", "192.0.2.100": "192.0.2.11"},
        unnoticed=1,
    ),
    *(
        Row(
            f"the NIC's own {key}={value} defeats it",
            case(nic(), IPVS, addrs=[NODE, VIP], sysctl={f"conf.eth0.{key}": value}),
            (("eth0", LAN, "192.0.2.100", True, key == "arp_ignore"),),
            {} if key == "arp_ignore" else {("eth0", "192.0.2.100"): WANTED},
            ineffective=("eth0",),
            unnoticed=0 if key == "arp_ignore" else 1,
        )
        for key, value in (
            *(("arp_ignore", level) for level in (3, 4, 5, 6, 7, 9, 12345)),
            *(("arp_announce", level) for level in (3, 4, 9)),
        )
    ),
)
