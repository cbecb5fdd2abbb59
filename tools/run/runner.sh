#!/bin/sh
# Cargo's runner for every binary of the host target: images go to the launcher, the rest is executed as it is.
# An image is known by its Xen PVH note. The build lock is free by now, so a nested cargo may take it; RUSTFLAGS,
# CARGO_TARGET_DIR and the toolchain reach it through the environment. What belongs to the package that is being run
# must not: a fingerprint of the nested build could see it.
set -eu
if ! LC_ALL=C readelf -nW "$1" 2>/dev/null | grep -q '^ *Xen  *0x'; then
    exec "$@"
fi
unset LD_LIBRARY_PATH CARGO_MANIFEST_DIR CARGO_MANIFEST_PATH
workspace=$(dirname "$0")/../..
# The image is TARGET/PROFILE/examples/NAME.
[ -e "${1%/*}/../../release/run" ] || echo 'runner: building the launcher, once' >&2
exec "${CARGO:-cargo}" run --quiet --release --manifest-path "$workspace/Cargo.toml" --package run -- "$@"
