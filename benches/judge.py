"""Medians, their intervals, and what follows for a must."""
import math, statistics


def interval(values):
    """The lowest and highest of what the median may be, and how sure that is (0 to 1): between two order statistics,
    by the binomial distribution, 95 % where there are values enough; else from the least to the greatest."""
    values, count = sorted(values), len(values)
    below, left = 0.0, 0
    while left < max(count // 2, 1):
        more = below + math.comb(count, left) / 2**count
        if left > 0 and 1 - 2 * more < 0.95:
            break
        below, left = more, left + 1
    return values[left - 1], values[count - left], 1 - 2 * below


def ratios(line, than):
    """Ours over another side's, of each round that has both; ours itself where there is no other side."""
    return line["sides"].get("batch-executor", []) if than is None else [
        ours / other for ours, other in zip(line["sides"].get("batch-executor", []), line["sides"].get(than, []))
    ]


def judged(line, bound):
    """One bound: the median, its interval, and `yes`, `no` or `absent`; `not clear` when the interval crosses it."""
    values = ratios(line, bound.than)
    if not values:
        return {"holds": "absent", "median": None}
    low, high, sure = interval(values)
    median = statistics.median(values)
    clear = bound.holds(low) == bound.holds(high)
    return {
        "holds": ("yes" if bound.holds(median) else "no") + ("" if clear else ", not clear"),
        "aim": bound.reaches_aim(median), "median": median, "low": low, "high": high, "sure": sure,
    }


def verdict(line, musts):
    """All musts of a line together; a peer that is absent is no hindrance."""
    worst = ""
    for must in musts:
        found = [judged(line, bound)["holds"] for bound in (must if isinstance(must, tuple) else (must,))]
        best = min(found, key=RANK.index)
        worst = max(worst, best, key=RANK.index)
    return worst


# From the best to the worst.
RANK = ["", "absent", "yes", "yes, not clear", "no, not clear", "no"]
