"""Whatever the Services: order does not matter, a restart changes nothing, nobody gets what another has."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.controller.reconcile import Book, settle
from strictarp.kube.objects import Service
from support.controller_objects import lb
from support.settling import BOTH_IPS, DUAL, decide, written

SERVICES = st.lists(
    st.builds(
        lambda index, born, has, ask, share, families: lb(
            f"s{index}",
            born=born,
            has=has,
            annotations={
                **({"metallb.io/loadBalancerIPs": ask} if ask else {}),
                **({"metallb.io/allow-shared-ip": share} if share else {}),
            },
            cluster_ips=families,
            ipFamilyPolicy="PreferDualStack" if len(families) > 1 else "SingleStack",
            ports=[("TCP", 80 + index % 2)],
        ),
        st.integers(0, 9),
        st.integers(0, 3),
        st.sampled_from(
            [(), (), ("192.0.2.100",), ("192.0.2.101",), ("192.0.2.9",), ("192.0.2.102", "2001:db8::1")]
        ),
        st.sampled_from(["", "", "", "192.0.2.103", "192.0.2.100", "junk"]),
        st.sampled_from(["", "", "key"]),
        st.sampled_from([BOTH_IPS[:1], BOTH_IPS]),
    ),
    max_size=8,
    unique_by=lambda service: service.key,
)


@settings(max_examples=100, deadline=None)
@given(SERVICES, st.integers(0, 5))
def test_the_result_does_not_depend_on_the_order_of_the_objects(services: list[Service], seed: int) -> None:
    expected = decide(DUAL, *services)
    shuffled = list(services)
    random.Random(seed).shuffle(shuffled)
    assert decide(DUAL, *shuffled) == expected


@settings(max_examples=100, deadline=None)
@given(SERVICES)
def test_a_restart_after_everything_was_written_changes_nothing(services: list[Service]) -> None:
    decisions = decide(DUAL, *services)
    after = [written(service, decisions[service.key]) for service in services]
    again = decide(DUAL, *after)
    assert {key: decision.ips for key, decision in again.items()} == {
        key: decision.ips for key, decision in decisions.items()
    }
    # Who else has an address may have become known in between; that is the only news.
    assert all(
        set(decision.patch["status"]) == {"conditions"} for decision in again.values() if decision.patch
    )  # type: ignore[call-overload]
    after = [written(service, again[service.key]) for service in after]
    assert all((each.patch, each.events) == (None, ()) for each in decide(DUAL, *after).values())


@settings(max_examples=80, deadline=None)
@given(st.data(), SERVICES)
def test_one_by_one_with_crashes_nobody_has_an_address_twice(
    data: st.DataObject, services: list[Service]
) -> None:
    """Services come, go and are written in any order; the controller dies now and then."""
    live: dict[str, Service] = {}
    book = Book()
    for service in services:
        live[service.key] = service
        changed: set[str] | None = {service.key}
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(live)))
            del live[gone]
            changed = {service.key, gone}
        if data.draw(st.integers(0, 3)) == 0:
            book, changed = Book(), None
        book, decisions = settle(book, DUAL, live, changed)
        for key, decision in decisions.items():
            if key in live:
                live[key] = written(live[key], decision)
        users: dict[str, list[Service]] = {}
        for held in live.values():
            if held.key in book.state.holdings:
                for entry in held.status.load_balancer.ingress or ():
                    users.setdefault(entry.ip or "", []).append(held)
        for sharers in users.values():
            if len(sharers) > 1:
                notes = [
                    (each.metadata.annotations or {}).get("metallb.io/allow-shared-ip") for each in sharers
                ]
                ports = [each.spec.ports[0].port for each in sharers if each.spec.ports]
                assert set(notes) == {"key"}
                assert len(set(ports)) == len(ports)
