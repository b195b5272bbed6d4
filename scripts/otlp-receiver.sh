#!/usr/bin/env bash
# Installs a version of the Protobuf classes of OTLP from PyPI into target/ and prints the path of its Python:
#   otlp-receiver.sh VERSION
# Fails, and prints the reason, if Python or PyPI is not available.
set -euo pipefail

version=${1:?usage: otlp-receiver.sh VERSION}
folder=$(cd "$(dirname "$0")/.." && pwd)/target/otlp-$version

# Tests run in parallel: one installs, and the others wait for it.
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
# The last step of the installation writes this file, so an interrupted installation is repeated.
if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "opentelemetry-proto==$version" >&2
    touch "$folder/complete"
fi
echo "$folder/bin/python"
