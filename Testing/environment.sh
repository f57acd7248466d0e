# Sourced by ./demo and ./test: makes the virtual environment .venv with the extra asked for, once.
# Usage: prepare_environment slicer|dev    sets $python; dev contains slicer

prepare_environment() {
    local extra=$1
    local base
    python=$PWD/.venv/bin/python
    # slicer-core has no wheels for other versions.
    for base in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10} ""; do
        "$base" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && break
    done
    if [ -z "$base" ]; then
        echo "Python 3.10 to 3.13 is needed; set PYTHON to one (found: $("${PYTHON:-python3}" --version 2>&1))." >&2
        return 1
    fi
    if [ ! -x "$python" ] && ! "$base" -m venv .venv; then
        rm -rf .venv
        echo "Python's venv module is missing (Debian: apt-get install python3-venv)." >&2
        return 1
    fi
    prepare_system "$extra"
    local version
    version=$(cat pyproject.toml Testing/constraints.txt |
        "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
    if [ -e ".venv/installed-dev-$version" ] || [ -e ".venv/installed-$extra-$version" ]; then
        return 0
    fi
    echo "Installing InfNet and what it needs into .venv (several GB with PyTorch; once) ..." >&2
    local install=("$python" -m pip install --quiet --editable ".[$extra]")
    if ! "${install[@]}" --constraint Testing/constraints.txt && ! {
        echo "The versions of Testing/constraints.txt do not fit here: trying the newest ones ..." >&2
        "${install[@]}"
    }; then
        echo "The installation failed: see above. Without a package registry in reach, install on a connected" >&2
        echo "machine and copy the folder, or point pip at a folder of wheels (PIP_FIND_LINKS=DIR PIP_NO_INDEX=1)." >&2
        return 1
    fi
    touch ".venv/installed-$extra-$version"
}

# The system's libraries that Qt and VTK load to draw without a screen, and for dev the validator of DICOM objects:
# installed where that may be done, else named.
prepare_system() {
    command -v apt-get >/dev/null || return 0
    local known library package missing=
    known=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
    while read -r library package; do
        case $known in *"$library"*) continue ;; esac
        dpkg -s "$package" >/dev/null 2>&1 || missing+=" $package"
    done <<'LIBRARIES'
libEGL.so.1 libegl1
libGL.so.1 libgl1
swrast_dri.so libgl1-mesa-dri
libglib-2.0.so.0 libglib2.0-0
libfontconfig.so.1 libfontconfig1
libxkbcommon.so.0 libxkbcommon0
libdbus-1.so.3 libdbus-1-3
LIBRARIES
    if [ "$1" = dev ] && ! command -v dciodvfy >/dev/null; then
        missing+=" dicom3tools"
    fi
    if [ -z "$missing" ]; then
        return 0
    fi
    if [ "$(id -u)" = 0 ]; then
        echo "Installing the system packages$missing ..." >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
            >/dev/null || echo "That failed; pictures may be missing, tests be skipped." >&2
    else
        echo "For pictures, panels and all tests, install these first: sudo apt-get install$missing" >&2
    fi
}
