"""Runs the PyPI package `mlrsearch` on a device that lives in the test that started this script.

The test writes one line of JSON: the range of rates and the goals. This script then asks for trials, one line each
(`measure RATE SECONDS`), and reads what was offered and lost. At the end it writes one line per goal
(`result NAME LOWER UPPER CONDITIONAL`, `none` where there is none). It knows no device itself.
"""

import json
import sys

from MLRsearch import AbstractMeasurer, Config, MeasurementResult, MultipleLossRatioSearch, SearchGoal


class OverThere(AbstractMeasurer):
    """Asks the test."""

    def measure(self, intended_duration, intended_load):
        print(f"measure {float(intended_load)!r} {float(intended_duration)!r}", flush=True)
        offered, lost = map(int, sys.stdin.readline().split())
        return MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            offered_count=offered,
            loss_count=lost,
        )


def number(value):
    return "none" if value is None else repr(float(value))


def main():
    wanted = json.loads(sys.stdin.readline())
    config = Config()
    config.max_load = wanted["max_rate"]
    config.min_load = wanted["min_rate"]
    config.search_duration_max = 1e9
    config.warmup_duration = None
    names = {}
    for goal in wanted["goals"]:
        names[goal["name"]] = SearchGoal(
            loss_ratio=goal["loss_ratio"],
            exceed_ratio=goal["exceed_ratio"],
            relative_width=goal["goal_width"],
            initial_trial_duration=goal["initial_s"],
            final_trial_duration=goal["final_s"],
            duration_sum=goal["sum_s"],
            preceding_targets=goal["preceding_targets"],
            expansion_coefficient=2,
            fail_fast=False,
        )
    config.goals = list(names.values())
    results = MultipleLossRatioSearch(config=config).search(measurer=OverThere(), debug=lambda _: None)
    for name, goal in names.items():
        result = results[goal]
        values = (result.relevant_lower_bound, result.relevant_upper_bound, result.conditional_throughput)
        print("result", name, *map(number, values), flush=True)


main()
