#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the interface costs: instructions of push, wait, pop, wait on a queue in memory, counted by
# callgrind, which repeats to the instruction.
#
#   memq_instructions.sh PROGRAM
set -eu
program=$1
target=240

command -v valgrind >/dev/null || {
    echo "SKIP valgrind is not installed (make setup)"
    exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions of a run of that many rounds inside these functions.
collect() {
    rounds=$1
    shift
    toggles=''
    for function in "$@"; do
        toggles="$toggles --toggle-collect=$function"
    done
    # shellcheck disable=SC2086  # a list of options
    DEMI_NET=memory valgrind --tool=callgrind $toggles --callgrind-out-file="$scratch/out" \
        "$program" "$rounds" 2>"$scratch/stderr" || {
        cat "$scratch/stderr" >&2
        exit 1
    }
    sed -n 's/.*Collected : //p' "$scratch/stderr"
}

# Instructions of one round in the steady state: the first 1,000 rounds are not counted.
count() {
    awk -v long="$(collect 3000 "$@")" -v short="$(collect 1000 "$@")" \
        'BEGIN { printf "%.1f\n", (long - short) / 2000 }'
}

echo "push, wait, pop, wait in memory, 64 bytes: instructions"
for function in demi_push demi_pop demi_wait; do
    printf '  %-32s %8s\n' "$function" "$(count $function)"
done
all=$(count demi_push demi_pop demi_wait)
printf '  %-32s %8s\n' 'together (demi_wait is two)' "$all"
printf '  %-32s %8s\n' 'with the calling function' "$(count all_four)"
awk -v all="$all" -v target=$target 'BEGIN {
    verdict = all < target ? "PASS" : "FAIL"
    printf "%s push, wait, pop, wait in memory: %.1f instructions, target < %d\n",
        verdict, all, target
    exit verdict == "FAIL"
}'
