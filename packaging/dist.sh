#!/usr/bin/env bash
# Builds the program, its tarball and its Debian package: dist.sh FOLDER [amd64|arm64]...
# Without an architecture: that of this machine, and on amd64 also arm64 if the tools for it can be had. The packages of
# another architecture are cross-built, and qemu-user runs their program. Checks each package; nothing is installed
# except the tools.
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: $0 FOLDER [amd64|arm64]..." >&2; exit 2; }
folder=$1
shift
cd "$(dirname "$0")/.."
here=$(dpkg --print-architecture)
target=aarch64-unknown-linux-gnu

fail() { printf 'dist: %s\n' "$*" >&2; exit 1; }
has_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; }

# Installs the tools for arm64. Fails if this machine cannot have them.
arm64_tools() {
    has_target || { command -v rustup >/dev/null && rustup target add "$target"; } || return
    scripts/setup.sh arm64
}

# build ARCHITECTURE: sets `binary`, and `EMULATOR` for a program that this machine cannot run itself.
build() {
    export EMULATOR=
    if [ "$1" = "$here" ]; then
        scripts/setup.sh build
        cargo build --package stentor --locked --profile dist
        binary=target/dist/stentor
        return
    fi
    [ "$here-$1" = amd64-arm64 ] || fail "$1 is not built on $here; use a machine of that architecture"
    arm64_tools || fail "arm64 needs rustup, or a toolchain with the target $target, and Debian's cross compiler"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        cargo build --package stentor --locked --profile dist --target "$target"
    binary=target/$target/dist/stentor
    EMULATOR="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
}

# check ARCHITECTURE PACKAGE: the program in the package runs and accepts the configuration in the package.
check() {
    local version
    version=$(dpkg-deb --field "$2" Version)
    [ "$(dpkg-deb --field "$2" Architecture)" = "$1" ] || fail "$2 is not for $1"
    rm -rf "$work/root"
    dpkg-deb --extract "$2" "$work/root"
    # shellcheck disable=SC2086 # The emulator has arguments.
    [ "$($EMULATOR "$work/root/usr/bin/stentor" --version)" = "stentor $version" ] || fail "$2 has another version"
    # The installation creates this file.
    echo key-of-this-check-0123456789 >"$work/api-keys"
    # shellcheck disable=SC2086
    STENTOR__AUTH__API_KEYS_FILE=$work/api-keys \
        $EMULATOR "$work/root/usr/bin/stentor" check-config --config "$work/root/etc/stentor/config.yaml" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; fail "$2: check-config failed"; }
    [ -s "$work/root/usr/share/man/man1/stentor.1.gz" ] || fail "$2 has no manual page"
}

architectures=("$@")
if [ $# -eq 0 ]; then
    architectures=("$here")
    if [ "$here" = amd64 ]; then
        if arm64_tools; then architectures+=(arm64); else echo "dist: arm64 is left out, its tools are not available" >&2; fi
    fi
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for architecture in "${architectures[@]}"; do
    build "$architecture"
    packaging/build.sh tarball "$binary" "$folder"
    package=$(packaging/build.sh deb "$binary" "$folder")
    check "$architecture" "$package"
    echo "$package"
done
