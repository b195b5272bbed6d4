#!/usr/bin/env bash
# Installs, starts, upgrades, removes and purges a Debian package: package.sh PACKAGES OLD NEW
# OLD and NEW are files in the folder PACKAGES. Works on an overlay of this machine in namespaces without
# network, so that nothing is changed here. Without systemd: the node is started as its unit says.
# Exit 0: all checks passed. 77: not possible here, because root or overlays are missing.
set -euo pipefail

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" -eq 0 ] || exit 77
    unshare --mount --net --pid --fork true 2>/dev/null || exit 77
    exec unshare --mount --net --pid --fork --kill-child "$0" --inside "$@"
fi
packages=$2 old=$3 new=$4

mount --make-rprivate /
# These mounts exist in this mount namespace only.
over=/mnt
mount -t tmpfs tmpfs "$over"
mkdir "$over"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$over/upper,workdir=$over/work" "$over/root" 2>/dev/null || exit 77
root=$over/root
# An overlay does not show other file systems below the root.
[ -x "$root/usr/bin/dpkg" ] && [ -e "$root/var/lib/dpkg/status" ] || exit 77
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/tmp/packages"
mount --bind "$packages" "$root/tmp/packages"
ip link set lo up

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
fail() {
    printf 'FAILED: %s\n' "$*"
    cat "$root/tmp/log" 2>/dev/null || true
    exit 1
}

# Paths that the package left or changed, without the records of dpkg and of the log.
left() {
    (cd "$over/upper" && find . ! -type d ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/*' \
        ! -name '*-' ! -name '.pwd.lock' ! -path './etc/passwd' ! -path './etc/group' ! -path './etc/shadow' \
        ! -path './etc/gshadow' ! -path './etc/subuid' ! -path './etc/subgid')
    [ ! -e "$root/etc/stentor" ] || echo /etc/stentor
    [ ! -e "$root/var/lib/stentor" ] || echo /var/lib/stentor
    inside getent passwd stentor || inside getent group stentor || true
}

# Starts the node with the ExecStart, User and WorkingDirectory of the installed unit.
start() {
    local unit=$root/usr/lib/systemd/system/stentor.service command
    command=$(sed -n 's/^ExecStart=//p' "$unit")
    user=$(sed -n 's/^User=//p' "$unit")
    # Do not use `inside`: the process id must be the node's.
    chroot "$root" env -i PATH=/usr/bin:/bin setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs \
        sh -c "cd /var/lib/stentor && exec $command" >"$root/tmp/log" 2>&1 &
    node=$!
    local deadline=$((SECONDS + 60))
    until inside curl -fs http://127.0.0.1:9464/readyz >/dev/null; do
        kill -0 "$node" 2>/dev/null || fail "the node runs"
        [ $SECONDS -lt $deadline ] || fail "the node is ready"
        sleep 0.1
    done
}

stop() {
    kill "$node"
    wait "$node" || fail "the node ends in order"
}

api() {
    inside sh -c 'curl -fs -H "Authorization: Bearer $(cat /etc/stentor/api-keys)" "$@"' - "$@"
}

inside dpkg -i "/tmp/packages/$old" || fail "install"
grep -qE '^[0-9a-f]{48}$' "$root/etc/stentor/api-keys" || fail "a key is made"
start
[ "$(inside stat -c %U:%a /var/lib/stentor)" = stentor:700 ] || fail "the data directory is private"
api -X POST -H 'Content-Type: application/json' -d '{"roomId":"kept"}' http://127.0.0.1:3000/api/rooms || fail "the key works"
stop
echo '# edited' >>"$root/etc/stentor/config.yaml"
inside dpkg -i "/tmp/packages/$new" || fail "upgrade"
grep -q '# edited' "$root/etc/stentor/config.yaml" || fail "an edited configuration is kept"
start
api http://127.0.0.1:3000/api/rooms/kept || fail "the upgrade keeps rooms and key"
stop
inside dpkg -r stentor || fail "remove"
[ -e "$root/etc/stentor/api-keys" ] && [ -e "$root/var/lib/stentor/store.redb" ] || fail "removal keeps key and data"
inside dpkg -P stentor || fail "purge"
rest=$(left)
[ -z "$rest" ] || fail "purge leaves nothing: $rest"
