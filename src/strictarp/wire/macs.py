"""What a MAC address tells of itself. Pure.

Only what is reserved by a standard, or is the fixed prefix that a hypervisor gives to virtual machines; a
register of makers would age, and say nothing about who answers.
"""

from __future__ import annotations

VRRP = bytes.fromhex("00005e0001")
"""RFC 9568 7.3: the last byte is the virtual router's number. CARP uses the same."""
_HSRP = bytes.fromhex("00000c07ac")
_HSRP2 = bytes.fromhex("00000c9f")
_PREFIXES = {
    bytes.fromhex("525400"): "a virtual machine of QEMU/KVM",
    bytes.fromhex("bc2411"): "a virtual machine of Proxmox",
    bytes.fromhex("005056"): "a virtual machine of VMware",
    bytes.fromhex("000c29"): "a virtual machine of VMware",
    bytes.fromhex("00155d"): "a virtual machine of Hyper-V",
    bytes.fromhex("00163e"): "a virtual machine of Xen",
}
_CALICO = bytes.fromhex("eeeeeeeeeeee")
LOCALLY_ADMINISTERED = "a locally administered MAC"
"""Of virtual and bonded interfaces, or randomised: worth telling only where nothing else is known."""
_LOCAL, _GROUP = 0x02, 0x01


def is_vrrp(mac: bytes) -> bool:
    """The virtual MAC of a VRRP router for IPv4: keepalived with `use_vmac`, a router, CARP."""
    return mac[:5] == VRRP


def hint(mac: bytes) -> str:
    """What is known of such an address, empty for an ordinary one."""
    router = _virtual_router(mac)
    if router:
        return f"virtual MAC of {router}"
    if mac == _CALICO:
        return "the host's end of a pod's interface as Calico makes it"
    if mac[0] & _GROUP:
        return "a multicast address, as some load balancer clusters use"
    return _PREFIXES.get(mac[:3], LOCALLY_ADMINISTERED if mac[0] & _LOCAL else "")


def _virtual_router(mac: bytes) -> str:
    if is_vrrp(mac):
        return f"VRRP group {mac[5]} (keepalived, CARP or a router)"
    if mac[:5] == _HSRP:
        return f"HSRP group {mac[5]} (a router)"
    if mac[:4] == _HSRP2 and mac[4] >> 4 == 0xF:
        return f"HSRP group {(mac[4] & 0xF) << 8 | mac[5]} (a router)"
    return ""
