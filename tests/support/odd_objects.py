"""Objects with something wrong at random places, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from support.proxy_objects import service_body, slice_body


def odd_service(**spec: object) -> dict[str, object]:
    body = service_body(
        "odd",
        "203.0.113.10",
        type="LoadBalancer",
        ports=[{"name": "http", "port": 80, "nodePort": 30080}],
        ingress=["192.0.2.100"],
    )
    inner = body["spec"]
    assert isinstance(inner, dict)
    inner.update(spec)
    return body


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["None", "Local", "192.0.2.100", "2001:db8::1", "10.0.0.0/8", "TCP", "mh"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, entry in value.items():
            found += places(entry, (*path, name))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            found += places(entry, (*path, index))
    return found


FULL_SERVICE = odd_service(
    externalIPs=["192.0.2.102"],
    clusterIPs=["203.0.113.10"],
    ipFamilies=["IPv4"],
    loadBalancerSourceRanges=["10.0.0.0/8"],
    sessionAffinity="ClientIP",
    sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
    externalTrafficPolicy="Local",
    internalTrafficPolicy="Cluster",
    healthCheckNodePort=32000,
    allocateLoadBalancerNodePorts=True,
)
FULL_SLICE = slice_body(
    "odd",
    [
        {
            "addresses": ["198.51.100.1"],
            "nodeName": "node1",
            "zone": "a",
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "node1"}]},
        }
    ],
)
spots = [*(("s", path) for path in places(FULL_SERVICE)), *(("e", path) for path in places(FULL_SLICE))]
changes = st.lists(st.tuples(st.sampled_from(spots), values), min_size=1, max_size=4)


def put(body: object, path: tuple[object, ...], value: object) -> None:
    """Set a value, if an earlier change has left the place where it goes."""
    for depth, step in enumerate(path, 1):
        if isinstance(body, dict) or (isinstance(body, list) and isinstance(step, int) and step < len(body)):
            if depth == len(path):
                body[step] = value  # type: ignore[index]
                return
            body = body.get(step) if isinstance(body, dict) else body[step]  # type: ignore[index]
