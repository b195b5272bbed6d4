#!/usr/bin/env bash
# Installs a version of feedparser, an RSS parser, from PyPI into target/. Prints the path of a Python that
# can import it:
#   feedparser.sh VERSION
# Fails, and prints the reason, if Python or PyPI is not available.
set -euo pipefail

version=${1:?usage: feedparser.sh VERSION}
folder=$(cd "$(dirname "$0")/.." && pwd)/target/feedparser-$version

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
# The last step of the installation writes this file, so an interrupted installation is repeated.
if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check "feedparser==$version" >&2
    touch "$folder/complete"
fi
echo "$folder/bin/python"
