# Sourced by the scripts: sets PYTHON to a Python >= 3.11, or says what is missing and ends.

_is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

PYTHON=""
for _candidate in ${KLED_PYTHON:+"$KLED_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$_candidate" >/dev/null 2>&1 && _is_new_enough "$_candidate"; then
        # The file itself, not a version manager's shim, which decides anew in each directory.
        PYTHON=$("$_candidate" -c 'import sys; print(sys.executable)')
        break
    fi
done
if [ -z "$PYTHON" ]; then
    echo "error: Kled needs Python 3.11 or newer, and there is none on PATH" >&2
    echo "  Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python" >&2
    echo "  or name one: KLED_PYTHON=/path/to/python3" >&2
    exit 2
fi
if ! "$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    _version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "error: $PYTHON cannot make virtual environments" >&2
    echo "  Debian, Ubuntu: apt install python$_version-venv" >&2
    exit 2
fi
