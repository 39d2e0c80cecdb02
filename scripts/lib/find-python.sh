# Sourced by the scripts: sets PYTHON to one of Python 3.11 to 3.13, or says what is missing and
# ends. KLED_PYTHON names one, and no other is taken then. The range is pyproject.toml's.

_is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

PYTHON=""
for _candidate in ${KLED_PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if command -v "$_candidate" >/dev/null 2>&1 && _is_supported "$_candidate"; then
        # The file itself, not a version manager's shim, which decides anew in each directory.
        PYTHON=$("$_candidate" -c 'import sys; print(sys.executable)')
        break
    fi
done
if [ -z "$PYTHON" ]; then
    if [ -n "${KLED_PYTHON:-}" ]; then
        echo "error: KLED_PYTHON=$KLED_PYTHON is no Python 3.11, 3.12 or 3.13" >&2
    else
        echo "error: Kled needs Python 3.11, 3.12 or 3.13, and there is none on PATH" >&2
    fi
    echo "  Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13" >&2
    echo "  or name one: KLED_PYTHON=/path/to/python3" >&2
    exit 2
fi
if ! "$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    _version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "error: $PYTHON cannot make virtual environments" >&2
    echo "  Debian, Ubuntu: apt install python$_version-venv" >&2
    exit 2
fi
