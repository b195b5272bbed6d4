#!/bin/sh
# Starts Firefox so that it ends with the driver that started it.
exec setpriv --pdeathsig KILL "${FIREFOX:-/usr/bin/firefox-esr}" "$@"
