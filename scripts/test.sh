#!/usr/bin/env bash
# Installs covidcxr_tf[test] once and runs the tests: bash scripts/test.sh [--all] [--with-orthanc] [pytest arguments]
# --all adds the slow and the parity tests (torch, JAX, ONNX Runtime, OpenVINO), and those that drive the page in
# Chromium, which it does not install: sudo apt-get install chromium
# --with-orthanc adds the round trip through a real Orthanc, and installs it and dciodvfy where they are missing.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
all="" orthanc=""
while [ $# -gt 0 ]; do
    case "$1" in
    --all) all=1 ;;
    --with-orthanc) orthanc=1 ;;
    *) break ;;
    esac
    shift
done
left_out="data or gpu"
if [ -n "$all" ]; then
    ensure test,parity,browser
    command -v chromium >/dev/null || echo "no chromium: its tests are skipped; sudo apt-get install chromium" >&2
else
    ensure test
    left_out="$left_out or slow or parity or browser"
fi
if [ -n "$orthanc" ]; then
    PATH="$PATH:/usr/sbin"
    if ! { command -v Orthanc && command -v dciodvfy; } >/dev/null; then
        as_root=""
        [ "$(id -u)" = 0 ] || as_root=sudo
        $as_root apt-get install -y --no-install-recommends orthanc dicom3tools
    fi
else
    left_out="$left_out or orthanc"
fi
ruff check .
ruff format --check .
mypy covidcxr_tf scripts
exec python -m pytest -m "not ($left_out)" "$@"
