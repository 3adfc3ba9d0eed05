"""The benchmark's arithmetic and chart."""

from statistics import median
from xml.etree import ElementTree

import pytest

from benchmarks.cases import CREATE
from benchmarks.chart import chart
from benchmarks.peers import MERCURIUS
from benchmarks.report import MANY, Goal, cpu, goals, ratios
from benchmarks.runs import Result
from benchmarks.stage import OURS


def result(calls_per_second: float, *, server: float = 1, postgres: float = 1) -> Result:
    return Result(calls_per_second, 1, 1, 1, server, postgres)


def test_a_ratio_is_of_runs_made_side_by_side() -> None:
    """A slow round slows both of its runs, so the ratio is the median of each round's own."""
    fast, slow = [result(300), result(20), result(300)], [result(100), result(10), result(200)]
    assert ratios(fast, slow) == [3, 2, 1.5]
    assert median(ratios(fast, slow)) != median(each.calls_per_second for each in fast) / median(
        each.calls_per_second for each in slow
    )


def test_processor_time_is_that_of_server_and_database() -> None:
    """A call's processor time is the server's and PostgreSQL's, without the load generator's."""
    (ratio,) = ratios([result(1, server=3, postgres=1)], [result(1, server=5, postgres=3)], cpu)
    assert ratio == 0.5


@pytest.mark.parametrize(
    ("measured", "fewer", "verdict"),
    [(1.2, False, "SHORT"), (1.3, False, "reached"), (2, False, "aim"), (2.1, True, "SHORT"), (1.3, True, "aim")],
)
def test_goals_have_a_direction(measured: float, fewer: bool, verdict: str) -> None:
    """A goal for throughput is a minimum, one for cost a maximum."""
    at_least, aim = (2, 1.3) if fewer else (1.3, 2)
    assert Goal("somebody", at_least, aim, [measured], fewer=fewer).verdict() == verdict


def test_goals_are_of_what_was_measured() -> None:
    """A goal against a server that was not measured is omitted; the ratio is ours divided by theirs."""
    rounds = {(MANY, CREATE.name, OURS): [result(400)], (MANY, CREATE.name, MERCURIUS): [result(200)]}
    assert [(goal.against, list(goal.measured)) for goal in goals(rounds)] == [
        ("Mercurius: create", [2]),
        ("Mercurius: create, CPU of server + PostgreSQL", [1]),
    ]


def test_the_chart_is_well_formed_and_to_scale() -> None:
    """The chart is valid XML for any names; in each group the highest figure has the longest bar."""
    drawn = ElementTree.fromstring(chart({"a < b": {"ours & co": 200, "other": 50}}, "ours & co", ['say "so"']))
    bars = [each for each in drawn.iter("{http://www.w3.org/2000/svg}rect") if "bar" in each.attrib["class"]]
    ours, other = (float(bar.attrib["width"]) for bar in bars)
    assert ours == 4 * other
    assert [bar.attrib["class"] for bar in bars] == ["bar ours", "bar"]
