"""`python -m covidcxr_tf`: the command `covidcxr`."""

from __future__ import annotations

from covidcxr_tf.cli.main import main

if __name__ == "__main__":
    main()
