#!/bin/sh
# Builds the pages and compares them with the committed web/dist, which the binary embeds.
# Exit 0: the same. 1: they differ (run `npm --prefix web run build` and commit). 2: no node or npm here.
set -eu
cd "$(dirname "$0")/../web"
command -v node >/dev/null && command -v npm >/dev/null || { echo "web-check: node and npm are not installed" >&2; exit 2; }
[ -d node_modules ] && [ ! package-lock.json -nt node_modules ] || { npm ci --no-progress >/dev/null && touch node_modules; }
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
npm run --silent check
npx --no-install vite build --logLevel warn --emptyOutDir --outDir "$fresh" >/dev/null
if diff -r "$fresh" dist >&2; then
  echo "web-check: web/dist is what web/src builds"
else
  echo "web-check: web/dist is stale; run: npm --prefix web run build, and commit the result" >&2
  exit 1
fi
