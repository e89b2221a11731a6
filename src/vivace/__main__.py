"""`python -m vivace`: the same as `vivace`."""

from __future__ import annotations

from vivace.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
