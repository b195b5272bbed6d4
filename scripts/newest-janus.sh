#!/usr/bin/env bash
# Unpacks Debian's newest Janus, like newest.sh, and prints the path of a program that runs it with the modules
# of that Janus. Exits like newest.sh.
set -euo pipefail

program=$("$(dirname "$0")/newest.sh" janus)
root=$(dirname "$program")
modules=$root/fs/usr/lib/x86_64-linux-gnu/janus
cat >"$root/managed" <<PROGRAM
#!/bin/sh
# managed [-F folder]: runs the unpacked Janus with the configuration in folder, and with its own modules.
if [ "\$1" = -F ]; then
    sed -i "1,/general: {/s|general: {|general: { plugins_folder = \"$modules/plugins\"; \
transports_folder = \"$modules/transports\"; loggers_folder = \"$modules/loggers\"; \
events_folder = \"$modules/events\";|" "\$2/janus.jcfg" || exit
fi
exec "$program" "\$@"
PROGRAM
chmod +x "$root/managed"
echo "$root/managed"
