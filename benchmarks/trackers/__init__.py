"""What a tracker costs a training step: every tracker in one run, beside a bare fit.

    python -m benchmarks.trackers                 the whole table (`make bench`)
    python -m benchmarks.trackers --quick         a smoke run of a minute
    python -m benchmarks.trackers --only fitgate  the trackers whose name holds that text, and the two references

The parts, each with one job:

- `_builtin`, `_peers`: the trackers, a few lines each.
- `_fit`: the tiny fit that all of them record.
- `_measure`: one tracker's fits in a process of its own, with both clocks.
- `_round`: all trackers once, in one fresh interpreter that forks for each.
- `_in_turns`: three of them side by side in one process, for the sharpest comparison.
- `_figures`: samples to medians, intervals and ratios; pure.
- `_table`: how it looks.

docs/benchmarks.md says what is measured and why that way.
"""
