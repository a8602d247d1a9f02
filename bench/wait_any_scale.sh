#!/bin/sh
# SPDX-License-Identifier: MIT
#
# demi_wait_any over 10 and over 10,000 outstanding tokens: time, and instructions by callgrind.
#
#   wait_any_scale.sh PROGRAM
set -eu
program=$1
export DEMI_NET=memory

missed=0
"$program" || missed=1

command -v valgrind >/dev/null || {
    echo "SKIP instructions: valgrind is not installed (make setup)"
    exit $missed
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

count() {
    valgrind --tool=callgrind --toggle-collect=counted_wait_any \
        --callgrind-out-file="$scratch/out" "$program" instructions "$1" \
        >"$scratch/stdout" 2>"$scratch/stderr" || {
        cat "$scratch/stderr" >&2
        exit 1
    }
    rounds=$(sed -n 's/^rounds //p' "$scratch/stdout")
    awk -v rounds="$rounds" '/Collected :/ { printf "%.1f\n", $NF / rounds }' "$scratch/stderr"
}

few=$(count 10)
many=$(count 10000)
echo "wait_any, one token replaced per call: instructions"
printf '  %-24s %14s\n' '10 tokens' "$few" '10,000 tokens' "$many"
awk -v few="$few" -v many="$many" 'BEGIN {
    verdict = many <= few * 1.1 ? "PASS" : "FAIL"
    printf "%s wait_any over 10,000 tokens, instructions: %.2f times %s, target <= 1.10\n",
        verdict, many / few, "those over 10"
    exit verdict == "FAIL"
}' || missed=1
exit $missed
