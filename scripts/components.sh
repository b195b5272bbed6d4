#!/usr/bin/env bash
# Installs rustfmt and clippy, which a minimal toolchain lacks.
set -euo pipefail

missing=()
cargo fmt --version >/dev/null 2>&1 || missing+=(rustfmt)
cargo clippy --version >/dev/null 2>&1 || missing+=(clippy)
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v rustup >/dev/null; then
    echo "missing: ${missing[*]}; install them with the Rust toolchain" >&2
    exit 1
fi
rustup component add "${missing[@]}"
