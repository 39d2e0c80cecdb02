#!/bin/sh
# Fetches the agent of this workspace, checks it and keeps it running; needs no root, and writes to one
# directory for caches. The token comes from the environment and is written nowhere.
set -eu
umask 022
: "${KLED_AGENT_TOKEN:=${CODER_AGENT_TOKEN:-}}"
KLED_COORDINATOR_URL=@URL@
# Sessions find what the image sets, as this shell was given it.
: "${KLED_AGENT_SESSION_ENVIRONMENT:=parent}"
export KLED_AGENT_TOKEN KLED_COORDINATOR_URL KLED_AGENT_SESSION_ENVIRONMENT
@EXPORTS@
say() { printf "kled: %s\n" "$*" >&2; }
fail() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

[ -n "$KLED_AGENT_TOKEN" ] || fail "KLED_AGENT_TOKEN is not set: give it the token of the kled_agent"

fetch() { # URL FILE
    if has curl; then curl -fsSL --connect-timeout 20 -o "$2" "$1"
    elif has wget; then wget -q -O "$2" "$1"
    elif has busybox; then busybox wget -q -O "$2" "$1"
    else fail "neither curl nor wget is here: install one, or mount the bundle and set KLED_AGENT_BUNDLE"
    fi
}

digest_of() { # FILE; sets found
    if has sha256sum; then set -- $(sha256sum "$1")
    elif has busybox; then set -- $(busybox sha256sum "$1")
    elif has shasum; then set -- $(shasum -a 256 "$1")
    elif has openssl; then set -- $(openssl dgst -sha256 -r "$1")
    else fail "nothing here can check a SHA-256: install coreutils"
    fi
    found=$1
}

unpack() { # FILE DIRECTORY
    if has tar; then tar -xzf "$1" -C "$2" 2>&1 || { gzip -dc "$1" | tar -xf - -C "$2"; } 2>&1
    elif has busybox; then busybox tar -xzf "$1" -C "$2" 2>&1
    else fail "tar is not here: install it, or mount the bundle and set KLED_AGENT_BUNDLE"
    fi
}

clock_is_wrong() {
    case $KLED_COORDINATOR_URL in https:*) ;; *) return 1 ;; esac
    year=$(date +%Y 2>/dev/null) || return 1
    [ "$year" -lt 2026 ] || [ "$year" -gt 2056 ]
}

download() { # FILE
    wait_s=1
    until fetch "$KLED_COORDINATOR_URL/bin/$digest_wanted" "$1"; do
        if clock_is_wrong; then
            say "the clock of this machine says $(date): no certificate is valid then; set the clock"
        fi
        say "cannot fetch $KLED_COORDINATOR_URL/bin/$digest_wanted; trying again in $wait_s s"
        sleep "$wait_s"
        [ "$wait_s" -ge 30 ] || wait_s=$((wait_s * 2))
    done
}

may_hold_programs() { # DIRECTORY
    (mkdir -p "$1") 2>/dev/null || return 1
    probe=$1/.probe.$$
    (printf "#!/bin/sh\nexit 0\n" >"$probe" && chmod 700 "$probe") 2>/dev/null || return 1
    if "$probe" 2>/dev/null; then rm -f "$probe"; return 0; fi
    rm -f "$probe"
    return 1
}

# Only directories that nobody else can write, but the last, which is made for this one start.
choose_cache() {
    for cache in "${KLED_AGENT_CACHE:-}" "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/kled}" \
        "${home:+$home/.cache/kled}" /var/cache/kled /opt/kled; do
        [ -n "$cache" ] || continue
        if may_hold_programs "$cache"; then return 0; fi
    done
    for place in "${TMPDIR:-/tmp}" /var/tmp /dev/shm "$PWD"; do
        cache=$(umask 077; mktemp -d "$place/kled-XXXXXX" 2>/dev/null) || continue
        if may_hold_programs "$cache"; then return 0; fi
        rmdir "$cache" 2>/dev/null || :
    done
    fail "no directory here may hold programs (read-only, full or noexec): set KLED_AGENT_CACHE to one"
}

install_bundle() {
    choose_cache
    bundle=$cache/$digest_wanted
    if [ -d "$bundle" ] && "$bundle/kled-agent/bin/kled-agent" --version >/dev/null 2>&1; then return 0; fi
    part=$cache/.$digest_wanted.$$
    rm -rf "$part"
    mkdir "$part" || fail "cannot write to $cache"
    say "fetching the agent into $cache"
    download "$part/bundle.tar.gz"
    digest_of "$part/bundle.tar.gz"
    if [ "$found" != "$digest_wanted" ]; then
        rm -rf "$part"
        fail "what $KLED_COORDINATOR_URL sent is not the bundle (SHA-256 $found): it was changed or truncated by the network"
    fi
    if ! said=$(unpack "$part/bundle.tar.gz" "$part"); then
        rm -rf "$part"
        fail "cannot unpack the agent into $cache: $(printf "%s" "$said" | tail -n 1)"
    fi
    rm -f "$part/bundle.tar.gz"
    if ! said=$("$part/kled-agent/bin/kled-agent" --version 2>&1); then
        rm -rf "$part"
        fail "the agent does not start here: $(printf "%s" "$said" | tail -n 1)"
    fi
    # Another start may have been first; what it put there is the same.
    [ -d "$bundle" ] && ! "$bundle/kled-agent/bin/kled-agent" --version >/dev/null 2>&1 && rm -rf "$bundle"
    [ -d "$bundle" ] || mv "$part" "$bundle" 2>/dev/null || :
    rm -rf "$part" "$bundle/${part##*/}"
}

find_agent() {
    if [ -n "${KLED_AGENT_BUNDLE:-}" ]; then
        agent=$KLED_AGENT_BUNDLE/bin/kled-agent
        [ -x "$agent" ] || fail "KLED_AGENT_BUNDLE: there is no $agent"
        return 0
    fi
    case $(uname -m) in
        x86_64 | amd64) digest_wanted=@AMD64@ ;;
        aarch64 | arm64) digest_wanted=@ARM64@ ;;
        *) digest_wanted= ;;
    esac
    if [ -n "$digest_wanted" ] && [ "$(uname -s)" = Linux ]; then
        kernel=$(uname -r)
        major=${kernel%%.*} minor=${kernel#*.}
        minor=${minor%%[!0-9]*}
        if [ "$major" -lt 4 ] || { [ "$major" -eq 4 ] && [ "${minor:-0}" -lt 19 ]; }; then
            fail "the kernel is $kernel: the agent needs Linux 4.19 or newer"
        fi
        install_bundle
        agent=$bundle/kled-agent/bin/kled-agent
    elif has kled-agent; then
        agent=kled-agent
    else
        fail "the coordinator has no bundle for $(uname -s) $(uname -m): kled-coord bundle add, or the template names another arch"
    fi
}

home=${HOME:-$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6 || :)}
find_agent
directory=@DIRECTORY@
cd "${home:-/}" 2>/dev/null || cd /
if [ -n "$directory" ]; then
    mkdir -p -- "$directory"
    cd -- "$directory"
fi

child= stopping=
stop() {
    stopping=1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || :
}
trap stop TERM INT HUP
# Run a program, which a signal to the script ends; its exit code is $code.
attend() {
    "$@" &
    child=$!
    code=0
    # A signal may have come before the child was known.
    [ -z "$stopping" ] || stop
    wait "$child" || code=$?
    # A trap ends the wait, not the program.
    while kill -0 "$child" 2>/dev/null; do wait "$child" || code=$?; done
    child=
}
wait_s=1
while :; do
    began=$(date +%s)
    attend "$agent" run
    [ -z "$stopping" ] || exit 0
    case $code in
        2) fail "the agent cannot use its settings and is not started again" ;;
        3) fail "the coordinator refuses the token of this agent, which is not started again" ;;
    esac
    [ $(($(date +%s) - began)) -lt 60 ] || wait_s=1
    say "the agent has ended (exit code $code) and is started again in $wait_s s"
    attend sleep "$wait_s"
    [ -z "$stopping" ] || exit 0
    [ "$wait_s" -ge 30 ] || wait_s=$((wait_s * 2))
done
