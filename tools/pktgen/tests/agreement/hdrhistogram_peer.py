"""Counts values with the PyPI package `hdrhistogram`.

The test writes one line of JSON: the range, the digits, the percentiles; then one value a line, until `end`. This
script writes one line of JSON: the count, the lowest, the highest, the average, and the value at each percentile.
"""

import json
import sys

from hdrh.histogram import HdrHistogram


def main():
    wanted = json.loads(sys.stdin.readline())
    histogram = HdrHistogram(1, wanted["highest"], wanted["digits"])
    for line in sys.stdin:
        if line.strip() == "end":
            break
        histogram.record_value(int(line))
    print(
        json.dumps(
            {
                "count": histogram.get_total_count(),
                "min": histogram.get_min_value(),
                "max": histogram.get_max_value(),
                "mean": histogram.get_mean_value(),
                "percentiles": [histogram.get_value_at_percentile(p) for p in wanted["percentiles"]],
            }
        ),
        flush=True,
    )


main()
