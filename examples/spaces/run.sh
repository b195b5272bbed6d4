#!/usr/bin/env bash
# Runs the Spaces app together with a Stentor node of this checkout, and prints the address. Ctrl-C ends both and
# removes everything they wrote.
#   run.sh [path of the stentor binary]
#   PORT=4100   port of the app; Stentor uses free ports
set -euo pipefail

stentor=$(realpath "${1:-$(dirname "$0")/../../target/debug/stentor}")
[[ -x $stentor ]] || { echo "$stentor is missing: run cargo build, or make spaces" >&2; exit 1; }
cd "$(dirname "$0")"
port=${PORT:-4100}
url=http://localhost:$port

# The packages are parts of this checkout, so they are built here. An app of your own gets them with `npm install`.
installed() { [[ -d $1/node_modules && ! $1/package-lock.json -nt $1/node_modules ]]; }
for folder in ../../web ../../sdk/node .; do
    installed "$folder" && continue
    echo "Installing packages in $(realpath "$folder")"
    npm ci --loglevel=error --no-audit --no-fund --prefix "$folder" >/dev/null
    touch "$folder/node_modules"
done
built() { [[ -f $1/dist/index.js && -z $(find "$1/src" -newer "$1/dist/index.js" -print -quit) ]]; }
built ../../web/client || npm run --silent --prefix ../../web build --workspace=@stentor/client
built ../../sdk/node || npm run --silent --prefix ../../sdk/node build

folder=$(mktemp -d "${TMPDIR:-/tmp}/stentor-spaces.XXXXXX")
pids=()
secret() { head -c 32 /dev/urandom | base64 -w 0; }
# start COMMAND…: runs the command in the background. The kernel kills it if this script dies.
start() {
    setpriv --pdeathsig KILL -- "$@" </dev/null &
    pids+=($!)
}
end() {
    trap - EXIT INT TERM HUP
    # Ends the app first, because it needs Stentor.
    for ((n = ${#pids[@]} - 1; n >= 0; n--)); do
        kill "${pids[n]}" 2>/dev/null && wait "${pids[n]}" 2>/dev/null || true
    done
    rm -rf "$folder"
    echo "Spaces has ended; no process and no file is left."
}
trap end EXIT
trap 'exit 0' INT TERM HUP

key=$(secret) jwt=k1:$(secret) webhook=whsec_$(secret)
# Secrets are in the environment, which other users of this machine cannot read; command lines are public.
export STENTOR__AUTH__API_KEYS=$key STENTOR__AUTH__JWT_SECRETS=$jwt STENTOR__WEBHOOKS__SECRETS=app:$webhook
start "$stentor" serve --config /dev/null \
    --set "node.data_dir=$folder/stentor" --set auth.mode=keys --set recording.mode=always --set log.format=json \
    --set listen.api=127.0.0.1:0 --set listen.ws=127.0.0.1:0 --set listen.hls=127.0.0.1:0 \
    --set listen.ops=127.0.0.1:0 --set "http.allowed_origins=$url,http://127.0.0.1:$port" \
    --set "webhooks.endpoints=app=$url/webhooks" >"$folder/stentor.log" 2>&1
unset "${!STENTOR__@}"

ready() { grep -s '"message":"ready"' "$folder/stentor.log"; }
until line=$(ready); do
    kill -0 "${pids[0]}" 2>/dev/null || { cat "$folder/stentor.log" >&2; exit 1; }
    sleep 0.1
done
# address NAME: prints the listening address with this name
address() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" <<<"$line"; }

export STENTOR_API="http://$(address api)" STENTOR_ORIGINS="http://$(address hls) ws://$(address ws)"
export STENTOR_API_KEY=$key STENTOR_JWT_SECRET=$jwt STENTOR_WEBHOOK_SECRET=$webhook
export SPACES_SECRET=$(secret) SPACES_FILE=$folder/spaces.json SPACES_URL=$url PORT=$port
start node server.mjs
wait -n
