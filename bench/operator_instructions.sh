#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What an operator costs: instructions that it adds to push, wait, pop, wait on a queue in memory,
# counted by callgrind, which repeats to the instruction.
#
#   operator_instructions.sh PROGRAM
set -eu
program=$1
target=100 # instructions per element
chain=8    # filters, as in the program

command -v valgrind >/dev/null || {
    echo "SKIP valgrind is not installed (make setup)"
    exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions of so many rounds inside the four calls.
collect() {
    DEMI_NET=memory valgrind --tool=callgrind --toggle-collect=demi_push \
        --toggle-collect=demi_pop --toggle-collect=demi_wait \
        --callgrind-out-file="$scratch/out" "$program" "$1" "$2" 2>"$scratch/stderr" || {
        cat "$scratch/stderr" >&2
        exit 1
    }
    sed -n 's/.*Collected : //p' "$scratch/stderr"
}

# Instructions of one round in the steady state: the first 1,000 rounds are not counted.
count() {
    awk -v long="$(collect "$1" 3000)" -v short="$(collect "$1" 1000)" \
        'BEGIN { printf "%.1f\n", (long - short) / 2000 }'
}

missed=0

# verdict WHAT FIGURE TARGET
verdict() {
    awk -v what="$1" -v figure="$2" -v target="$3" 'BEGIN {
        verdict = figure <= target ? "PASS" : "FAIL"
        printf "%s %s: %.1f instructions more, target <= %.1f\n", verdict, what, figure, target
        exit verdict == "FAIL"
    }' || missed=1
}

more() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f\n", a - b }'
}

base=$(count queue)
echo "push, wait, pop, wait in memory, 64 bytes: $base instructions"
filter=$(count filter)
one=$(more "$filter" "$base")
verdict "filter, popped through" "$one" "$target"
verdict "filter, pushed through" "$(more "$(count filter-push)" "$filter")" "$target"
verdict "map, popped through" "$(more "$(count map)" "$base")" "$target"
verdict "map, pushed through" "$(more "$(count mapin-push)" "$(count mapin)")" "$target"
verdict "sort, 4 waiting, equal keys" "$(more "$(count sort)" "$base")" "$target"
verdict "sort, 4 waiting, random keys" "$(more "$(count sort-random)" "$base")" "$target"
verdict "merge, popped through" "$(more "$(count merge)" "$base")" "$target"
verdict "partition of 4" "$(more "$(count partition)" "$base")" "$target"
verdict "$chain filters" "$(more "$(count chain)" "$base")" \
    "$(awk -v one="$one" -v n="$chain" 'BEGIN { print one * n }')"
exit $missed
