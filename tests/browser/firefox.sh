#!/bin/sh
# Firefox, which ends with the driver that started it, however that ends.
exec setpriv --pdeathsig KILL "${FIREFOX:-/usr/bin/firefox-esr}" "$@"
