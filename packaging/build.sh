#!/usr/bin/env bash
# Makes a tarball or a Debian package of a built program: build.sh tarball|deb BINARY FOLDER [VERSION]
# Prints its path. Needs dpkg-deb, binutils and coreutils; runs as any user. SOURCE_DATE_EPOCH dates
# all files, by default with the last commit, so that equal sources give equal packages. EMULATOR is the command that
# runs a program for another machine; the program prints its completions and manual pages itself.
set -euo pipefail

usage() { echo "usage: $0 tarball|deb BINARY FOLDER [VERSION]" >&2; exit 2; }
[ $# -ge 3 ] || usage
kind=$1 binary=$(realpath "$2")
mkdir -p "$3"
folder=$(realpath "$3")
cd "$(dirname "$0")/.."
version=${4:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
export SOURCE_DATE_EPOCH

case "$(LC_ALL=C readelf -h "$binary" | sed -n 's/^ *Machine: *//p')" in
    *X86-64*) machine=x86_64 architecture=amd64 ;;
    AArch64) machine=aarch64 architecture=arm64 ;;
    *) echo "$0: $binary is for an unsupported machine" >&2; exit 1 ;;
esac
# Newest version of the C library that a symbol of the program needs.
glibc=$(LC_ALL=C readelf -W --version-info "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086 # The emulator has arguments.
run() { ${EMULATOR-} "$binary" "$@"; }

documents=(README.md CHANGELOG.md SECURITY.md LICENSE config.yaml docs examples ops)
copy_documents() {
    cp -r "${documents[@]}" "$1"
    find "$1" -name node_modules -prune -exec rm -rf {} +
}

# Gives all files plain modes and one date.
settle() {
    find "$1" -type d -exec chmod 755 {} +
    find "$1" -type f -exec chmod 644 {} +
    find "$1" -type f \( -path '*/bin/*' -o -path "$work/stentor-*/stentor" -o -path '*/DEBIAN/p*' \) -exec chmod 755 {} +
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

tarball() {
    local name=stentor-$version-$machine-linux
    mkdir "$work/$name"
    cp "$binary" "$work/$name/stentor"
    copy_documents "$work/$name"
    # A program that no package manager owns lives in /usr/local.
    sed 's|/usr/bin/stentor|/usr/local/bin/stentor|; s|/usr/share/doc|/usr/local/share/doc|' \
        packaging/stentor.service >"$work/$name/stentor.service"
    cp packaging/config.yaml "$work/$name/service.yaml"
    settle "$work/$name"
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -c "$name" | gzip -9n >"$folder/$name.tar.gz"
    echo "$folder/$name.tar.gz"
}

package() {
    local root=$work/root doc=$work/root/usr/share/doc/stentor file=$folder/stentor_${version}_$architecture.deb
    mkdir -p "$root"/{DEBIAN,etc/stentor,usr/bin,usr/lib/systemd/system} "$doc"
    cp "$binary" "$root/usr/bin/stentor"
    cp packaging/stentor.service "$root/usr/lib/systemd/system/"
    cp packaging/config.yaml "$root/etc/stentor/"
    copy_documents "$doc"
    mv "$doc/LICENSE" "$doc/copyright"
    mkdir -p "$root"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
    run completions bash >"$root/usr/share/bash-completion/completions/stentor"
    run completions zsh >"$root/usr/share/zsh/vendor-completions/_stentor"
    run completions fish >"$root/usr/share/fish/vendor_completions.d/stentor.fish"
    run man "$root/usr/share/man/man1"
    gzip -9n "$root"/usr/share/man/man1/*
    echo /etc/stentor/config.yaml >"$root/DEBIAN/conffiles"
    cp packaging/deb/{postinst,prerm,postrm} "$root/DEBIAN/"
    (cd "$root" && find etc usr -type f -exec md5sum {} + | sort -k 2) >"$root/DEBIAN/md5sums"
    sed -e "s/@VERSION@/$version/; s/@ARCH@/$architecture/; s/@GLIBC@/${glibc#GLIBC_}/" \
        -e "s/@SIZE@/$(du -sk --apparent-size "$root" | cut -f 1)/" packaging/deb/control.in >"$root/DEBIAN/control"
    settle "$root"
    dpkg-deb --root-owner-group --build "$root" "$file" >/dev/null
    echo "$file"
}

case "$kind" in tarball) tarball ;; deb) package ;; *) usage ;; esac
