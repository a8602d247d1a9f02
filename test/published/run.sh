#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Compiles the programs here as a program outside the tree would be, against an installed copy of
# the library, and runs them on loopback, each engine in turn.
#
#   run.sh shared|static BUILD-FOLDER [CFLAG...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
linkage=$1
build=$2
shift 2

dest=$(mktemp -d)
server=''
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$dest"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

DESTDIR=$dest meson install -C "$build" --no-rebuild --quiet
pc=$(find "$dest" -name demikernel.pc)
[ -n "$pc" ] || { echo "demikernel.pc is not installed" >&2; exit 1; }
PKG_CONFIG_PATH=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR=$dest
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
libdir=$(pkg-config --variable=libdir demikernel)
case $libdir in "$dest"*) ;; *) libdir=$dest$libdir ;; esac

cflags=$(pkg-config --cflags demikernel)
if [ "$linkage" = shared ]; then
    libs=$(pkg-config --libs demikernel)
    export LD_LIBRARY_PATH="$libdir"
else
    # The archive by name: next to a shared library of the same name, the linker prefers that.
    others=$(pkg-config --static --libs-only-l demikernel | sed 's/-ldemikernel//')
    libs="$libdir/libdemikernel.a $others"
fi

for source in "$here"/*.c; do
    name=$(basename "$source" .c)
    # shellcheck disable=SC2086  # lists of flags
    ${CC:-cc} -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror "$@" $cflags \
        "$source" -o "$dest/$name" $libs
done
# The published programs are C; the headers are read by C++ too.
printf '#include <demi/libos.h>\n#include <demi/sga.h>\n#include <demi/wait.h>\n' >"$dest/all.cc"
if command -v g++ >/dev/null; then
    # shellcheck disable=SC2086
    g++ -Wall -Wextra -Werror -fsyntax-only $cflags "$dest/all.cc"
fi

# Runs a server and a client of a program: pair PROGRAM SERVER-ARGUMENTS -- CLIENT-ARGUMENTS
pair() {
    program=$dest/$1
    shift
    server_args=''
    while [ "$1" != -- ]; do
        server_args="$server_args $1"
        shift
    done
    shift
    # shellcheck disable=SC2086
    timeout 60 "$program" server $server_args &
    server=$!
    if ! timeout 60 "$program" client "$@"; then
        echo "client of $program failed" >&2
        exit 1
    fi
    if ! wait "$server"; then
        server=''
        echo "server of $program failed" >&2
        exit 1
    fi
    server=''
}

"$dest/sizes"
port=$((21000 + $$ % 11000)) # below those that the system gives out
for engine in io_uring epoll; do
    export DEMI_ENGINE=$engine
    if ! "$dest/invalid" 2>"$dest/err"; then
        cat "$dest/err" >&2
        [ "$engine" = io_uring ] && grep -q 'io_uring' "$dest/err" && continue
        exit 1
    fi
    pair tcp-ping-pong 127.0.0.1 $port -- 127.0.0.1 $port
    pair tcp-ping-pong 127.0.0.1 $((port + 1)) 50 1000000 -- 127.0.0.1 $((port + 1)) 50 1000000
    pair tcp-push-pop 127.0.0.1 $((port + 2)) -- 127.0.0.1 $((port + 2))
    pair tcp-push-pop 127.0.0.1 $((port + 3)) 300 65536 -- 127.0.0.1 $((port + 3)) 300 65536
    pair udp-ping-pong 127.0.0.1 $((port + 4)) 127.0.0.1 $((port + 5)) -- \
        127.0.0.1 $((port + 5)) 127.0.0.1 $((port + 4))
    port=$((port + 10))
done
# The reference's name for its library OS of kernel sockets.
unset DEMI_ENGINE
LIBOS=catnap pair tcp-ping-pong 127.0.0.1 $port 100 -- 127.0.0.1 $port 100
