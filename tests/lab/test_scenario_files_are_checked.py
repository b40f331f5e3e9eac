import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from strictarp.errors import UserError
from strictarp.lab import scenario, scenarios
from strictarp.lab.scenario import Bound, Flood, Heal, Partition, PowerOff, Stop, Wait

GOOD = """
title: An example
steps:
  - wait: 0.5
  - power-off: owner
  - stop: {process: speaker@other, seconds: 2}
  - partition: {islands: [[node1, node2], [node3]]}
  - heal
  - flood: {rate: 1000, seconds: 1}
expect:
  outage-ms: {worst: 1000, median: 500, worst-in-vm: 1500}
  moves: 1
with-proxy:
  resets: 0
told: [TookOver]
"""


def read(text: str) -> scenario.Scenario:
    return scenario.parse("my.yaml", "my", yaml.safe_load(text))


def test_a_file_says_steps_in_short_or_in_full_and_bounds() -> None:
    found = read(GOOD)
    assert [step for _, step in found.steps] == [
        Wait(0.5),
        PowerOff("owner"),
        Stop("speaker@other", 2),
        Partition((("node1", "node2"), ("node3",))),
        Heal(),
        Flood(1000, 1),
    ]
    assert found.bounds(proxied=False) == [("outage-ms", Bound(1000, 500, 1500)), ("moves", Bound(1))]
    assert dict(found.bounds(proxied=True))["resets"] == Bound(0)
    assert found.told == ("TookOver",)


def test_what_is_sent_into_the_lab_is_read_there_as_it_was() -> None:
    for each in (read(GOOD), *scenarios.shipped().values()):
        assert scenario.parse(each.name, each.name, scenario.to_builtins(each)) == each


def test_each_shipped_scenario_can_be_played_on_five_nodes() -> None:
    every = scenarios.shipped()
    assert len(every) >= 13
    for each in every.values():
        scenario.check_lab(each, 5, "strictarp")
        assert each.title


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("- heal", "- explode: node1", "my.yaml: step 5: 'explode' is no step; there are wait, "),
        ("- heal", "- 17", "my.yaml: step 5: must be one verb with its fields"),
        ("- heal", "- {heal: null, wait: 1}", "my.yaml: step 5: must be one verb with its fields"),
        ("- heal", "- heal: 1", "my.yaml: step 5, heal: takes no value, 1 is given"),
        ("- wait: 0.5", "- wait: soon", "my.yaml: step 1, wait: seconds: Expected `float`, got `str`"),
        ("- wait: 0.5", "- wait", "my.yaml: step 1, wait: Object missing required field `seconds`"),
        ("- wait: 0.5", "- wait: -1", "my.yaml: step 1, wait: seconds: -1.0 is not within 0 to 3600 s"),
        ("- wait: 0.5", "- wait: .nan", "my.yaml: step 1, wait: seconds: nan is not within 0 to 3600 s"),
        ("power-off: owner", "power-off: nodeX", "my.yaml: step 2, power-off: node: 'nodeX' is no node"),
        ("power-off: owner", "power-off: {nod: a}", "my.yaml: step 2, power-off: Object "),
        ("speaker@other", "kubelet@other", "my.yaml: step 3, stop: process: 'kubelet@other' is none"),
        ("speaker@other", "speaker@node99", "my.yaml: step 3, stop: process: 'speaker@node99' is none"),
        ("[[node1, node2], [node3]]", "[[node1], [node1]]", "islands: node1 is named more than once"),
        ("[[node1, node2], [node3]]", "[[]]", "step 4, partition: islands: must be lists of nodes"),
        ("[[node1, node2], [node3]]", "node1", "step 4, partition: islands: Expected `array`, got `str`"),
        ("rate: 1000", "rate: 0", "my.yaml: step 6, flood: rate: 0 is not within 1 to 1000000 a second"),
        ("moves: 1", "mooves: 1", "my.yaml: expect: Object contains unknown field `mooves`"),
        ("moves: 1", "moves: many", "my.yaml: expect.moves: Expected `float | object | null`, got `str`"),
        ("moves: 1", "moves: -1", "my.yaml: expect: moves: -1.0, must be a number from 0 on"),
        ("title: An example", "", "my.yaml: Object missing required field `title`"),
        ("told: [TookOver]", "tell: x", "my.yaml: Object contains unknown field `tell`"),
    ],
)
def test_a_mistake_is_named_with_file_step_and_field(line: str, instead: str, message: str) -> None:
    assert line in GOOD
    with pytest.raises(UserError) as caught:
        read(GOOD.replace(line, instead))
    assert message in str(caught.value)


def test_a_scenario_without_steps_or_expectations_proves_nothing() -> None:
    with pytest.raises(UserError, match=r"my\.yaml: steps: there are none"):
        read("{title: x, steps: [], expect: {moves: 1}}")
    with pytest.raises(UserError, match=r"my\.yaml: expect: there is nothing"):
        read("{title: x, steps: [heal], expect: {}}")


def test_a_lab_that_is_too_small_is_told_before_it_starts() -> None:
    with pytest.raises(UserError, match=r"my: step 4, partition: node3: the lab has 2 nodes; see --nodes"):
        scenario.check_lab(read(GOOD), 2, "none")
    proxied = read(GOOD.replace("speaker@other", "proxy@other"))
    with pytest.raises(UserError, match="step 3, stop: process: there are no proxies"):
        scenario.check_lab(proxied, 3, "none")


def test_files_that_are_missing_or_no_yaml_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(UserError, match="No such file"):
        scenarios.find(str(path))
    path.write_text("a: [")
    with pytest.raises(UserError, match="is no YAML"):
        scenarios.find(str(path))
    path.write_text("- a list")
    with pytest.raises(UserError, match="must be a mapping"):
        scenarios.find(str(path))
    path.write_text(GOOD)
    assert scenarios.find(str(path)).name == "mine"
    with pytest.raises(UserError, match=re.escape("no such scenario; there are api-away, ")):
        scenarios.find("power-of")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4000) | st.floats() | st.sampled_from(["owner", "heal", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*scenario.VERBS, "process", "seconds", "islands"]), inner, max_size=2
        )
    ),
    max_leaves=6,
)


@given(st.lists(JSON, max_size=3), JSON)
def test_whatever_stands_in_a_file_is_read_or_refused(steps: list[object], expect: object) -> None:
    refused = ""
    try:
        found = scenario.parse("my.yaml", "my", {"title": "x", "steps": steps, "expect": expect})
    except UserError as error:
        refused = str(error)
    assert refused.startswith("my.yaml: ") or len(found.steps) == len(steps)
