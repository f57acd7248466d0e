# Sourced by ./demo and ./test: makes the virtual environment .venv with the extras asked for, once.
# Usage: prepare_environment EXTRAS    sets $python

prepare_environment() {
    local extras=$1
    local base=${PYTHON:-python3}
    python=$PWD/.venv/bin/python
    if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        echo "InfNet needs Python 3.10 or newer; set PYTHON to one (found: $("$base" --version 2>&1))." >&2
        return 1
    fi
    if [ ! -x "$python" ]; then
        "$base" -m venv .venv || { echo "Install Python's venv module (Debian: apt-get install python3-venv)." >&2; return 1; }
    fi
    local stamp
    stamp=.venv/installed-$extras-$(sha256sum pyproject.toml | cut -c1-16)
    [ -e "$stamp" ] && return 0
    echo "Installing InfNet and what it needs into .venv (several GB with PyTorch; once) ..." >&2
    if ! "$python" -m pip install --quiet --editable ".[$extras]"; then
        echo "The installation failed: see above. Without a package registry in reach, install on a connected" >&2
        echo "machine and copy .venv, or point pip at a folder of wheels (PIP_FIND_LINKS=DIR PIP_NO_INDEX=1)." >&2
        return 1
    fi
    touch "$stamp"
}
