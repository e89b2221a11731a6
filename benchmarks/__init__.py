"""The comparison of vivace with its peers: `python -m benchmarks` (see benchmarks/README.md).

`loads` holds THE table of loads and targets, `servers` the table of servers and their settings, `metrics` the
table of figures. `processes`, `clients`, `wrk`, `kinds` measure; `run` decides what is measured when;
`stats`, `store`, `verdicts`, `report` and `picture` turn the figures into docs/benchmarks.json, .md and .svg.

Nothing here is imported by vivace, and nothing here imports a server: each runs in its own process.
"""
