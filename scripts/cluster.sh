#!/usr/bin/env bash
# Runs a whole Stentor cluster on this machine, for experiments: three etcd members, Redis, two Janus nodes,
# two mixers, two gateways, two API nodes, two listener nodes, and nginx as their common address.
# All addresses are on loopback. TCP ports begin at $CLUSTER_PORT (default 19100); UDP ports are 25000-28999. Only the
# WebRTC ports of the two Januses, UDP 20000-24999, are on all interfaces. Ctrl-C ends it and removes everything.
#   cluster.sh [path of the stentor binary]
set -euo pipefail

STENTOR=$(realpath "${1:-target/debug/stentor}")
FIRST=${CLUSTER_PORT:-19100}
# nginx is in a directory that is in the path of administrators only.
PATH="$PATH:/usr/sbin:/sbin"

folder=$(mktemp -d "${TMPDIR:-/tmp}/stentor-cluster.XXXXXX")
declare -A pids lines
next=$FIRST

say() { printf '  %s\n' "$*"; }
port() { printf -v "$1" %d "$next"; next=$((next + 1)); }
secret() { head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n'; }

# start NAME COMMAND…: runs the command in the background, with its output in NAME.log. The kernel kills it if this
# script dies.
start() {
    local name=$1
    shift
    setpriv --pdeathsig KILL -- "$@" >>"$folder/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
    printf -v "lines[$name]" '%q ' "$@"
}

alive() { kill -0 "${pids[$1]}" 2>/dev/null; }

nodes_alive() {
    local name
    for name in "${!pids[@]}"; do [[ $name == node-* ]] && alive "$name" && return 0; done
    return 1
}

# until_true SECONDS WHAT COMMAND…: waits until the command succeeds; after SECONDS, ends the script.
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            say "$what did not start in time; the logs are in $folder"
            keep=yes
            exit 1
        fi
        sleep 0.1
    done
}

end() {
    trap - EXIT INT TERM HUP
    say "ending …"
    local name asked
    # Shuts the nodes down first. The first TERM makes a node move its rooms, which is not possible for the last nodes;
    # the second TERM skips the move.
    for asked in 1 2; do
        for name in "${!pids[@]}"; do [[ $name == node-* ]] && kill "${pids[$name]}" 2>/dev/null || true; done
        local until=$((SECONDS + 1 + 14 * (asked - 1)))
        while nodes_alive && ((SECONDS < until)); do sleep 0.1; done
    done
    for name in "${!pids[@]}"; do kill -KILL "${pids[$name]}" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [[ ${keep:-no} == yes ]] || rm -rf "$folder"
    say "ended"
}
trap end EXIT
trap 'exit 0' INT TERM HUP

# --- etcd and Redis ---------------------------------------------------------------------------------------------
port front
for n in 1 2 3; do port "etcd$n"; port "peer$n"; done
port redis
members="e1=http://127.0.0.1:$peer1,e2=http://127.0.0.1:$peer2,e3=http://127.0.0.1:$peer3"
endpoints="http://127.0.0.1:$etcd1,http://127.0.0.1:$etcd2,http://127.0.0.1:$etcd3"
for n in 1 2 3; do
    client="etcd$n" peer="peer$n"
    start "etcd$n" etcd --name "e$n" --data-dir "$folder/etcd$n" --logger zap --log-level warn \
        --listen-client-urls "http://127.0.0.1:${!client}" --advertise-client-urls "http://127.0.0.1:${!client}" \
        --listen-peer-urls "http://127.0.0.1:${!peer}" --initial-advertise-peer-urls "http://127.0.0.1:${!peer}" \
        --initial-cluster "$members" --initial-cluster-token "$(basename "$folder")"
done
start redis redis-server --port "$redis" --bind 127.0.0.1 --save '' --appendonly no --dir "$folder"

# --- two Janus instances, configured as Stentor requires ---------------------------------------------------------
api_secret=$(secret) admin_key=$(secret)
# janus N FIRST-WEBRTC-PORT LAST FIRST-RTP-PORT LAST
janus() {
    local dir="$folder/janus$1"
    port "janus$1"
    local ws="janus$1"
    mkdir -m 700 "$dir"
    cat >"$dir/janus.jcfg" <<CFG
general: {
  debug_level = 3; debug_colors = false; server_name = "janus$1"; api_secret = "$api_secret";
  session_timeout = 60; reclaim_session_timeout = 60;
}
media: { rtp_port_range = "$2-$3"; }
plugins: { disable = "libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_videoroom.so,libjanus_voicemail.so"; }
transports: { disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so"; }
loggers: { disable = "libjanus_jsonlog.so"; }
CFG
    cat >"$dir/janus.transport.websockets.jcfg" <<CFG
general: { json = "compact"; ws = true; ws_port = ${!ws}; ws_ip = "127.0.0.1"; wss = false; }
admin: { admin_ws = false; admin_wss = false; }
CFG
    cat >"$dir/janus.plugin.audiobridge.jcfg" <<CFG
general: { admin_key = "$admin_key"; lock_rtp_forward = true; local_ip = "127.0.0.1"; rtp_port_range = "$4-$5"; }
CFG
    start "janus$1" janus -F "$dir" -o
}
janus 1 20000 22499 25000 25999
janus 2 22500 24999 26000 26999

# --- the nodes --------------------------------------------------------------------------------------------------
public="http://127.0.0.1:$front"
secrets=(STENTOR__AUTH__JWT_SECRETS="k1:$(secret)" STENTOR__HLS__SECRET="$(secret)"
    STENTOR__JANUS__API_SECRET="$api_secret" STENTOR__JANUS__ADMIN_KEY="$admin_key")
declare -A ops
# node NAME ROLE KEY=VALUE…
node() {
    local name=$1 role=$2
    shift 2
    local own at settings=()
    for own in api ws hls ops; do
        port at
        settings+=(--set "listen.$own=127.0.0.1:$at")
        printf -v "${name}_$own" %d "$at"
    done
    ops[$name]=$at
    local setting
    for setting in "$@"; do settings+=(--set "$setting"); done
    mkdir -m 700 "$folder/$name"
    start "node-$name" env "${secrets[@]}" "$STENTOR" serve --config /dev/null \
        --set "node.id=$name" --set "node.roles=$role" --set "node.data_dir=$folder/$name" \
        --set store.kind=etcd --set "store.etcd.endpoints=$endpoints" \
        --set "http.public_hls_url=$public" --set "http.public_ws_url=ws://127.0.0.1:$front/ws" "${settings[@]}"
}

until_true 30 "etcd" curl -fs "http://127.0.0.1:$etcd1/health"
until_true 30 "etcd" curl -fs "http://127.0.0.1:$etcd3/health"
say "etcd serves, three members; Redis and two Januses run"
node j1 janus janus.mode=external "janus.url=ws://127.0.0.1:$janus1"
node j2 janus janus.mode=external "janus.url=ws://127.0.0.1:$janus2"
node m1 mixer mixer.rtp_ports=27000-27999
node m2 mixer mixer.rtp_ports=28000-28999
node g1 gateway presence.kind=redis "presence.redis.url=redis://127.0.0.1:$redis"
node g2 gateway presence.kind=redis "presence.redis.url=redis://127.0.0.1:$redis"
node r1 rooms presence.kind=redis "presence.redis.url=redis://127.0.0.1:$redis"
node r2 rooms presence.kind=redis "presence.redis.url=redis://127.0.0.1:$redis"
node l1 hls presence.kind=redis "presence.redis.url=redis://127.0.0.1:$redis"
node l2 hls presence.kind=redis "presence.redis.url=redis://127.0.0.1:$redis"
nodes="j1 j2 m1 m2 g1 g2 r1 r2 l1 l2"
for name in $nodes; do until_true 60 "node $name" curl -fs "http://127.0.0.1:${ops[$name]}/readyz"; done
say "ten nodes are ready"

# --- one address for all of them --------------------------------------------------------------------------------
mkdir -p "$folder/nginx"
cat >"$folder/nginx.conf" <<CFG
$([[ $(id -u) -eq 0 ]] && echo "user root;")
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path $folder/nginx/body; proxy_temp_path $folder/nginx/proxy;
  fastcgi_temp_path $folder/nginx/f; uwsgi_temp_path $folder/nginx/u; scgi_temp_path $folder/nginx/s;
  # A node that does not answer gets no requests for one second; the other node of its role gets them.
  upstream api     { server 127.0.0.1:$r1_api max_fails=1 fail_timeout=1s; server 127.0.0.1:$r2_api max_fails=1 fail_timeout=1s; }
  upstream gateway { server 127.0.0.1:$g1_ws max_fails=1 fail_timeout=1s; server 127.0.0.1:$g2_ws max_fails=1 fail_timeout=1s; }
  upstream listen  { server 127.0.0.1:$l1_hls max_fails=1 fail_timeout=1s; server 127.0.0.1:$l2_hls max_fails=1 fail_timeout=1s; keepalive 64; }
  map \$http_upgrade \$connection_upgrade { default upgrade; '' ''; }
  proxy_http_version 1.1;
  proxy_set_header Host \$http_host;
  proxy_connect_timeout 1s;
  server {
    listen 127.0.0.1:$front;
    location /api/ { proxy_pass http://api; }
    location /ws   { proxy_pass http://gateway; proxy_set_header Host \$http_host;
                     proxy_set_header Upgrade \$http_upgrade; proxy_set_header Connection \$connection_upgrade;
                     proxy_read_timeout 1h; }
    location /whip/ { proxy_pass http://gateway; }
    # A blocking playlist reload waits up to three target durations.
    location /     { proxy_pass http://listen; proxy_set_header Host \$http_host;
                     proxy_set_header Connection ""; proxy_read_timeout 15s; }
  }
}
CFG
# Runs nginx as one process, because workers would outlive a killed master and keep the port in use.
start nginx nginx -p "$folder" -c "$folder/nginx.conf" -g 'daemon off; master_process off;'
until_true 10 "nginx" curl -fs "$public/"

curl -fs -H 'content-type: application/json' -d '{"roomId": "demo", "start": true}' "$public/api/rooms" >/dev/null
on_air() { curl -fs "$public/api/rooms/demo" | grep -q '"status":"onair"'; }
until_true 30 "the room" on_air

cat <<TXT

  The room "demo" is on air.

  Pages, API, WebSocket   $public/
  Listen                  $public/listen/demo
  Speak                   $public/speak/demo
  Logs                    $folder/*.log

  What runs, and where its actors are to be seen:
TXT
where() { printf '    %-3s pid %-7s http://127.0.0.1:%s/\n' "$1" "${pids[node-$1]}" "${ops[$1]}"; }
for name in $nodes; do where "$name"; done
printf '    etcd pids %s %s %s, Redis %s, Januses %s %s, nginx %s\n\n' "${pids[etcd1]}" "${pids[etcd2]}" \
    "${pids[etcd3]}" "${pids[redis]}" "${pids[janus1]}" "${pids[janus2]}" "${pids[nginx]}"
say "Kill what you like (kill -9 PID) and watch the room come back. A node that you stop with a plain kill PID is"
say "started again, as in a rolling restart. Ctrl-C ends everything."

declare -A told
while :; do
    for name in "${!pids[@]}"; do
        if alive "$name" || [[ -n ${told[$name]:-} ]]; then continue; fi
        if wait "${pids[$name]}" && [[ $name == node-* ]]; then
            eval "start $name ${lines[$name]}"
            say "$(date +%T) ${name#node-} was shut down properly and is started again:"
            where "${name#node-}"
        else
            told[$name]=yes
            say "$(date +%T) ${name#node-} is gone"
        fi
    done
    sleep 0.1
done
