#!/usr/bin/env bash
# Unpacks Debian's newest Janus (suite sid) below target/janus-sid and prints the path of a program that runs
# it. Installs nothing. Needs apt, dpkg-deb and network access to the configured Debian mirror. Exit 0: the
# program works; its path is the last line. 2: not available here; the reason is on standard error.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD/target/janus-sid
program=$root/janus

unavailable() {
    echo "newest-janus: $*" >&2
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
    apt-get "${options[@]}" -y --no-install-recommends --download-only install janus >&2 ||
        unavailable "the mirror has no janus in sid"
    mkdir -p "$root/fs"
    local package
    for package in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root/fs"; done
    rm -r "$apt"
}

# Janus runs under its own loader and libraries. The link gives the process the name `janus`.
write_program() {
    local libraries=$root/fs/usr/lib/x86_64-linux-gnu
    mkdir -p "$root/loader"
    ln -sfn "$libraries/ld-linux-x86-64.so.2" "$root/loader/janus"
    cat >"$program" <<PROGRAM
#!/bin/sh
# janus [-F folder]: runs the unpacked Janus with the configuration in folder, and with its own modules.
if [ "\$1" = -F ]; then
    modules="$libraries/janus"
    sed -i "1,/general: {/s|general: {|general: { plugins_folder = \"\$modules/plugins\"; \
transports_folder = \"\$modules/transports\"; loggers_folder = \"\$modules/loggers\"; \
events_folder = \"\$modules/events\";|" "\$2/janus.jcfg" || exit
fi
exec "$root/loader/janus" --library-path "$libraries" "$root/fs/usr/bin/janus" "\$@"
PROGRAM
    chmod +x "$program"
}

works() { [ -x "$program" ] && "$program" --version >/dev/null 2>&1; }

if ! works; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || unavailable "apt and dpkg are needed"
    [ "$(dpkg --print-architecture)" = amd64 ] || unavailable "only amd64 is supported"
    rm -rf "$root"
    download
    write_program
    works || unavailable "the unpacked Janus does not run"
fi
echo "$program"
