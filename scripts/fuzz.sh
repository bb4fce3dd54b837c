#!/usr/bin/env bash
# Fuzzes one target that `cargo fuzz build` has built: scripts/fuzz.sh TARGET SECONDS. Quiet unless
# something was found; then it says which input to add to the corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 seconds=$2
found=target/fuzz/$name
mkdir -p "$found"
if cargo fuzz run --sanitizer none "$name" "$found" "fuzz/corpus/$name" -- \
  -max_total_time="$seconds" -timeout=20 -print_final_stats=1 >"$found.log" 2>&1; then
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found.log")
  echo "    $name: $runs inputs in $seconds s, nothing found" >&2
else
  tail -n 40 "$found.log" >&2
  echo "fuzz.sh: $name failed; the whole log is $found.log" >&2
  # Ends xargs too.
  exit 255
fi
