"""What the kernel finds in the lists of addresses: confirm one, select one. Pure (net/ipv4/devinet.c)."""

from __future__ import annotations

from strictarp.arp.facts import SCOPE_HOST, SCOPE_LINK, Address, Host


def _localnet_scope(host: Host, device: str) -> int:
    """Scope host counts as link where 127/8 is routed."""
    return SCOPE_LINK if host.conf("route_localnet", device) else SCOPE_HOST


def confirm_on(host: Host, device: str, far: int, near: int, *, scope: int) -> int:
    """The address of `device` of a scope up to `scope` that fits, 0 for none (confirm_addr_indev).

    near: the address asked for, 0 for any. far: must be in the same prefix, 0 for any.
    """
    widest = _localnet_scope(host, device)
    found, same = 0, False
    for each in host.on_device.get(device, ()):
        usable = min(each.scope, widest) <= scope
        if not found and usable and near in (each.local, 0):
            found = each.local
            if same:
                break
        if same:
            continue
        same = (not near or each.covers(near)) and (not far or each.covers(far))
        if same and found:
            if near or not far or each.covers(found):
                break
            if usable:
                found = each.local
                break
            same = False
    return found if same else 0


def confirm(host: Host, device: str, far: int, near: int, *, scope: int) -> int:
    """As `confirm_on`; an empty device means any device of the namespace (inet_confirm_addr)."""
    if device:
        return confirm_on(host, device, far, near, scope=scope)
    for each in host.devices:
        found = confirm_on(host, each.name, far, near, scope=scope)
        if found:
            return found
    return 0


def both_on_link(host: Host, device: str, one: int, other: int) -> bool:
    """One prefix of the device holds both addresses (inet_addr_onlink)."""
    return any(each.covers(one) and each.covers(other) for each in host.on_device.get(device, ()))


def select(host: Host, device: str, target: int) -> int:
    """The address the kernel picks on `device` to talk to `target`, 0 for none (inet_select_addr, scope
    link).

    A device without addresses borrows: from its VRF, then from the first device of the host that has one.
    """
    widest = _localnet_scope(host, device)
    found = 0
    for each in host.on_device.get(device, ()):
        if each.secondary or min(each.scope, widest) > SCOPE_LINK:
            continue
        if each.covers(target):
            return each.local
        found = found or each.local
    if found:
        return found
    vrf = host.vrf(device)
    lenders = [vrf] if vrf else []
    lenders += [each.name for each in host.devices if host.vrf(each.name) == vrf]
    for lender in lenders:
        for each in host.on_device.get(lender, ()):
            if _lendable(each):
                return each.local
    return 0


def _lendable(address: Address) -> bool:
    """in_dev_select_addr with scope link: a primary address of a scope wider than link."""
    return not address.secondary and address.scope < SCOPE_LINK
