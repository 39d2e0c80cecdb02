# Sourced by check and test: makes .venv with everything developers need, and sets BIN.
# Done anew only when pyproject.toml or the Python changed.

. scripts/lib/find-python.sh
BIN=$PWD/.venv/bin
_wanted="$PYTHON $(cksum < pyproject.toml)"
if [ ! -x "$BIN/python" ] || [ "$(cat .venv/kled-stamp 2>/dev/null)" != "$_wanted" ]; then
    # An environment that somebody made by hand and that is complete is left as it is.
    if ! { [ -x "$BIN/python" ] && [ ! -e .venv/kled-stamp ] &&
        "$BIN/python" -c 'import kled_wire, pytest_trio, trustme, hypothesis, pytest_timeout' 2>/dev/null; }; then
        echo "== installing into .venv"
        "$PYTHON" -m venv .venv
        "$BIN/python" -m pip install -qq --disable-pip-version-check -e '.[dev]'
    fi
    echo "$_wanted" > .venv/kled-stamp
fi
