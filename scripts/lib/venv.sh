# Sourced by check, test and bench: makes a virtual environment with everything developers need, and
# sets BIN. KLED_VENV is its directory, .venv unless said: .ci/run has one for each Python.
# Done anew only when pyproject.toml or the Python changed.

. scripts/lib/find-python.sh
_venv=${KLED_VENV:-.venv}
BIN=$PWD/$_venv/bin
_wanted="$PYTHON $(cksum < pyproject.toml)"
_found=$(cat "$_venv/kled-stamp" 2>/dev/null || true)
if [ ! -x "$BIN/python" ] || [ "$_found" != "$_wanted" ]; then
    # An environment that somebody made by hand and that is complete is left as it is.
    if ! { [ -x "$BIN/python" ] && [ -z "$_found" ] &&
        "$BIN/python" -c 'import kled_wire, pytest_trio, trustme, hypothesis, pytest_timeout' 2>/dev/null; }; then
        echo "== installing into $_venv"
        # Another Python's is thrown away: venv would leave its links as they are.
        case $_found in "" | "$PYTHON "*) _clear=() ;; *) _clear=(--clear) ;; esac
        "$PYTHON" -m venv ${_clear[@]+"${_clear[@]}"} "$_venv"
        "$BIN/python" -m pip install -qq --disable-pip-version-check -e '.[dev]'
    fi
    echo "$_wanted" > "$_venv/kled-stamp"
fi
