#!/bin/sh
# Makes .venv and keeps it right. `sh setup_env.sh` installs what running needs; `--dev` adds the test runner and the
# linter, `--test` also the browser that the tests and benchmarks drive.
#
# Safe to run at any time: a finished environment takes a moment, a half-made one is repaired, and one whose Python is
# gone or that was made for the other kind of machine (CPU, GPU) is made anew. A stamp per requirements file remembers
# which requirements and which Python were installed; it is empty while they are being installed.
#
# PYTHON        the interpreter to use (default: the first of python3, python3.11 ... that is new enough)
# REQUIREMENTS  requirements.txt or requirements-gpu.txt (default: the second where nvidia-smi finds a GPU)
set -eu
cd "$(dirname "$0")"

VENV=.venv
export PIP_RETRIES="${PIP_RETRIES:-0}" PIP_DISABLE_PIP_VERSION_CHECK=1
MODE=${1:-run}

say() { printf 'setup: %s\n' "$*"; }

fail() { # what happened, why, what to do
    printf '\nsetup failed: %s\n  why:        %s\n  what to do: %s\n' "$1" "$2" "$3" >&2
    exit 1
}

is_usable() { # true for a Python that our packages support
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        if is_usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no usable Python was found" \
        "${PYTHON:-python3} is $("${PYTHON:-python3}" -V 2>/dev/null || echo missing); Python 3.11 to 3.14 is needed" \
        "install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv) or name one with PYTHON=/path/to/python"
}

choose_requirements() {
    if [ -n "${REQUIREMENTS:-}" ]; then
        echo "$REQUIREMENTS"
    elif nvidia-smi -L >/dev/null 2>&1; then
        echo requirements-gpu.txt
    else
        echo requirements.txt
    fi
}

key() { # what an installed requirements file depends on: its text, this script and the Python
    { cat "$1" requirements.txt setup_env.sh && "$VENV/bin/python" -V; } 2>/dev/null | cksum
}

is_installed() {
    [ "$(cat "$VENV/installed-$1" 2>/dev/null)" = "$(key "$1")" ]
}

require_disk() { # $1: MB that a finished environment takes
    free=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024))
    used=$(du -sm "$VENV" 2>/dev/null | cut -f1)
    if [ $((free + ${used:-0})) -lt "$1" ]; then
        fail "the disk is too full" \
            "$free MB are free in $(pwd); the packages need about $(($1 - ${used:-0})) MB more" \
            "free some space (pip's own cache: $VENV/bin/python -m pip cache purge) and run the same command again"
    fi
}

drop_other_kind() { # $1: the runtime's requirements; another's packages (torch for CUDA, vllm) break them
    for stamp in "$VENV"/installed-*; do
        case ${stamp##*/installed-} in "$1" | requirements-dev.txt | \*) continue ;; esac
        say "$VENV was made from ${stamp##*/installed-}; making it anew from $1"
        rm -rf "$VENV"
        return
    done
}

ensure_venv() {
    if [ -e "$VENV" ] && ! { is_usable "$VENV/bin/python" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }; then
        say "$VENV is half made, or its Python is gone or too old; making it anew"
        rm -rf "$VENV"
    fi
    if [ ! -e "$VENV" ]; then
        python=$(find_python)
        say "making $VENV with $("$python" -V)"
        if ! "$python" -m venv "$VENV"; then
            rm -rf "$VENV"
            fail "no virtual environment could be made" "'$python -m venv' gave up, see its words above" \
                "on Debian or Ubuntu: apt-get install python3-venv, then run the same command again"
        fi
    fi
}

pip_install() {
    quiet=--quiet
    if [ -t 1 ]; then quiet=; fi
    : >"$VENV/installed-$1"
    # The versions without the index, which pip would take from a constraints file too.
    awk '!/^--/' requirements.txt >"$VENV/versions.txt"
    "$VENV/bin/python" -m pip install $quiet -c "$VENV/versions.txt" -r "$1" || fail "pip could not install $1" "see pip's words above" \
        "check the network and run the same command again; what is installed by now is kept. If pip found no
              torch+cpu, its package index lacks PyTorch's CPU builds: export PIP_EXTRA_INDEX_URL with the address
              of PyTorch's CPU wheels (it stands on PyTorch's 'Get started' page)"
}

drop_broken_extras() { # vllm names these three, nothing of ours uses them, and a build for CUDA breaks other imports
    for package in torchvision torchaudio torchcodec; do
        if "$VENV/bin/python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$package') is None)" &&
            ! "$VENV/bin/python" -c "import $package" >/dev/null 2>&1; then
            say "removing $package: the build that was installed does not load here, and nothing needs it"
            "$VENV/bin/python" -m pip uninstall --quiet --yes "$package"
        fi
    done
}

works() {
    "$VENV/bin/python" -c 'import gradio, openai, peft, sqlite_utils, transformers, trl, vllm' >"$VENV/imports.log" 2>&1
}

install_runtime() {
    pip_install "$1"
    drop_broken_extras
    if ! works; then
        say "some packages are damaged; making $VENV anew"
        rm -rf "$VENV"
        ensure_venv
        pip_install "$1"
        drop_broken_extras
        works || fail "the installed packages do not load" "$(tail -n 1 "$VENV/imports.log")" \
            "see $VENV/imports.log; after mending the cause, run the same command again"
    fi
    key "$1" >"$VENV/installed-$1"
}

ensure_chromium() {
    if command -v chromium >/dev/null; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing Debian's chromium for the browser tests"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -qq -y chromium >/dev/null; } || true
    fi
    if command -v chromium >/dev/null; then return; fi
    if [ "${CI:-}" = true ]; then
        fail "chromium is missing" "the browser tests must run in CI, and it could not be installed" \
            "install the package chromium on this machine"
    fi
    say "WARNING: chromium is missing, so the browser tests will be SKIPPED; as root: apt-get install chromium"
}

main() {
    requirements=$(choose_requirements)
    drop_other_kind "$requirements"
    if ! is_installed "$requirements"; then
        case $requirements in *gpu*) size=14000 ;; *) size=6000 ;; esac
        require_disk $size
        ensure_venv
        say "installing $requirements (minutes the first time, about $((size / 1000)) GB at most)"
        install_runtime "$requirements"
    fi
    if [ "$MODE" != run ] && ! is_installed requirements-dev.txt; then
        say "installing requirements-dev.txt"
        pip_install requirements-dev.txt
        key requirements-dev.txt >"$VENV/installed-requirements-dev.txt"
    fi
    if [ "$MODE" = --test ]; then ensure_chromium; fi
}

if command -v flock >/dev/null; then
    exec 9<setup_env.sh
    flock 9 # two `make` at once take turns
fi
main
