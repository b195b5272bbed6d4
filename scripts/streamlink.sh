#!/usr/bin/env bash
# Installs a version of streamlink from PyPI into target/ and prints the path of the program:
#   streamlink.sh VERSION
# Fails, and prints the reason, if Python or PyPI is not available.
set -euo pipefail

version=${1:?usage: streamlink.sh VERSION}
folder=$(cd "$(dirname "$0")/.." && pwd)/target/streamlink-$version

# The last step of the installation writes this file, so an interrupted installation is repeated.
if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "streamlink==$version" >&2
    touch "$folder/complete"
fi
echo "$folder/bin/streamlink"
