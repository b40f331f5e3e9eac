"""Our CustomResourceDefinitions: they hold the fields we read, and refuse most mistakes without a webhook."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.controller.pools import parse_pools
from strictarp.kube.custom import IPAddressPool
from strictarp.kube.objects import RESOURCES
from support.crd_schema import Schema, definitions, faults, schema_of, walk

DEFINITIONS = definitions()
CUSTOM = {
    each.kind: each
    for each in RESOURCES
    if each.api_version in {"metallb.io/v1beta1", "strictarp.io/v1alpha1"}
}
POOL = schema_of(DEFINITIONS["IPAddressPool"])
ADVERTISEMENT = schema_of(DEFINITIONS["L2Advertisement"])


def test_every_kind_of_ours_has_a_definition_at_the_place_we_look() -> None:
    assert set(CUSTOM) <= set(DEFINITIONS)
    for kind, resource in CUSTOM.items():
        spec = DEFINITIONS[kind]["spec"]
        (version,) = spec["versions"]
        assert f"{spec['group']}/{version['name']}" == resource.api_version
        assert (spec["names"]["plural"], spec["scope"]) == (resource.plural, "Namespaced")
        assert DEFINITIONS[kind]["metadata"]["name"] == f"{resource.plural}.{spec['group']}"
        assert (version["served"], version["storage"]) == (True, True)


def _same_fields(schema: Schema, shape: Any, path: str) -> None:  # noqa: ANN401 - a type of msgspec
    if isinstance(shape, msgspec.inspect.UnionType):
        (shape,) = [each for each in shape.types if not isinstance(each, msgspec.inspect.NoneType)]
    if isinstance(shape, msgspec.inspect.StructType):
        if path == "metadata":
            return
        fields = {field.encode_name: field for field in shape.fields}
        if path:
            assert set(schema.get("properties", {})) == set(fields), path
        for name, field in fields.items():
            _same_fields(schema["properties"][name], field.type, f"{path}.{name}".strip("."))
    elif isinstance(shape, msgspec.inspect.VarTupleType):
        _same_fields(schema["items"], shape.item_type, f"{path}[]")


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_the_schema_has_the_fields_that_are_read(kind: str) -> None:
    _same_fields(schema_of(DEFINITIONS[kind]), msgspec.inspect.type_info(CUSTOM[kind].type), "")


@pytest.mark.parametrize("kind", sorted(DEFINITIONS))
def test_the_schema_is_structural_and_its_rules_have_a_bounded_cost(kind: str) -> None:
    schema = schema_of(DEFINITIONS[kind])
    schemas = dict(walk(schema))
    for path, each in schemas.items():
        assert "type" in each, path
        if each.get("x-kubernetes-list-type") == "set":
            items = each["items"]
            assert items["type"] != "object" or items["x-kubernetes-map-type"] == "atomic", path
        if "x-kubernetes-validations" not in each:
            continue
        # The API server multiplies the cost of a rule by how often it may run, and refuses what is unbounded.
        for length in range(len(path)):
            above = schemas[path[:length]]
            assert above["type"] != "array" or above["maxItems"] <= 512, path
        assert each["type"] != "string" or "maxLength" in each, path
        assert all(rule["message"] for rule in each["x-kubernetes-validations"])


def pool(*addresses: Any, **allocation: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    spec: dict[str, Any] = {"addresses": list(addresses)}
    if allocation:
        spec["serviceAllocation"] = allocation
    return {"metadata": {"name": "lab"}, "spec": spec}


@pytest.mark.parametrize(
    "document",
    [
        pool("192.0.2.0/24", "2001:db8::/64", "198.51.100.7/32"),
        pool("192.0.2.10-192.0.2.20", "192.0.2.30 - 192.0.2.40", "2001:db8::1-2001:db8::9"),
        pool("192.0.2.7/24", priority=-1, namespaces=["a", "b"], namespaceSelectors=[{}]),
        pool(
            "192.0.2.0/24",
            serviceSelectors=[
                {"matchLabels": {"app": "web"}},
                {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
                {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x", "y"]}]},
            ],
        ),
        {"spec": {"addresses": ["192.0.2.0/24"], "autoAssign": False, "avoidBuggyIPs": True}},
    ],
)
def test_sound_pools_are_accepted(document: dict[str, Any]) -> None:
    assert faults(POOL, document) == []


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (pool(), ".spec.addresses: minItems"),
        ({"spec": {}}, ".spec.addresses: required"),
        ({}, ".spec: required"),
        (pool("192.0.2.7"), ".spec.addresses[0]: no CIDR; write 192.0.2.0/24, 192.0.2.7/32 for"),
        (pool("192.0.2.0/33"), ".spec.addresses[0]: no CIDR"),
        (pool(" 192.0.2.0/24"), ".spec.addresses[0]: no CIDR"),
        (pool("192.0.2.1-192.0.2.2-192.0.2.3"), ".spec.addresses[0]: no range"),
        (pool("192.0.2.1-"), ".spec.addresses[0]: no range"),
        (pool("192.0.2.1-2001:db8::1"), ".spec.addresses[0]: a range mixes IPv4 and IPv6"),
        (pool("192.0.2.0/24", "192.0.2.0/24"), ".spec.addresses: duplicate"),
        (pool(7), ".spec.addresses[0]: not of type string"),
        (pool("192.0.2.0/24", priority="high"), ".spec.serviceAllocation.priority: not of type integer"),
        (pool("192.0.2.0/24", namespaces=["a", "a"]), ".spec.serviceAllocation.namespaces: duplicate"),
        (
            pool("192.0.2.0/24", serviceSelectors=[{"matchLabels": {"a": "b"}}] * 2),
            ".spec.serviceAllocation.serviceSelectors: duplicate",
        ),
        (
            pool("192.0.2.0/24", serviceSelectors=[{"matchExpressions": [{"key": "a", "operator": "Near"}]}]),
            ".spec.serviceAllocation.serviceSelectors[0].matchExpressions[0].operator: enum",
        ),
        (
            pool("192.0.2.0/24", namespaceSelectors=[{"matchExpressions": [{"key": "a", "operator": "In"}]}]),
            ".spec.serviceAllocation.namespaceSelectors[0].matchExpressions[0]: In and NotIn need values",
        ),
        ({**pool("192.0.2.0/24"), "status": {"assignedIPv4": 1}}, ".status.assignedIPv6: required"),
    ],
)
def test_mistakes_in_pools_are_refused_with_their_field(document: dict[str, Any], fault: str) -> None:
    assert faults(POOL, document)[0].startswith(fault)


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"ipAddressPools": ["a", "a"]}, ".spec.ipAddressPools: duplicate"),
        ({"preferredNodeSelectors": [{"weight": 101, "preference": {}}]}, "weight: maximum"),
        ({"preferredNodeSelectors": [{"weight": 0, "preference": {}}]}, "weight: minimum"),
        ({"preferredNodeSelectors": [{"weight": 1}]}, "preference: required"),
        ({"nodeSelectors": [{"matchLabels": {"a": "b"}}] * 2}, ".spec.nodeSelectors: duplicate"),
    ],
)
def test_mistakes_in_advertisements_are_refused_with_their_field(spec: dict[str, Any], fault: str) -> None:
    assert any(fault in each for each in faults(ADVERTISEMENT, {"spec": spec}))
    assert faults(ADVERTISEMENT, {"spec": {"interfaces": ["eth0"], "nodeSelectors": [{}]}}) == []


def test_what_a_status_says_about_its_service_cannot_be_changed() -> None:
    schema = schema_of(DEFINITIONS["ServiceL2Status"])
    old = {"status": {"node": "n1", "serviceName": "web"}}
    assert faults(schema, {"status": {"node": "n2"}}) == []
    assert faults(schema, {"status": {"node": "n2"}}, old) == [".status.node: cannot be changed"]
    conflict = schema_of(DEFINITIONS["AddressConflict"])
    assert faults(conflict, {"spec": {"address": "2001:db8::1", "mac": "02:00:00:00:00:01"}}) == []
    assert faults(conflict, {"spec": {"address": "nonsense"}}) == [".spec.address: no IP address"]


_addresses = st.sampled_from(
    ["192.0.2.1", "192.0.2.9", "2001:db8::1", "::ffff:192.0.2.1", "x", "", "10.0.0", "::1"]
)
_items = st.one_of(
    st.builds("{}/{}".format, _addresses, st.sampled_from(["24", "32", "33", "128", "129", "", "x", "0"])),
    st.builds("{}-{}".format, _addresses, _addresses),
    st.builds("{} - {}".format, _addresses, _addresses),
    st.text("0123456789.:/- abcdef", max_size=20),
)
# What only the controller says: a rule over pairs of items, or over the order of addresses, costs too much.
LEFT_TO_THE_CONTROLLER = re.compile("overlaps|ends before it starts")


@settings(max_examples=300, deadline=None)
@given(st.lists(_items, max_size=3))
def test_schema_and_controller_agree(items: list[str]) -> None:
    document = pool(*items)
    _, wrong = parse_pools([msgspec.convert(document, IPAddressPool)])
    left = [each for each in wrong if LEFT_TO_THE_CONTROLLER.search(each)]
    refused = faults(POOL, document)
    if not wrong:
        assert refused == []
    if not refused:
        assert wrong == tuple(left)
