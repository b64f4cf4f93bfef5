#!/usr/bin/env bash
# Installs the oldest release of each dependency that setup.cfg allows into a fresh environment, and runs the tests of
# the rooms that touch them: bash scripts/floors.sh [pytest arguments instead of those rooms].
# COVIDCXR_FLOORS names another folder than .venv-floors; what is in it goes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${COVIDCXR_FLOORS:-.venv-floors}"
export TF_CPP_MIN_LOG_LEVEL=3 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONPATH="$PWD"
python3 -m venv --clear "$venv"
"$venv/bin/python" - >"$venv/floors.txt" <<'PYTHON'
import configparser
import re
import sys

# Their releases have a part more than their floors: 4.10.0.82, 3.0.24.1.
LONGER = ("opencv-python-headless", "python-gdcm")

setup = configparser.ConfigParser()
setup.read("setup.cfg")
extras = setup["options.extras_require"]
lines = [*setup["options"]["install_requires"].split(), *extras["dicom"].split(), *extras["parquet"].split()]
bare = [line for line in lines if not re.search(r"[>=]=", line)]
if bare:
    sys.exit(f"no floor in setup.cfg: {', '.join(bare)}")
for line in lines:
    name, version = re.match(r"([A-Za-z0-9._\[\]-]+)[>=]=([0-9.]+)", line).groups()
    print(f"{name}=={version}.*" if name in LONGER else f"{name}=={version}")
PYTHON
"$venv/bin/python" -m pip install --quiet --requirement "$venv/floors.txt" pytest hypothesis httpx pydicom-data
"$venv/bin/python" -m pip check
[ $# -gt 0 ] || set -- tests/imaging tests/data tests/lungs tests/dicom tests/hostile tests/models/test_files.py \
    tests/serving/test_http.py tests/test_privacy.py
exec "$venv/bin/python" -m pytest -q -m "not (data or gpu or slow or parity or browser or orthanc)" "$@"
