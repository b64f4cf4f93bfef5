#!/usr/bin/env bash
# Installs covidcxr_tf[test] once and runs the tests: bash scripts/test.sh [--all] [pytest arguments]
# --all adds the slow and the parity tests (and installs torch for the latter).
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ensure test
chosen=(-m "not slow and not parity and not data and not gpu")
if [ "${1:-}" = "--all" ]; then
    shift
    ensure test,parity
    chosen=()
fi
ruff check .
ruff format --check .
mypy covidcxr_tf scripts
exec python -m pytest "${chosen[@]}" "$@"
