"""What a server does under overload, beside hostile clients, without resources, and for hours: `python -m
benchmarks.trials`.

One module a trial: a function that takes a `trial.Setup`, measures, and returns a `trial.Result` with a verdict for
each target. `__main__` runs them and writes docs/trials.md.
"""
