#!/bin/sh
# A Janus that trickles its own candidates, which the configuration that a node writes for its Janus does not ask for.
#   janus_full_trickle.sh -F folder
sed -i 's/^nat: {/nat: { full_trickle = true;/' "$2/janus.jcfg" || exit
exec janus "$@"
