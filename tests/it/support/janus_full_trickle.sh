#!/bin/sh
# Runs a Janus that trickles its own candidates, which the configuration written by a node does not request.
#   janus_full_trickle.sh -F folder
sed -i 's/^nat: {/nat: { full_trickle = true;/' "$2/janus.jcfg" || exit
exec janus "$@"
