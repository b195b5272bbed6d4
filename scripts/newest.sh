#!/usr/bin/env bash
# Unpacks a program of Debian's suite sid below target/sid and prints the path of a file that runs it:
#   newest.sh PACKAGE [PROGRAM]
# Without PROGRAM, the program has the name of its package. Installs nothing. Needs apt, dpkg-deb and network access to the
# configured Debian mirror. Exit 0: the program works; its path is the last line. 2: not available here; the
# reason is on standard error.
set -euo pipefail

package=${1:?usage: newest.sh PACKAGE [PROGRAM]}
name=${2:-$package}
root=$(cd "$(dirname "$0")/.." && pwd)/target/sid/$package
program=$root/$name

unavailable() {
    echo "newest.sh: $*" >&2
    exit 2
}

# The mirror that this machine uses for its own Debian release.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(SUITE)' |
        sed -n 's/^\(.*\/debian\/\?\) main [^-]*$/\1/p' | sort -u | head -n 1
}

download() {
    local apt=$root/apt uri
    uri=$(mirror)
    [ -n "$uri" ] || unavailable "apt has no Debian mirror configured"
    mkdir -p "$apt"/{lists/partial,cache/archives/partial}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri sid main" >"$apt/sources.list"
    # With an empty status file, apt downloads every dependency, including the C library.
    : >"$apt/status"
    local options=(
        -q -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o APT::Sandbox::User=root -o Debug::NoLocking=1
    )
    apt-get "${options[@]}" update >&2 || unavailable "the mirror does not answer"
    apt-get "${options[@]}" -y --no-install-recommends --download-only install "$package" >&2 ||
        unavailable "the mirror has no $package in sid"
    mkdir -p "$root/fs"
    local archive
    for archive in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$archive" "$root/fs"; done
    rm -r "$apt"
}

# The program runs under its own loader and libraries. The link gives the process the name of the program.
write_program() {
    local libraries=$root/fs/usr/lib/x86_64-linux-gnu folders
    folders=$(find "$libraries" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
    mkdir -p "$root/loader"
    ln -sfn "$libraries/ld-linux-x86-64.so.2" "$root/loader/$name"
    cat >"$program" <<PROGRAM
#!/bin/sh
# Runs the unpacked program. GStreamer would run a scanner of its own, which has another loader.
export GST_PLUGIN_SYSTEM_PATH="$libraries/gstreamer-1.0" GST_REGISTRY_FORK=no GST_REGISTRY="$root/gst-registry"
export GIO_MODULE_DIR="$libraries/gio/modules"
exec "$root/loader/$name" --library-path "$folders" "$root/fs/usr/bin/$name" "\$@"
PROGRAM
    chmod +x "$program"
}

works() { [ -x "$program" ] && "$program" --help >/dev/null 2>&1; }

if ! works; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || unavailable "apt and dpkg are needed"
    [ "$(dpkg --print-architecture)" = amd64 ] || unavailable "only amd64 is supported"
    rm -rf "$root"
    download
    write_program
    works || unavailable "the unpacked $package does not run"
fi
echo "$program"
