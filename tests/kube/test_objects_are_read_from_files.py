"""Object files: several documents, Lists, folders, and what is wrong in them."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.errors import UserError
from strictarp.kube.custom import IPADDRESSPOOLS, IPAddressPool
from strictarp.kube.documents import decode, of_type, parse_documents, read_documents
from strictarp.kube.objects import NAMESPACES, SERVICES, Namespace, Service

RESOURCES = (SERVICES, NAMESPACES, IPADDRESSPOOLS)
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}}
POOL = {
    "apiVersion": "metallb.io/v1beta1",
    "kind": "IPAddressPool",
    "metadata": {"name": "lab"},
    "spec": {"addresses": ["192.0.2.0/24"]},
}


def test_a_folder_means_its_yaml_and_json_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "---\napiVersion: v1\nkind: Namespace\n"
        "metadata: {name: shop, creationTimestamp: 2024-01-01T00:00:00Z}\n"
        "---\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
    )
    (tmp_path / "b.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [SERVICE, POOL]})
    )
    (tmp_path / "c.yml").write_text(
        "apiVersion: v1\nkind: ServiceList\nitems:\n"
        "- metadata: {name: bare}\n- metadata: {name: two, labels: null}\n"
    )
    (tmp_path / "notes.txt").write_text("{ not read")
    (tmp_path / "folder.yaml").mkdir()
    objects, unreadable = decode(read_documents([tmp_path]), RESOURCES, namespace="metallb-system")
    assert unreadable == []
    assert [each.key for each in of_type(objects, Service)] == ["default/bare", "default/two", "shop/web"]
    assert [each.key for each in of_type(objects, IPAddressPool)] == ["metallb-system/lab"]
    assert [each.key for each in of_type(objects, Namespace)] == ["shop"]
    assert of_type(objects, Namespace)[0].metadata.creation_timestamp == "2024-01-01T00:00:00Z"


@pytest.mark.parametrize("between", ["", "\n", "\n---\n"])
def test_a_file_of_json_may_hold_several_documents(tmp_path: Path, between: str) -> None:
    (tmp_path / "all.json").write_text(between.join(map(json.dumps, (SERVICE, POOL))) + "\n")
    objects, _ = decode(read_documents([tmp_path]), RESOURCES)
    assert [type(each) for each in objects] == [IPAddressPool, Service]


def test_the_same_object_twice_counts_once_and_two_that_differ_are_set_aside() -> None:
    other = {**POOL, "spec": {"addresses": ["198.51.100.0/24"]}}
    objects, unreadable = decode([SERVICE, SERVICE, POOL, other, POOL], RESOURCES)
    assert [each.key for each in objects] == ["shop/web"]
    assert [str(each) for each in unreadable] == [
        "IPAddressPool lab: metadata.name: given twice, and not alike; keep one"
    ]


def test_an_object_of_a_wrong_shape_is_set_aside_alone_with_its_field() -> None:
    objects, unreadable = decode(
        [
            SERVICE,
            {**POOL, "spec": {"addresses": "192.0.2.0/24"}},
            {**POOL, "metadata": {}},
            {**SERVICE, "metadata": {"name": 7}},
            {**SERVICE, "metadata": "x", "spec": []},
        ],
        RESOURCES,
    )
    assert [each.key for each in objects] == ["shop/web"]
    assert [str(each) for each in unreadable] == [
        "IPAddressPool ?: metadata.name: no name, or no text; give one",
        "IPAddressPool lab: spec.addresses: Expected `array`, got `str`",
        "Service 7: metadata.name: no name, or no text; give one",
        "Service ?: metadata.name: no name, or no text; give one",
    ]


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "'x'", "{\t", "kind: List\nitems: [7]"])
def test_what_is_no_object_is_refused_with_its_file(text: str) -> None:
    with pytest.raises(UserError, match=r"^bad\.yaml: "):
        list(parse_documents(text, "bad.yaml"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_documents([tmp_path / "nowhere"])


def test_an_object_nested_without_end_is_refused_with_its_file(tmp_path: Path) -> None:
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    (tmp_path / "deep.json").write_text(f'{{"apiVersion":"v1","kind":"Service","spec":{deep}}}')
    with pytest.raises(UserError, match=r"deep\.json: "):
        read_documents([tmp_path])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["metadata", "spec", "name", "addresses", "namespace", "labels", "ports", "items", "kind"]
)


@settings(deadline=None)
@given(st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=3), max_size=4))
def test_only_its_own_error_escapes_whatever_the_object_holds(document: dict[str, object]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "Service", **document})
    try:
        found = list(parse_documents(text, "x.json"))
    except UserError:
        return
    decode(found, RESOURCES)


@settings(deadline=None)
@given(st.integers(0, 100))
def test_the_order_of_documents_does_not_matter(seed: int) -> None:
    documents = [SERVICE, POOL, {**POOL, "spec": {}}, {**SERVICE, "spec": 1}, {**SERVICE, "spec": 2}, {}]
    shuffled = list(documents)
    random.Random(seed).shuffle(shuffled)
    assert decode(shuffled, RESOURCES) == decode(documents, RESOURCES)


def test_a_number_of_thousands_of_digits_is_a_fault_of_its_file() -> None:
    with pytest.raises(UserError, match=r"huge\.yaml: .*digits"):
        list(parse_documents(f"spec: {'9' * 6000}", "huge.yaml"))
