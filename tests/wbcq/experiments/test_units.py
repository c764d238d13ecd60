"""Plans: order, fingerprints, contradictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.wbcq.experiments.work import add, adding
from wbcq.experiments.units import ExperimentError, Plan, Unit


def keys(*units: Unit) -> list[str]:
    return [unit.key for unit in Plan(units)]


class TestOrder:
    def test_as_listed_where_needs_allow(self) -> None:
        listed = [adding("a"), adding("a-more", of=("a",)), adding("b"), adding("c", of=("b",))]
        assert keys(*listed) == ["a", "a-more", "b", "c"]

    def test_needs_come_first(self) -> None:
        assert keys(adding("c", of=("b", "a")), adding("b", of=("a",)), adding("a")) == [
            "a", "b", "c",
        ]  # fmt: skip

    def test_what_wants_to_be_alone_comes_last(self) -> None:
        listed = [adding("time/a", of=("a",), alone=True), adding("a"), adding("b", of=("a",))]
        assert keys(*listed) == ["a", "b", "time/a"]

    def test_shared_units_are_planned_once(self) -> None:
        assert keys(adding("a"), adding("b", of=("a",)), adding("a")) == ["a", "b"]


class TestContradictions:
    def test_two_units_of_one_name(self) -> None:
        with pytest.raises(ExperimentError, match="two different units are called a"):
            Plan([adding("a", 1), adding("a", 2)])

    def test_a_need_that_is_not_there(self) -> None:
        with pytest.raises(ExperimentError, match="b needs a, which is not planned"):
            Plan([adding("b", of=("a",))])

    def test_a_circle_is_shown(self) -> None:
        with pytest.raises(ExperimentError, match=r"(a -> b -> a|b -> a -> b)"):
            Plan([adding("a", of=("b",)), adding("b", of=("a",))])


class TestFingerprints:
    def test_same_settings_same_fingerprint(self) -> None:
        plans = [Plan([adding("a"), adding("b", of=("a",))]) for _ in range(2)]
        assert plans[0].fingerprints == plans[1].fingerprints

    def test_they_change_with_arguments_and_with_what_is_needed(self) -> None:
        before = Plan([adding("a"), adding("b", of=("a",)), adding("c")]).fingerprints
        after = Plan([adding("a", 2), adding("b", of=("a",)), adding("c")]).fingerprints
        assert before["a"] != after["a"]
        assert before["b"] != after["b"]
        assert before["c"] == after["c"]

    def test_they_change_with_the_function(self) -> None:
        def units(run: Any) -> Plan:
            return Plan([Unit("a", run, {})])

        assert units(add).fingerprints != units(adding).fingerprints


class TestUnit:
    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a b", ".hidden"])
    def test_a_key_is_a_path_below_the_store(self, key: str) -> None:
        with pytest.raises(ValueError, match="is not letters"):
            replace(adding("a"), key=key)

    def test_functions_that_no_worker_could_import(self) -> None:
        with pytest.raises(ValueError, match="use a function of a module"):
            Unit("a", lambda store: {}, {})

    @pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
    def test_arguments_are_json(self, value: object) -> None:
        with pytest.raises(ValueError, match="unit a: arguments are not JSON"):
            Unit("a", add, {"value": value})


def test_behind_names_the_reason() -> None:
    plan = Plan([adding("a"), adding("b", of=("a",)), adding("c", of=("b",)), adding("d")])
    assert plan.behind(["a"]) == {"b": "a", "c": "a"}
    assert plan.behind([]) == {}
