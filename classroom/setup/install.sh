#!/bin/sh
# Make .venv hold exactly what requirements.lock says: `make setup` runs this, and so does every target that needs it.
#   PYTHON   the interpreter to use, for example python3.12; default: the first one that is new enough
set -eu
cd "$(dirname "$0")/../.."
log=.venv-install.log

fail() {
    rm -f "$log"
    printf '%s\n  next: %s\n' "$1" "$2" >&2
    exit 1
}

# Run a command quietly; when it fails, say what was meant and why it probably went wrong.
attempt() {
    what=$1
    shift
    "$@" >"$log" 2>&1 && return
    if grep -qiE 'no space left|disk quota' "$log"; then
        fail "$what: the disk is full" "free some space, then: make setup"
    elif grep -qiE 'read-only file system|permission denied' "$log"; then
        fail "$what: this folder cannot be written to" "copy the checkout to a folder of your own, then: make setup"
    elif grep -qiE 'dns|resolve|connect|timed out|network|unreachable|NewConnection' "$log"; then
        fail "$what: the package index cannot be reached" "connect to the network (or set a proxy or UV_DEFAULT_INDEX), then: make setup"
    fi
    tail -n 15 "$log" >&2
    fail "$what failed" "read the lines above, mend it, then: make setup"
}

touch "$log" 2>/dev/null || { printf 'this folder cannot be written to\n  next: copy the checkout to a folder of your own, then: make setup\n' >&2; exit 1; }
trap 'rm -f "$log"' EXIT

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

too_old() { fail "The course needs Python 3.11 or newer, $1 is $("$1" -V 2>&1 | tail -n 1)" \
    "install a newer Python, or uv, then: make setup PYTHON=python3.12"; }

if [ -n "${PYTHON:-}" ] && command -v "$PYTHON" >/dev/null; then
    is_new_enough "$PYTHON" || too_old "$PYTHON"
fi
if [ -z "${PYTHON:-}" ] && is_new_enough .venv/bin/python && { uv=$(command -v uv) || [ -x .venv/bin/pip ]; }; then
    uv=${uv:-.venv/bin/uv}
elif uv=$(command -v uv); then
    attempt "Making .venv" "$uv" venv --quiet --clear --python "${PYTHON:->=3.11}" .venv
    is_new_enough .venv/bin/python || too_old .venv/bin/python
else
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        is_new_enough "$python" && break
        python=
    done
    [ -n "$python" ] || too_old "${PYTHON:-python3}"
    echo "Making .venv with $("$python" -V) ..."
    "$python" -m venv --clear .venv >"$log" 2>&1 ||
        fail "$python cannot make virtual environments" "sudo apt install python3-venv (Debian, Ubuntu), or install uv"
    uv=.venv/bin/uv
fi
if [ "$uv" = .venv/bin/uv ] && ! [ -x "$uv" ]; then
    attempt "Installing uv" .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 10 \
        --require-hashes --requirement classroom/setup/uv.lock
fi

echo "Installing $(grep -c '^[a-z0-9].*==' requirements.lock) packages into .venv ..."
export UV_HTTP_RETRIES="${UV_HTTP_RETRIES:-1}"
attempt "Installing the packages" "$uv" pip install --quiet --python .venv/bin/python --require-hashes --requirement requirements.lock
attempt "Installing the course" "$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
# JupyterLab would greet a learner with a question about news, which it can't fetch in every classroom.
mkdir -p .venv/share/jupyter/lab/settings
echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' >.venv/share/jupyter/lab/settings/overrides.json
touch .venv/.installed
