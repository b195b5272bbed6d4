#!/bin/sh
# Runs a node with rooms and listeners on this machine, and writes the screenshots of docs/operations.md from it.
#
#   scripts/screenshots.sh [MINUTES]
#
# The charts show the last MINUTES, by default 10. Needs target/debug/stentor (cargo build), Janus, FFmpeg, node and
# Chromium.
set -eu
cd "$(dirname "$0")/.."
minutes=${1:-10}
stentor=$PWD/target/debug/stentor
folder=$(mktemp -d)
pids=
stop() {
  for pid in $pids; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 1' INT TERM

key=a-key-for-screenshots
free() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'; }
api=127.0.0.1:$(free) ops=127.0.0.1:$(free)
chmod 700 "$folder"
"$stentor" serve --config /dev/null --set node.data_dir="$folder" --set node.id=node-1 --set listen.api="$api" \
  --set listen.ops="$ops" --set listen.ws=127.0.0.1:0 --set listen.hls=127.0.0.1:0 \
  --set auth.mode=keys --set auth.api_keys="$key" 2>"$folder/log" &
pids="$pids $!"
export STENTOR_API="http://$api" STENTOR_OPS="http://$ops" STENTOR_API_KEY="$key"
until curl -sf "http://$ops/readyz" >"$folder/ready"; do sleep 0.2; done
create() { curl -sf -H "authorization: Bearer $key" -H 'content-type: application/json' "http://$api/api/rooms" -d "$1" >"$folder/room"; }
create '{"roomId": "morning-show", "title": "The morning show", "start": true}'
create '{"roomId": "tea-room", "title": "Tea with Ann", "start": true}'
create '{"roomId": "board-meeting", "title": "Board meeting", "backstage": true}'
create "{\"roomId\": \"jazz-night\", \"title\": \"Jazz night\", \"startsAt\": \"$(date -u -d '+3 days' +%Y-%m-%dT18:00:00Z)\"}"
end=$(($(date +%s) + 60 * minutes))
listeners=10
while [ "$(date +%s)" -lt "$end" ]; do
  "$stentor" load --listeners "$listeners" --plain 3 --seconds 50 >"$folder/report" &
  load=$!
  pids="$pids $load"
  wait "$load" || { cat "$folder/log" >&2; exit 1; }
  listeners=$((listeners % 40 + 10))
done
"$stentor" load --listeners 24 --plain 3 --seconds 120 >"$folder/report" &
pids="$pids $!"
mkdir -p docs/images
(cd tests/browser && node screenshots.mjs "http://$ops" "$key" ../../docs/images)
ls -l docs/images
