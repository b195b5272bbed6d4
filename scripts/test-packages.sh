#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package on a separate machine with systemd:
# test-packages.sh BINARY
# The machine is a Debian 12 root below target/, booted in namespaces without network; this machine is not
# changed. Needs root and mmdebstrap. Prints one line per check; exits with 1 at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# = 1 ] || { echo "usage: $0 BINARY" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "$0: run as root" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "$0: install mmdebstrap" >&2; exit 1; }

base=$PWD/target/package-machine/base
work=$(mktemp -d)
init=
root=$work/root

end_machine() {
    [ -z "$init" ] || kill -KILL "$init" 2>/dev/null || true
    rm -rf "$work"
}
trap end_machine EXIT

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    [ -z "$init" ] || inside journalctl --no-pager -n 40 -u stentor >&2 || true
    exit 1
}
# passed TEXT: reports that the previous command succeeded.
passed() { printf 'ok: %s\n' "$*"; }
# check TEXT COMMAND...
check() {
    local text=$1
    shift
    "$@" || fail "$text ($*)"
    passed "$text"
}
# within SECONDS TEXT COMMAND...: the command succeeds before the deadline.
within() {
    local deadline=$((SECONDS + $1)) text=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "$text ($*)"
        sleep 0.2
    done
    passed "$text"
}

# Creates a Debian 12 root file system with systemd and the programs that the package depends on.
make_base() {
    [ -e "$base/usr/lib/systemd/systemd" ] && return
    echo "making a Debian 12 root in $base"
    rm -rf "$base"
    mkdir -p "$(dirname "$base")"
    mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,procps,curl,janus,ffmpeg bookworm "$base.new"
    # The service of the package janus would run a second Janus.
    chroot "$base.new" systemctl disable janus >/dev/null 2>&1
    mv "$base.new" "$base"
}

# Prints the script that runs as the first process of the namespaces.
first_process() {
    cat <<'SCRIPT'
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run dev tmp; do mount -t tmpfs -o mode=755 tmpfs $folder; done
chmod 1777 tmp
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/shm packages 2>/dev/null || true
mount --bind "$3" packages
ip link set lo up
mkdir before
pivot_root . before
exec env -i container=stentor PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c 'umount -l /before && rmdir /before && exec /lib/systemd/systemd --log-target=journal'
SCRIPT
}

boot() {
    mkdir -p "$root"
    unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child \
        bash -c "$(first_process)" first "$root" "$base" "$work/packages" </dev/null >"$work/boot" 2>&1 &
    local parent=$! deadline=$((SECONDS + 60))
    until init=$(pgrep -P "$parent") && inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; do
        [ $SECONDS -lt $deadline ] || { cat "$work/boot" >&2; fail "systemd boots"; }
        sleep 0.2
    done
    passed "systemd $(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p') is process 1"
}

inside() {
    nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root="/proc/$init/root" --wd="/proc/$init/root" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

property() { inside systemctl show --property "$1" --value stentor; }
has_property() { [ "$(property "$1")" = "$2" ]; }
main_pid_is_not() { [ "$(property MainPID)" != "$1" ] && [ "$(property MainPID)" != 0 ]; }

api() {
    local method=$1 path=$2 key
    shift 2
    key=$(inside cat /etc/stentor/api-keys)
    inside curl -fsS -X "$method" -H "Authorization: Bearer $key" -H 'Content-Type: application/json' \
        "$@" "http://127.0.0.1:3000/api/$path"
}
status_is() { api GET "rooms/$1" | grep -q "\"status\":\"$2\""; }

# A listener decodes three seconds of the room.
listen() {
    local token
    token=$(api POST token -d "{\"roomId\": \"$1\"}" | sed 's/.*"token":"\([^"]*\).*/\1/')
    inside ffmpeg -loglevel error -y -t 3 -i \
        "http://127.0.0.1:8080/hls/rooms/$1/index.m3u8?token=$token" /tmp/heard.wav
    [ "$(inside stat -c %s /tmp/heard.wav)" -gt 200000 ]
}

# Lists the files on the machine, except temporary files, logs and the records of dpkg and apt.
files() {
    inside find / -xdev ! -path '/tmp/*' ! -path '/packages*' ! -path '/run/*' ! -path '/var/cache/*' \
        ! -path '/var/lib/dpkg/*' ! -path '/var/log/*' ! -path '/var/lib/apt/*' ! -name '*-' ! -name '.pwd.lock' |
        sort
}

make_packages() {
    local binary=$work/stentor
    mkdir -p "$work/packages"
    cp "$1" "$binary"
    strip "$binary"
    # There is no release yet: `old` is the same program with a lower version, in place of the last release.
    export DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1
    old=/packages/$(basename "$(packaging/build.sh deb "$binary" "$work/packages" 0.0.1)")
    new=/packages/$(basename "$(packaging/build.sh deb "$binary" "$work/packages")")
}

make_base
make_packages "$1"
boot
files >"$work/before"

check "the package is installed" inside dpkg -i "$old"
within 60 "the service is active, as the node reported with READY=1" has_property ActiveState active
check "it is enabled at boot" inside systemctl is-enabled --quiet stentor
check "it runs as its own user" has_property User stentor
check "the unit passes systemd-analyze verify" inside systemd-analyze verify /usr/lib/systemd/system/stentor.service
exposure=$(inside systemd-analyze security --threshold=30 --no-pager stentor | tail -n 1) || fail "systemd-analyze security"
passed "systemd-analyze security: ${exposure#→ }"
within 60 "the node answers at /readyz" inside curl -fsS http://127.0.0.1:9464/readyz
within 60 "the status line says ready" has_property StatusText ready
[ "$(inside stat -c '%U %a' /var/lib/stentor)" = 'stentor 700' ] || fail "/var/lib/stentor is private"
[ "$(inside stat -c '%U:%G %a' /etc/stentor/api-keys)" = 'root:stentor 640' ] || fail "api-keys is protected"
passed "data directory and key file have their modes"

api POST rooms -d '{"roomId": "check", "start": true}' >/dev/null
within 60 "a room is on air: Janus and FFmpeg work in the sandbox" status_is check onair
within 60 "a listener hears the room" listen check

pid=$(property MainPID)
check "reload" inside systemctl reload stentor
within 60 "the service is active after the reload" has_property ActiveState active
check "the reload kept the process" has_property MainPID "$pid"

inside mkdir -p /run/systemd/system/stentor.service.d
inside sh -c 'printf "[Service]\nWatchdogSec=5\n" >/run/systemd/system/stentor.service.d/watchdog.conf'
inside systemctl daemon-reload
inside systemctl restart stentor
pid=$(property MainPID)
within 60 "the service is active with a watchdog of 5 s" has_property ActiveState active
inside kill -STOP "$pid"
within 60 "the watchdog replaces a frozen node" main_pid_is_not "$pid"
within 60 "the service is active again" has_property ActiveState active
check "the restart was the watchdog's" inside sh -c 'journalctl -u stentor | grep -q "Watchdog timeout"'
inside rm -r /run/systemd/system/stentor.service.d
inside systemctl daemon-reload

inside sh -c 'echo "# edited" >>/etc/stentor/config.yaml'
key=$(inside cat /etc/stentor/api-keys)
pid=$(property MainPID)
check "the package is upgraded" inside dpkg -i "$new"
within 60 "the upgrade restarted the service" main_pid_is_not "$pid"
within 60 "the service is active after the upgrade" has_property ActiveState active
check "the edited configuration is kept" inside grep -q '# edited' /etc/stentor/config.yaml
[ "$(inside cat /etc/stentor/api-keys)" = "$key" ] || fail "the key is kept"
within 60 "the room is on air again" status_is check onair
within 60 "a listener hears the room after the upgrade" listen check

started=$SECONDS
check "an orderly stop" inside systemctl stop stentor
[ $((SECONDS - started)) -lt 60 ] || fail "the stop is ordered"
check "the stop was a success" has_property Result success
inside systemctl start stentor

check "the package is removed" inside dpkg -r stentor
check "no process of the user is left" inside sh -c '! pgrep -u stentor'
check "removal keeps configuration and data" inside test -e /etc/stentor/config.yaml -a -d /var/lib/stentor
check "it is installed again" inside dpkg -i "$new"
within 60 "the room survived the removal" status_is check onair
check "the package is purged" inside dpkg -P stentor
check "purge removes user and group" inside sh -c '! getent passwd stentor && ! getent group stentor'
files >"$work/after"
diff "$work/before" "$work/after" || fail "purge leaves nothing behind"
passed "purge leaves nothing behind"
