#!/usr/bin/env bash
# Installs covidcxr_tf[test] once and runs the tests: bash scripts/test.sh [--all] [pytest arguments]
# --all adds the slow and the parity tests (and installs torch for the latter), and those that drive the page in
# Chromium, which it does not install: sudo apt-get install chromium
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ensure test
chosen=(-m "not slow and not parity and not data and not gpu and not browser")
if [ "${1:-}" = "--all" ]; then
    shift
    ensure test,parity,browser
    command -v chromium >/dev/null || echo "no chromium: its tests are skipped; sudo apt-get install chromium" >&2
    chosen=()
fi
ruff check .
ruff format --check .
mypy covidcxr_tf scripts
exec python -m pytest "${chosen[@]}" "$@"
