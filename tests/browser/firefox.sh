#!/bin/sh
# Starts Firefox. The kernel kills it when the driver that started it ends.
exec setpriv --pdeathsig KILL "${FIREFOX:-/usr/bin/firefox-esr}" "$@"
