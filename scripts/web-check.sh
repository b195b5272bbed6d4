#!/bin/sh
# Checks the syntax of the Spaces app. Runs the tests of the pages and of the client library. Builds the pages and
# compares them with the committed web/dist, which the binary embeds. Checks the client library as it would be
# published. Exit 0: no problem was found. 1: a check failed. 2: node or npm is not installed.
set -eu
cd "$(dirname "$0")/../web"
command -v node >/dev/null && command -v npm >/dev/null || { echo "web-check: node and npm are not installed" >&2; exit 2; }
[ -d node_modules ] && [ ! package-lock.json -nt node_modules ] || { npm ci --no-progress >/dev/null && touch node_modules; }
for script in ../examples/spaces/*.mjs ../examples/spaces/web/*.js; do node --check "$script"; done
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

# Runs a checker of npm packages. If the registry does not have it, prints a line that says so.
checked() {
  name=$1
  shift
  rm -f "$packed/status"
  npm exec --yes --fetch-retries=0 --package="$name" -- sh -c '"$@"; echo $? >"$0"' "$packed/status" "$@" >"$packed/report" 2>&1 || true
  if [ ! -s "$packed/status" ]; then
    echo "web-check: $name is not available here; the package was not checked with it"
  elif [ "$(cat "$packed/status")" != 0 ]; then
    cat "$packed/report" >&2
    exit 1
  fi
}
packed=$(mktemp -d)
trap 'rm -rf "$fresh" "$packed"' EXIT
(cd client && npm pack --silent --pack-destination "$packed" >/dev/null)
checked publint@0.3.25 publint run --strict "$packed"/stentor-client-*.tgz
checked @arethetypeswrong/cli@0.18.5 attw --profile esm-only "$packed"/stentor-client-*.tgz
echo "web-check: the package of @stentor/client is well formed"
