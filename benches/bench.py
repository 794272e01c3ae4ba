#!/usr/bin/env python3
"""Every figure beside its floor, in one run: the floor, ours, the peers, and again, round after round.

Nothing is asserted of time: the exit code is 1 only when something did not work, such as a task that did not complete.
"""
import argparse, shlex, sys, time, traceback

sys.dont_write_bytecode = True

import judge, machine, peers, report
from home import Home
from model import OURS, Absent, Broken
from rows import ROWS
from run import Run


def judged_sides(row):
    """Ours, and what its musts look at."""
    bounds = [bound for line in row.lines for must in line.musts for bound in (must if isinstance(must, tuple) else (must,))]
    return {OURS, "floor", *(bound.than for bound in bounds)}


def measured(run, row, rounds, pairs):
    """The figures of each line of a row: of every round, side by side. A side that cannot be had is left out and named;
    what is only shown takes part in the first rounds alone.
    """
    lines = {line.key: {"what": line.what, "unit": line.unit, "row": row.name, "sides": {}, "absent": {}} for line in row.lines}
    gone, judged = set(), judged_sides(row)
    shown_rounds = 0 if pairs else run.pick(3, 1)
    with row.sides(run) as sides:
        for number in range(rounds):
            if number == shown_rounds:
                sides = {side: measure for side, measure in sides.items() if side in judged}
            # There and back again, so that a machine that slows down does not favour a side.
            for side in list(sides) if number % 2 == 0 else list(reversed(sides)):
                if side in gone:
                    continue
                try:
                    found = sides[side]()
                except (Absent, Broken) as error:
                    if side == OURS or (isinstance(error, Broken) and side == "floor"):
                        raise
                    gone.add(side)
                    for line in lines.values():
                        line["sides"].pop(side, None)
                        line["absent"][side] = str(error)
                    continue
                for key, value in (found if isinstance(found, dict) else {row.lines[0].key: found}).items():
                    lines[key]["sides"].setdefault(side, []).append(value)
    for line, spec in zip(lines.values(), row.lines):
        line["rounds"], line["quick"] = rounds, run.quick
        line["holds"] = judge.verdict(line, spec.musts)
    return lines


def rounds_of(row, args):
    return args.pairs or args.rounds or (row.quick or 1 if args.quick else row.rounds)


def forecast(args, took):
    """How long the run takes at most: what each row took when its duration was last kept, and more where it has more rounds."""
    known = [(took[row.name], rounds_of(row, args)) for row in args.rows if row.name in took]
    seconds = sum(last["seconds"] * max(rounds / last["rounds"], 1) for last, rounds in known)
    new = [row.name for row in args.rows if row.name not in took]
    parts = [f"at most {seconds / 60:.1f} min"] * bool(known) + [f"no duration is known of {', '.join(new)}"] * bool(new)
    return f"{len(args.rows)} rows: {'; '.join(parts)}"


def arguments():
    text = "rows:\n" + "".join(f"  {row.name:14} {row.lines[0].what}\n" for row in ROWS)
    parser = argparse.ArgumentParser(description=__doc__, epilog=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds, no rows of a million tasks")
    parser.add_argument("--only", metavar="ROW[,ROW]", help="these rows alone")
    parser.add_argument("--rounds", type=int, metavar="N", help="N rounds of each row; peers that no must looks at: 3 at most")
    parser.add_argument("--pairs", type=int, metavar="N", help="N rounds of ours and what its must looks at, no other peers")
    parser.add_argument("--million", type=int, default=1_000_000, metavar="N", help="how many tasks stand for a million, to try the rows out")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and benches/last.json, the rows of this run replaced")
    parser.add_argument("--report", action="store_true", help="measure nothing: write docs/benchmarks.md from benches/last.json")
    parser.add_argument("--install-peers", action="store_true", help="install what the registries have of the peers (as root), first")
    parser.add_argument("--peers-dir", metavar="DIR", default=peers.FOLDER, help="where peers are that are not in PATH")
    args = parser.parse_args()
    names = {row.name for row in ROWS}
    args.rows = [row for row in ROWS if row.quick or not args.quick]
    if args.only:
        chosen = args.only.split(",")
        if unknown := [name for name in chosen if name not in names]:
            parser.error(f"no such row: {', '.join(unknown)}")
        args.rows = [row for row in ROWS if row.name in chosen]
    if args.write and args.million != 1_000_000:
        parser.error("--write is for a whole million")
    return args


def main():
    args = arguments()
    if args.report:
        report.write(report.last(), ROWS)
        return 0
    before, broken = report.last(), []
    if args.install_peers:
        peers.install(args.peers_dir)
    with Run(args.quick, args.million, args.peers_dir) as run:
        peers.find(args.peers_dir)
        with Home(run) as home:
            about = machine.described(run, home)
        date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        now = {"runs": {date: {**about, "command": shlex.join(["benches/bench.py", *sys.argv[1:]])}}, "lines": {}, "took": {}}
        size = "quick" if args.quick else "full"
        print(forecast(args, before["took"].get(size, {})), flush=True)
        took = now["took"][size] = {}
        for row in args.rows:
            rounds, begun = rounds_of(row, args), time.monotonic()
            try:
                lines = measured(run, row, rounds, args.pairs)
            except (Absent, Broken, OSError, ValueError, KeyError) as error:
                broken.append(row.name)
                print(f"{row.name}: BROKEN: {error}", flush=True)
                if not isinstance(error, (Absent, Broken)):
                    traceback.print_exc()
                continue
            took[row.name] = {"seconds": round(time.monotonic() - begun, 1), "rounds": rounds}
            for key, line in lines.items():
                now["lines"][key] = {**line, "run": date}
                print(report.console(key, line, row, before["lines"].get(key)), flush=True)
            print(f"    ({row.name}: {rounds} rounds, {took[row.name]['seconds']:.0f} s)", flush=True)
            if args.write:
                # After each row: what is measured is kept, however the rest goes.
                report.write(report.merged(before, now), ROWS)
    print("\n" + report.summary(now, ROWS))
    if broken:
        print(f"did not work: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
