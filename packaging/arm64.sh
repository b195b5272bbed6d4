#!/usr/bin/env bash
# Cross-compiles target/aarch64-unknown-linux-gnu/dist/stentor on Debian. Needs rustup and gcc-aarch64-linux-gnu.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v aarch64-linux-gnu-gcc >/dev/null ||
    { echo "arm64: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2; exit 1; }
rustup target add aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
cargo build --locked --profile dist --target aarch64-unknown-linux-gnu
