#!/usr/bin/env bash
# Builds a version of Pebble, a certificate authority for ACME tests, and its DNS server from the Go module
# proxy into target/, and prints the path of their folder:
#   pebble.sh VERSION
# Fails, and prints the reason, if Go is missing or too old, or the proxy is not available.
set -euo pipefail

version=${1:?usage: pebble.sh VERSION}
folder=$(cd "$(dirname "$0")/.." && pwd)/target/pebble-$version

# Several tests may run this script at the same time; one builds Pebble while the others wait.
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
# The last step of the build writes this file, so an interrupted build is repeated.
if [ ! -e "$folder/complete" ]; then
    command -v go >/dev/null || { echo "pebble.sh: Go is missing" >&2; exit 1; }
    rm -rf "$folder"
    module=github.com/letsencrypt/pebble/v2
    GOBIN=$folder go install "$module/cmd/pebble@v$version" "$module/cmd/pebble-challtestsrv@v$version" >&2
    touch "$folder/complete"
fi
echo "$folder"
