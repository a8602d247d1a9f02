#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the heap's short paths cost: instructions, counted by callgrind, which repeats to the
# instruction. References are what every push and pop pays: those have a target.
#
#   heap_instructions.sh PROGRAM
set -eu
program=$1
target=20

command -v valgrind >/dev/null || {
    echo "SKIP valgrind is not installed (make setup)"
    exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# collect ROUNDS THREADS FUNCTION: instructions of a run of that many rounds inside the function.
collect() {
    valgrind --tool=callgrind "--toggle-collect=$3" --callgrind-out-file="$scratch/out" \
        "$program" "$1" "$2" 2>"$scratch/stderr" || {
        cat "$scratch/stderr" >&2
        exit 1
    }
    sed -n 's/.*Collected : //p' "$scratch/stderr"
}

# Instructions of one call in the steady state: the first 1,000 rounds are not counted.
count() {
    long=$(collect 3000 "$@")
    short=$(collect 1000 "$@")
    awk -v long="$long" -v short="$short" 'BEGIN { printf "%.1f\n", (long - short) / 2000 }'
}

missed=0
verdicts=''
echo "an object of 64 bytes: instructions per call"
printf '  %-24s %12s %12s\n' '' 'one thread' 'several'
for function in dk_heap_malloc dk_heap_free dk_heap_get dk_heap_put; do
    one=$(count one $function)
    many=$(count many $function)
    printf '  %-24s %12s %12s\n' $function "$one" "$many"
    case $function in *_malloc | *_free) continue ;; esac
    verdict=$(awk -v one="$one" -v many="$many" -v target=$target -v name=$function 'BEGIN {
        most = one > many ? one : many
        printf "%s %s: %.1f instructions, target < %d\n",
            (most > 0 && most < target) ? "PASS" : "FAIL", name, most, target
    }')
    case $verdict in FAIL*) missed=1 ;; esac
    verdicts="$verdicts$verdict
"
done
printf '%s' "$verdicts"
exit $missed
