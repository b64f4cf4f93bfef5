# Sourced by demo.sh and test.sh: makes the virtual environment once and installs only what is missing.
# COVIDCXR_VENV names another place than .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${COVIDCXR_VENV:-.venv}"
export TF_CPP_MIN_LOG_LEVEL=3 PIP_DISABLE_PIP_VERSION_CHECK=1

# ensure EXTRA: an environment with the package, editable, and the extras named.
ensure() {
    local stamp="$venv/.covidcxr-$(echo "$1" | tr ',' '-')"
    if [ ! -x "$venv/bin/python" ]; then
        echo "making $venv" >&2
        python3 -m venv "$venv" || {
            echo "error: python3 -m venv failed; install it with: sudo apt-get install python3-venv" >&2
            exit 2
        }
    fi
    # Installed already, from this very setup.cfg and this very checkout?
    local want
    want="$(cat setup.cfg pyproject.toml | sha256sum | cut -d' ' -f1) $PWD"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
        echo "installing covidcxr_tf[$1]: TensorFlow is large, this takes some minutes the first time" >&2
        "$venv/bin/python" -m pip install --quiet --upgrade pip setuptools wheel
        "$venv/bin/python" -m pip install --quiet --editable ".[$1]"
        echo "$want" >"$stamp"
    fi
    export PATH="$PWD/$venv/bin:$PATH"
    case "$venv" in /*) export PATH="$venv/bin:$PATH" ;; esac
}
