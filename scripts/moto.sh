#!/usr/bin/env bash
# Installs a version of moto, an S3-compatible server, from PyPI into target/ and prints the path of its
# program:
#   moto.sh VERSION
# Fails, and prints the reason, if Python or PyPI is not available.
set -euo pipefail

version=${1:?usage: moto.sh VERSION}
folder=$(cd "$(dirname "$0")/.." && pwd)/target/moto-$version

# Several tests may run this script at the same time; one installs moto while the others wait.
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
# The last step of the installation writes this file, so an interrupted installation is repeated.
if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "moto[s3]==$version" flask flask-cors >&2
    touch "$folder/complete"
fi
echo "$folder/bin/moto_server"
