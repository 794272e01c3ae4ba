"""The table: on the terminal, in docs/benchmarks.md, and as data in benches/last.json."""
import json, os, statistics

import judge
from model import FLOOR, OURS
from run import BENCHES, ROOT

DATA = os.path.join(BENCHES, "last.json")
PAGE = os.path.join(ROOT, "docs/benchmarks.md")
HEAD = ["row", "what", "floor", "ours", "ours / floor", "must", "holds", "aim"]


def last():
    """The last table that was kept."""
    try:
        with open(DATA) as file:
            return {"took": {}, **json.load(file)}
    except FileNotFoundError:
        return {"runs": {}, "lines": {}, "took": {}}


def merged(before, now):
    """The table with the rows of this run replaced, but none that was measured in full by one of a quick run; a run of
    which no row is left is forgotten."""
    fuller = {key for key, line in before["lines"].items() if not line["quick"]}
    lines = {**before["lines"], **{key: line for key, line in now["lines"].items() if not (line["quick"] and key in fuller)}}
    used = {line["run"] for line in lines.values()}
    runs = {date: run for date, run in {**before["runs"], **now["runs"]}.items() if date in used}
    took = {size: {**before["took"].get(size, {}), **now["took"].get(size, {})} for size in ("full", "quick")}
    return {"runs": runs, "lines": lines, "took": took}


def figure(value):
    """Three or four digits."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 or size == 0 else f"{value:.3g}"


def spread(values):
    """The median, and from the least to the greatest."""
    if not values:
        return "–"
    middle = figure(statistics.median(values))
    return middle if len(set(values)) == 1 else f"{middle} ({figure(min(values))}–{figure(max(values))})"


def must_text(musts, unit, limit):
    """What is asked for; `limit` gives the must or the aim of a bound."""
    texts = []
    for must in musts:
        bounds = [b for b in (must if isinstance(must, tuple) else (must,)) if limit(b) is not None]
        if bounds:
            texts.append(" or ".join(bound.text(limit(bound), unit) for bound in bounds))
    return ", ".join(texts)


def reached(line, musts):
    bounds = [b for must in musts for b in (must if isinstance(must, tuple) else (must,)) if b.aim is not None]
    return any(judge.judged(line, bound).get("aim") for bound in bounds)


def cells(key, line, spec):
    ratio = judge.ratios(line, FLOOR)
    shown = "–"
    if ratio:
        low, high, _ = judge.interval(ratio)
        shown = figure(statistics.median(ratio)) + (f" [{figure(low)}, {figure(high)}]" if len(ratio) > 1 else "")
    aim = must_text(spec.musts, spec.unit, lambda bound: bound.aim)
    return [
        key, f"{line['what']}, {line['unit']}", spread(line["sides"].get(FLOOR)), spread(line["sides"].get(OURS)), shown,
        must_text(spec.musts, spec.unit, lambda bound: bound.limit) or "shown", judgement(line),
        f"{aim}{': reached' if reached(line, spec.musts) else ''}" or "–",
    ]


def judgement(line):
    """What holds, and by how many rounds."""
    return f"{line['holds'] or '–'} ({line['rounds']} round{'s' * (line['rounds'] > 1)}{', quick' if line['quick'] else ''})"


def change(line, before):
    """The ratio (or the figure itself) of the last table, and now."""
    def one(of):
        values = judge.ratios(of, FLOOR) or judge.ratios(of, None)
        return statistics.median(values) if values else None
    was, now = one(before) if before else None, one(line)
    return "" if was is None or now is None else f"{figure(was)} -> {figure(now)}"


def spec_of(rows, key):
    return next(((row, line) for row in rows for line in row.lines if line.key == key), (None, None))


def console(key, line, row, before):
    """A line as soon as it is measured."""
    _, spec = spec_of([row], key)
    _, what, floor, ours, ratio, must, holds, aim = cells(key, line, spec)
    text = f"{key}: {what}\n    floor {floor}, ours {ours}, ratio {ratio}; must {must}: {holds}; aim {aim}"
    others = {side: values for side, values in line["sides"].items() if side not in (FLOOR, OURS)}
    for side, values in others.items():
        text += f"\n    {side} {spread(values)}"
    for side, why in line["absent"].items():
        text += f"\n    {side}: absent, {why}"
    told = change(line, before)
    return text + (f"\n    change since the last table: {told}" if told else "")


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])


def summary(data, rows):
    return table(HEAD, [cells(key, line, spec) for row, spec, key, line in ordered(data, rows)])


def ordered(data, rows):
    """The lines in the order of the rows."""
    return [(row, spec, spec.key, data["lines"][spec.key]) for row in rows for spec in row.lines if spec.key in data["lines"]]


def write(data, rows):
    """Keeps the table as data, and as a page."""
    with open(DATA, "w") as file:
        file.write(json.dumps(data, indent=1) + "\n")
    with open(PAGE, "w") as file:
        file.write(page(data, rows))


def page(data, rows):
    found = ordered(data, rows)
    text = [
        "# Benchmarks\n",
        "Written by `make bench` (`python3 benches/bench.py --help`); not edited by hand. Every figure of ours stands beside its floor:"
        "\nwhat this machine can do at best, measured in the same run by a small C program, SQLite alone or the system's own tool. Floor,"
        "\nours and peers take turns. Cells: median (least–greatest); ratios: the median of the rounds' ratios [the interval of that"
        "\nmedian, 95 % from six rounds on]. A must is judged by nine rounds or more, save what was measured in less (memory, idle CPU,"
        "\n*quick*: fewer tasks in fewer rounds). *Not clear*: the interval crosses the must. Aims judge nothing. The program runs from a"
        "\nwritten copy, as after an installation: as the linker leaves it, it starts 0.15 ms slower.\n",
        table([*HEAD, "run"], [[*cells(key, line, spec), line["run"]] for _, spec, key, line in found]),
        "\n## Others in the same rounds\n",
        table(["row", "who", "figure", "ours / theirs", "rounds"], peer_rows(found)),
        "\n## The floors\n",
        *(f"- **{row.name}**: {row.floor}." for row in rows if any(key in data["lines"] for key in (spec.key for spec in row.lines))),
        "\n## The runs\n",
    ]
    for date, run in sorted(data["runs"].items()):
        versions = ", ".join(f"{name}: {version[:32].rstrip(' .')}" for name, version in run["versions"].items())
        text.append(
            f"- **{date} UTC**, `{run['command']}`: {run['cores']} × {run['cpu']}, {run['memory']}, Linux {run['kernel']}, load"
            f" {run['load']}; 4 KiB and an fdatasync: {run['fdatasync_grows_ms']} ms where the file grows,"
            f" {run['fdatasync_over_ms']} ms in place. {versions}."
        )
    return "\n".join(text) + "\n"


def peer_rows(found):
    rows = []
    for _, _, key, line in found:
        for side, values in line["sides"].items():
            if side not in (FLOOR, OURS):
                rows.append([key, side, f"{spread(values)} {line['unit']}", figure(statistics.median(judge.ratios(line, side))), len(values)])
        rows += [[key, side, f"absent: {why}", "–", "–"] for side, why in line["absent"].items()]
    return rows
