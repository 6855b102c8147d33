"""Counts of durations: percentiles, and the text form of HdrHistogram."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

SHARES = (0.5, 0.9, 0.99, 0.999, 0.9999)
STEP = 0.01
"""Milliseconds of one bucket."""


@attrs.define
class Histogram:
    """How many durations fell into each bucket of 10 microseconds."""

    counts: dict[int, int] = attrs.field(factory=dict)

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> Histogram:
        """Make one of (bucket, count) pairs in order."""
        return cls(dict(pairs))

    @property
    def total(self) -> int:
        """How many durations there are."""
        return sum(self.counts.values())

    def add(self, other: Histogram) -> None:
        """Take in another one's durations."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def percentile(self, share: float) -> float:
        """Return the milliseconds that this share of all durations stays below."""
        want, seen = self.total * share, 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= want:
                return round((bucket + 1) * STEP, 2)
        return 0.0

    def percentiles(self) -> dict[str, float]:
        """Return the usual ones, p50 to p99.99, and the most."""
        return {f"p{share * 100:g}": self.percentile(share) for share in SHARES} | {"max": self.percentile(1.0)}

    def survival(self) -> tuple[list[float], list[float]]:
        """Return milliseconds, and the share of durations beyond each."""
        total, seen = self.total, 0
        # None is sooner than the first bucket; half a bucket, for a picture's logarithm does not begin at 0.
        ms: list[float] = [max(min(self.counts, default=0), 0.5) * STEP]
        beyond: list[float] = [1.0]
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            ms.append((bucket + 1) * STEP)
            beyond.append((total - seen) / total)
        return ms, beyond

    def hdr(self) -> str:
        """Return the text that HdrHistogram's tools read."""
        total, seen = self.total, 0
        lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            share = seen / total
            inverse = f"{1 / (1 - share):14.2f}" if seen < total else f"{'inf':>14}"
            lines.append(f"{(bucket + 1) * STEP:12.3f} {share:14.12f} {seen:10d} {inverse}")
        mean = sum((bucket + 0.5) * STEP * count for bucket, count in self.counts.items()) / max(total, 1)
        square = sum(((bucket + 0.5) * STEP - mean) ** 2 * count for bucket, count in self.counts.items())
        deviation = (square / max(total, 1)) ** 0.5
        lines.append(f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]")
        lines.append(f"#[Max     = {self.percentile(1.0):12.3f}, Total count    = {total:12d}]")
        lines.append(f"#[Buckets = {len(self.counts):12d}, SubBuckets     = {1:12d}]")
        return "\n".join(lines) + "\n"
