"""What the benchmarks share: one comparison for the session, and how its times get into pytest-benchmark.

The frameworks run in processes of their own and take turns (see `sidebyside`). pytest-benchmark would run all rounds of
one test before the next test's; so the turns are taken once for a case, at its first test, and every framework's test
hands its times to pytest-benchmark through `worker_clock`, a clock that stands still except for what a worker measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sidebyside import cases
from sidebyside.comparison import OURS, Compare, Comparison, Result, rounds_for

_FOLDER = Path(__file__).parent
_RESULTS = pytest.StashKey[dict[str, Result]]()
_elapsed = 0.0


def worker_clock() -> float:
    """Seconds that workers have measured so far, as far as they have been handed on."""
    return _elapsed


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("side by side")
    group.addoption("--quick", action="store_true", help="a tenth of the training epoch, fewer rounds")
    group.addoption("--compare-threads", type=int, default=2, help="threads of each framework (default: 2)")
    group.addoption("--compare-summary", type=Path, help="JSON file for the rates and ratios of the cases that ran")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each benchmark reads the workers' clock and has the time for a whole comparison."""
    for item in items:
        if _FOLDER in item.path.parents:
            case = getattr(item, "callspec", None) and item.callspec.params.get("case")  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.benchmark(timer=worker_clock, group=case.title if case else "training"))
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def comparison(request: pytest.FixtureRequest) -> Iterator[Comparison]:
    """The workers. Writes the summary when everything has been measured."""
    config = request.config
    with Comparison(config.getoption("compare_threads")) as workers:
        yield workers
        path = config.getoption("compare_summary")
        if path is not None:
            summary = {
                "versions": workers.versions(),
                "data": workers.data,
                "threads": workers.threads,
                "cases": [result.to_json() for result in config.stash[_RESULTS].values()],
            }
            path.write_text(json.dumps(summary, indent=1) + "\n")


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: Any, comparison: Comparison) -> Compare:
    """Hands one framework's times of a case to pytest-benchmark, measuring all of them where that has not been done yet."""
    results = request.config.stash[_RESULTS]
    quick = request.config.getoption("quick")

    def hand_on(case: cases.Case, framework: str, frameworks: Sequence[str]) -> None:
        if case.name not in results:
            results[case.name] = comparison.run(case, frameworks, rounds_for(case, quick))
        result = results[case.name]
        if framework in result.missing:
            pytest.skip(result.missing[framework])
        times = iter(result.seconds[framework])

        def pass_time() -> None:
            global _elapsed
            _elapsed += next(times)

        benchmark.extra_info.update(
            framework=framework,
            rate=result.rate(framework),
            unit=f"{case.work[1]}/s",
            variant=result.variants[framework],
            threads=comparison.threads,
            data=comparison.data,
        )
        if framework != OURS and OURS in result.seconds:
            benchmark.extra_info["fastcnn is times as fast"] = result.ratio(framework)
        benchmark.pedantic(pass_time, rounds=len(result.seconds[framework]), iterations=1)

    return hand_on


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints rates and ratios, a line a case."""
    results = config.stash[_RESULTS]
    if not results:
        return
    terminalreporter.section("fastcnn beside its peers")
    for result in results.values():
        unit = f"{result.case.work[1]}/s"
        line = result.case.title
        if OURS in result.seconds:
            line += f": fastcnn {result.rate(OURS):,.0f} {unit}"
        for name in result.seconds:
            if name != OURS and OURS in result.seconds:
                line += f"; {result.ratio(name):.2f} x {name}"
        terminalreporter.line(line)
