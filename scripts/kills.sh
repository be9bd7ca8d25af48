#!/usr/bin/env bash
# Kills processes at every named place of the sync engine, many times: `scripts/kills.sh [KILLS [VARIANT…]]`, 1000 for each
# of the four variants.
#
# Can be stopped and started again: what is done is noted in FILE (kills.done, or GRAPHGATE_KILLS_DONE) and not repeated.
# Azure's storage is tried where AZURITE names its emulator.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly kills=${1:-1000} batch=50
variants=("${@:2}")
if [ ${#variants[@]} = 0 ]; then
  variants=(one_process_on_a_folder two_processes_on_a_folder one_process_on_azure_storage three_processes_on_azure_storage)
fi
readonly done=${GRAPHGATE_KILLS_DONE:-kills.done}
touch "$done"
cargo test --locked --test it --no-run
for variant in "${variants[@]}"; do
  for ((from = 0; from < kills; from += batch)); do
    if grep -qxF "$variant $from" "$done"; then continue; fi
    echo "── $variant, from $from"
    GRAPHGATE_KILLS=$batch GRAPHGATE_KILLS_FROM=$from \
      cargo test --quiet --locked --test it "process::kills::$variant" -- --nocapture
    echo "$variant $from" >>"$done"
  done
done
echo "each has been killed $kills times: ${variants[*]}"
