#!/usr/bin/env bash
# Installs only packages that are missing: setup.sh build|demo|spaces|test|players|arm64|machine
#   build    packages for compiling       demo   build, and packages that a node needs
#   spaces   demo, and Node for the app   test   spaces, and packages for the tests
#   players  test, and WebKitGTK          arm64  build, and packages for cross-building
#   machine  build, and packages for a Debian root file system in which packages and images are tested
# Safe to repeat. Services that Debian starts for a package installed here are stopped; no others are.
set -euo pipefail

# Directories of tools for administrators are not in every user's path.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '\033[1msetup:\033[0m %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

has() { command -v "$1" >/dev/null 2>&1; }

# "package|test that it is installed"
wanted() {
    # protoc alone fails on google/protobuf/*.proto, and gcc alone on stdio.h: both need the -dev package.
    cat <<'LIST'
gcc|has cc
libc6-dev|has_header stdio.h
protobuf-compiler|has protoc
libprotobuf-dev|has_header google/protobuf/descriptor.proto
LIST
    [ "$1" = build ] && return
    if [ "$1" = arm64 ]; then
        cat <<'LIST'
gcc-aarch64-linux-gnu|has aarch64-linux-gnu-gcc
libc6-dev-arm64-cross|has_package libc6-dev-arm64-cross
qemu-user-static|has qemu-aarch64-static
LIST
        return
    fi
    if [ "$1" = machine ]; then
        cat <<'LIST'
mmdebstrap|has mmdebstrap
LIST
        return
    fi
    cat <<'LIST'
janus|has janus
ffmpeg|has ffmpeg
LIST
    [ "$1" = demo ] && return
    cat <<'LIST'
nodejs|has node
npm|has npm
LIST
    [ "$1" = spaces ] && return
    cat <<'LIST'
etcd-server|has etcd
etcd-client|has etcdctl
redis-server|has redis-server
chromium|has chromium
firefox-esr|has firefox-esr
pulseaudio|has pulseaudio
nginx-light|has nginx
prometheus|has promtool
tmux|has tmux
wrk|has wrk
iproute2|has ip
nftables|has nft
systemd|has systemd-analyze
faketime|has faketime
bsdextrautils|has column
python3|has python3
python3-venv|has_python ensurepip
python3-httpx|has_python attrs,httpx
python3-attr|has_python attrs,httpx
golang-go|has go
mpv|has mpv
vlc-bin|has vlc
vlc-plugin-base|has_package vlc-plugin-base
gstreamer1.0-tools|has gst-launch-1.0
gstreamer1.0-plugins-base|has_package gstreamer1.0-plugins-base
gstreamer1.0-plugins-good|has_package gstreamer1.0-plugins-good
gstreamer1.0-plugins-bad|has_package gstreamer1.0-plugins-bad
gstreamer1.0-libav|has_package gstreamer1.0-libav
curl|has curl
icecast2|has icecast2
LIST
    [ "$1" = test ] && return
    cat <<'LIST'
webkit2gtk-driver|has WebKitWebDriver
xvfb|has xvfb-run
xauth|has xauth
LIST
}

has_header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]; }

# Only /usr/bin/python3 finds the modules of Debian's packages; another Python may be first in the path. One Python
# must have all of the modules.
has_python() { python3 -c "import $1" 2>/dev/null || /usr/bin/python3 -c "import $1" 2>/dev/null; }

has_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing() {
    local package test
    wanted "$1" | while IFS='|' read -r package test; do
        $test || echo "$package"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 "$@"
}

known_to_apt() {
    local package
    for package in "$@"; do
        apt-cache policy "$package" | grep -q 'Candidate: [^(]' || return 1
    done
}

installed() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort; }
services() { find /etc/init.d /lib/systemd/system /usr/lib/systemd/system -type f 2>/dev/null | sort -u; }

# The package lists may be older than the packages on the mirror. apt then reports "not found", so update and retry.
install() {
    known_to_apt "$@" || apt update
    apt install -y --no-install-recommends "$@" && return
    say "trying again with fresh package lists"
    apt update
    apt install -y --no-install-recommends "$@"
}

# Stops services of a package that was not installed before, if their unit or script is new as well.
stop_new_services() {
    local packages_before=$1 services_before=$2 file name
    comm -13 "$packages_before" <(installed) | while read -r package; do
        dpkg -L "$package"
    done | sort -u | comm -12 - <(services) | comm -23 - "$services_before" | while read -r file; do
        name=$(basename "$file" .service)
        case "$file" in
            *@.service) ;;
            *.service) stop_unit "$name" ;;
            # systemd generates a unit for a script without one.
            /etc/init.d/*) stop_unit "$name" && stop_script "$name" ;;
        esac
    done
}

stop_unit() {
    [ -d /run/systemd/system ] && systemctl is-active --quiet "$1" || return 0
    say "stopping the service $1, which was just installed (at boot: systemctl disable $1)"
    as_root systemctl stop "$1" </dev/null
}

stop_script() {
    [ -d /run/systemd/system ] && return
    as_root "/etc/init.d/$1" status >/dev/null 2>&1 </dev/null || return 0
    say "stopping the service $1, which was just installed"
    as_root "/etc/init.d/$1" stop </dev/null
}

main() {
    local profile=${1:-} before packages
    case "$profile" in
        build | demo | spaces | test | players | arm64 | machine) ;;
        *) fail "usage: $0 build|demo|spaces|test|players|arm64|machine" ;;
    esac
    has cargo || fail "cargo is missing: install a Rust toolchain first, see https://rustup.rs"

    mapfile -t packages < <(missing "$profile")
    [ ${#packages[@]} -eq 0 ] && return
    has apt-get || fail "there is no apt here; install what these Debian packages hold: ${packages[*]}"
    [ "$(id -u)" -eq 0 ] || has sudo || fail "run as root or with sudo: apt-get install ${packages[*]}"

    say "installing ${packages[*]}"
    before=$(mktemp -d)
    installed >"$before/packages"
    services >"$before/services"
    install "${packages[@]}" || fail "apt could not install: ${packages[*]}"
    stop_new_services "$before/packages" "$before/services"
    rm -r "$before"

    mapfile -t packages < <(missing "$profile")
    [ ${#packages[@]} -eq 0 ] || fail "still missing after the installation: ${packages[*]}"
}

main "$@"
