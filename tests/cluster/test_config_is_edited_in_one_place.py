"""The edit of config.conf: one value changes, and every other byte stays."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.cluster.edit import health_port, set_strictarp
from strictarp.errors import UserError
from strictarp.lab.manifests import KUBE_PROXY_CONFIG

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
KUBEADM = KUBE_PROXY_CONFIG.format(kubeconfig="/var/lib/kube-proxy/kubeconfig.conf", pods="198.51.100.0/24")


def _changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_kubeadms_file_changes_in_one_word() -> None:
    edit = set_strictarp(KUBEADM, True)
    assert _changed_lines(KUBEADM, edit.after) == (
        ["  strictARP: false  # MetalLB's documentation says true"],
        ["  strictARP: true  # MetalLB's documentation says true"],
    )
    assert edit.was is False
    assert "-  strictARP: false" in edit.diff


def test_there_and_back_is_the_same_text() -> None:
    assert set_strictarp(set_strictarp(KUBEADM, True).after, False).after == KUBEADM


def test_what_is_so_already_is_not_touched() -> None:
    edit = set_strictarp(KUBEADM, False)
    assert (edit.changed, edit.diff) == (False, "")
    absent = HEAD + "mode: ipvs\nipvs:\n  scheduler: rr\n"
    assert not set_strictarp(absent, False).changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("mode: ipvs\nipvs:\n  scheduler: rr\n  syncPeriod: 0s\n",
         "mode: ipvs\nipvs:\n  scheduler: rr\n  strictARP: true\n  syncPeriod: 0s\n"),
        ("mode: ipvs\nipvs:\n  scheduler: rr\n  # strictARP: false\n  syncPeriod: 0s\n",
         "mode: ipvs\nipvs:\n  scheduler: rr\n  # strictARP: false\n  strictARP: true\n  syncPeriod: 0s\n"),
        ("ipvs:\n    scheduler: rr\nmode: ipvs\n",
         "ipvs:\n    strictARP: true\n    scheduler: rr\nmode: ipvs\n"),
        ("ipvs:\nmode: ipvs\n", "ipvs:\n  strictARP: true\nmode: ipvs\n"),
        ("ipvs: # ours\nmode: ipvs\n", "ipvs: # ours\n  strictARP: true\nmode: ipvs\n"),
        ("ipvs: null\nmode: ipvs\n", "ipvs:\n  strictARP: true\nmode: ipvs\n"),
        ("ipvs: ~ # none\nmode: ipvs\n", "ipvs: # none\n  strictARP: true\nmode: ipvs\n"),
        ("ipvs: {}\nmode: ipvs\n", "ipvs: {strictARP: true}\nmode: ipvs\n"),
        ("ipvs: {scheduler: rr}\nmode: ipvs\n", "ipvs: {strictARP: true, scheduler: rr}\nmode: ipvs\n"),
        ("mode: ipvs  # wanted\noomScoreAdj: null\n",
         "mode: ipvs  # wanted\nipvs:\n  strictARP: true\noomScoreAdj: null\n"),
        ("mode: ipvs", "mode: ipvs\nipvs:\n  strictARP: true\n"),
        ("mode: \"ipvs\"\r\nipvs:\r\n  scheduler: rr\r\n",
         "mode: \"ipvs\"\r\nipvs:\r\n  strictARP: true\r\n  scheduler: rr\r\n"),
        ("mode: ipvs\nipvs:\n  strictARP:\n", "mode: ipvs\nipvs:\n  strictARP: true\n"),
        ("mode: ipvs\nipvs:\n  strictARP: # later\n", "mode: ipvs\nipvs:\n  strictARP: true # later\n"),
        ("mode: ipvs\nipvs:\n  'strictARP': no\nnobodyKnows: [1, 2]\n",
         "mode: ipvs\nipvs:\n  'strictARP': true\nnobodyKnows: [1, 2]\n"),
    ],
)  # fmt: skip
def test_each_shape_that_people_have(before: str, after: str) -> None:
    assert set_strictarp(HEAD + before, True).after == HEAD + after


@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize(
    "ipvs", [{}, {"scheduler": "rr"}, {"strictARP": False, "syncPeriod": "0s"}, None, ...]
)
def test_json_stays_json_with_its_layout(ipvs: object, indent: int | str | None) -> None:
    document = {"kind": "KubeProxyConfiguration", "mode": "ipvs", "x": ["a\tb"]}
    if ipvs is not ...:
        document["ipvs"] = ipvs  # type: ignore[assignment]
    text = json.dumps(document, indent=indent)
    after = json.loads(set_strictarp(text, True).after)
    assert after.pop("ipvs") == {**(ipvs if isinstance(ipvs, dict) else {}), "strictARP": True}
    assert after == {"kind": "KubeProxyConfiguration", "mode": "ipvs", "x": ["a\tb"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "mode: iptables\n", "mode: 'iptables'; strictARP is a setting of mode ipvs"),
        (HEAD + 'mode: ""\n', "mode: empty, which means iptables"),
        (HEAD, "mode: empty"),
        ("kind: KubeletConfiguration\nmode: ipvs\n", "kind: must be KubeProxyConfiguration, not 'Kubelet"),
        (HEAD + "mode: ipvs\nipvs: [a]\n", "ipvs: must be a mapping, not list"),
        (
            HEAD + "mode: ipvs\nipvs: {strictARP: maybe}\n",
            "ipvs.strictARP: must be true or false, not 'maybe'",
        ),
        (HEAD + "mode: ipvs\nipvs: {strictARP: 'true'}\n", "ipvs.strictARP: must be true or false"),
        (HEAD + "mode: [\n", "cannot be read"),
        ("", "there are 0 documents"),
        (HEAD + "---\n" + HEAD, "there are 2 documents"),
        (HEAD + "mode: ipvs\nipvs:\n  strictARP: false\n  strictARP: false\n", "listed twice"),
        (HEAD + "mode: ipvs\nx: &a {strictARP: false}\nipvs: *a\n", "cannot be changed without"),
        (HEAD + "mode: ipvs\nx: &a false\nipvs: {strictARP: *a}\n", "cannot be changed without"),
    ],
)
def test_what_cannot_be_edited_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        set_strictarp(text, True)
    assert message in str(caught.value)
    assert str(caught.value).startswith("ConfigMap kube-system/kube-proxy, key config.conf: ")


_scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["rr", "0s", "", "# no", "a: b"])
_names = st.sampled_from(["scheduler", "syncPeriod", "a", "zz", "x y", "Ünknown"])
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_names, inner, max_size=2)
)


@settings(max_examples=150)
@given(
    before=st.dictionaries(_names, _values, max_size=3),
    after=st.dictionaries(_names.map(lambda name: name + "2"), _values, max_size=3),
    ipvs=st.none() | st.dictionaries(_names | st.just("strictARP").filter(bool), _scalars, max_size=4),
    flow=st.sampled_from([None, True, False]),
    width=st.integers(2, 6),
    wanted=st.booleans(),
)
def test_only_the_value_changes_in_whatever_people_write(
    before: dict[str, object],
    after: dict[str, object],
    ipvs: dict[str, object] | None,
    flow: bool | None,
    width: int,
    wanted: bool,
) -> None:
    if ipvs and not isinstance(ipvs.get("strictARP", False), bool):
        ipvs["strictARP"] = False
    document = {"kind": "KubeProxyConfiguration", **before, "mode": "ipvs", "ipvs": ipvs, **after}
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=flow, indent=width)
    edit = set_strictarp(text, wanted)
    if not edit.changed:
        assert bool((ipvs or {}).get("strictARP")) == wanted
        return
    assert yaml.safe_load(edit.after) == {**document, "ipvs": {**(ipvs or {}), "strictARP": wanted}}
    assert set_strictarp(edit.after, wanted).after == edit.after


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("", 10256),
        ("0.0.0.0:10300", 10300),
        ("0.0.0.0", 10256),
        ("[::]:7", 7),
        ("::1", 10256),
        ("[::]", 10256),
    ],
)
def test_the_health_port_is_that_of_the_file(address: str, port: int) -> None:
    assert health_port(f'{HEAD}mode: ipvs\nhealthzBindAddress: "{address}"\n') == port


# Text as people write it: comments in every place, odd spacing, anchors, quotes, line ends.
_lines = st.sampled_from(
    [
        "# a comment",
        "#strictARP: false",
        "   # indented comment, strictARP: true",
        "",
        "bindAddress: 0.0.0.0  # strictARP",
        "note: 'strictARP: false'",
        'clusterCIDR: ""',
        "nodePortAddresses: [192.0.2.0/24, primary]",
        "conntrack: &limits\n  min: 131072 # strictARP: false\n  maxPerCore: 32768",
        "copied: *limits",
        "text: |\n  ipvs:\n    strictARP: false",
        "folded: >-\n  mode: iptables\n  ipvs",
        "winkernel: {strictARP: false}",
        "? odd\n: key",
        "unknown:\n- strictARP: false\n- a: {b: c}",
    ]
)
_inner = st.sampled_from(
    [
        "scheduler: rr",
        "syncPeriod: 0s   # every",
        "# strictARP: true",
        "excludeCIDRs:\n- 198.51.100.0/24\n- strictARP",
        "tcpTimeout: 'strictARP: x'",
        "udpTimeout: |\n  strictARP: false",
        "",
    ]
)


def _with_anchors_first(lines: list[str]) -> list[str]:
    """An alias comes behind its anchor, and each key once."""
    unique = list(dict.fromkeys(lines))
    if "copied: *limits" in unique and not any("&limits" in line for line in unique):
        unique.remove("copied: *limits")
    return sorted(unique, key=lambda line: "*limits" in line)


@settings(max_examples=250)
@given(
    lines=st.lists(_lines, max_size=6).map(_with_anchors_first),
    inner=st.lists(_inner, max_size=4, unique=True),
    was=st.sampled_from([None, "false", "true", "False", "no", "off", "yes", '!!bool "false"', ""]),
    after=st.sampled_from(["", "  # as MetalLB says", " #x"]),
    place=st.integers(0, 6),
    indent=st.integers(1, 5),
    newline=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    wanted=st.booleans(),
)
def test_all_but_the_value_stays_byte_for_byte(
    *,
    lines: list[str],
    inner: list[str],
    was: str | None,
    after: str,
    place: int,
    indent: int,
    newline: str,
    last: bool,
    wanted: bool,
) -> None:
    own = [] if was is None else [f"strictARP: {was}{after}"]
    at = min(place, len(inner))
    section = [
        " " * indent + line for entry in (*inner[:at], *own, *inner[at:]) for line in entry.split("\n")
    ]
    has_keys = any(line.strip() and not line.strip().startswith("#") for line in section)
    head = "ipvs:" if has_keys else "ipvs: {}"
    text = "\n".join(
        ["kind: KubeProxyConfiguration", *lines[:place], "mode: ipvs", head, *section, *lines[place:]]
    )
    text = (text + "\n" * last).replace("\n", newline)
    edit = set_strictarp(text, wanted)
    if not edit.changed:
        assert bool(yaml.safe_load(text)["ipvs"].get("strictARP")) == wanted
        return
    before, later = text.splitlines(keepends=True), edit.after.splitlines(keepends=True)
    if was is not None or head.endswith("{}"):
        (changed,) = [pair for pair in zip(before, later, strict=True) if pair[0] != pair[1]]
        assert changed[1].split("#")[1:] == changed[0].split("#")[1:]
    else:
        added = [n for n in range(len(later)) if later[:n] + later[n + 1 :] == before]
        assert added or _without_a_last_newline(before, later)
    back = set_strictarp(edit.after, not wanted)
    if was in ("true", "false"):
        assert back.after == text


def _without_a_last_newline(before: list[str], later: list[str]) -> bool:
    """The line was added behind a last line that had no end, which gets one."""
    return "".join(later).startswith("".join(before)) and len(later) == len(before) + 1
