#!/usr/bin/env bash
# Checks the files of packaging/ and ops/ and the workflows, with linters and schemas from PyPI and npm, and with
# promtool. Installs the linters, and Debian's promtool if none is in the path, below target/lint. Uses Caddy if it is
# installed.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/target/lint
if [ ! -x "$tools/bin/check-jsonschema" ]; then
    python3 -m venv "$tools" || { echo "lint-dist: install python3-venv" >&2; exit 1; }
    "$tools/bin/pip" install --quiet check-jsonschema==0.39.0 kubernetes-validate==1.37.0 yamllint==1.38.0
fi
[ -x "$tools/node_modules/.bin/dockerfile-utils" ] ||
    npm install --silent --no-audit --no-fund --prefix "$tools" dockerfile-utils@0.16.3

"$tools/bin/yamllint" --strict --config-data '{extends: relaxed, rules: {line-length: {max: 140}}}' packaging ops .github
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec packaging/container/compose*.yaml
"$tools/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$tools/bin/kubernetes-validate" --strict --quiet packaging/kubernetes/*.yaml
"$tools/node_modules/.bin/dockerfile-utils" lint packaging/container/Dockerfile
if command -v caddy >/dev/null; then
    for file in packaging/container/Caddyfile*; do
        STENTOR_HOST=live.example.org caddy validate --adapter caddyfile --config "$file" >"$tools/caddy.log" 2>&1 ||
            { cat "$tools/caddy.log" >&2; exit 1; }
    done
fi

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    promtool=$tools/prometheus/usr/bin/promtool
    if [ ! -x "$promtool" ]; then
        (cd "$tools" && apt-get download --quiet prometheus) ||
            { echo "lint-dist: run apt-get update, or install promtool" >&2; exit 1; }
        dpkg-deb --extract "$tools"/prometheus_*.deb "$tools/prometheus"
    fi
fi
(cd ops/prometheus && "$promtool" check config prometheus.yml && "$promtool" test rules alerts_test.yml) >"$tools/prometheus.log" 2>&1 ||
    { cat "$tools/prometheus.log" >&2; exit 1; }
"$tools/bin/python" -m json.tool ops/grafana/stentor.json /dev/null
echo "lint-dist: no findings"
