#!/usr/bin/env bash
# The long runs: proofs that take too long for every change. `scripts/long-run.sh NAME [ARGUMENT…]`, each run once before
# a release and quoted with its output.
#
#   kills [KILLS [VARIANT…]]   processes die at every named place of the sync engine (1000 kills a variant): nothing is lost or
#                              doubled, and every effect has its row in the audit log; several hours
#   moves [KILLS [VARIANT…]]   processes die at every place of a move to another plan (1000 kills with one and with two servers)
#   sync_sim [HISTORIES]       histories of the sync engine in a world that fails (3000000), half an hour
#   outage                     half an hour without Microsoft Graph under the stand-in for the Functions host, an hour (AZURITE)
#   damaged_tokens [TOKENS]    tokens with flipped bits and cut ends (1000000), minutes
#   crm_hour [USERS]           a CRM's backend and its users (200) over six default lifetimes of an access token, an hour; the
#                              server dies in the middle (PYTHON)
#
# A run that is stopped and started again resumes where it can; see the function of each.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# killed TESTS DONE KILLS VARIANT…: so many processes die in each variant of these tests. What is done is noted in the file
# DONE and not repeated.
killed() {
  local tests=$1 done=$2 kills=$3 batch=50 variant from
  touch "$done"
  cargo test --locked --test it --no-run
  for variant in "${@:4}"; do
    for ((from = 0; from < kills; from += batch)); do
      if grep -qxF "$variant $from" "$done"; then continue; fi
      echo "── $variant, from $from"
      GRAPHGATE_KILLS=$batch GRAPHGATE_KILLS_FROM=$from \
        cargo test --quiet --locked --test it "$tests::$variant" -- --include-ignored --nocapture
      echo "$variant $from" >>"$done"
    done
  done
  echo "each has been killed $kills times: ${*:4}"
}

# Azure's storage is tried where AZURITE names its emulator: name the variants where it does not.
run_kills() {
  local variants=("${@:2}")
  if [ ${#variants[@]} = 0 ]; then
    variants=(one_process_on_a_folder two_processes_on_a_folder one_process_on_azurite three_processes_on_azurite)
  fi
  killed process::kills "${GRAPHGATE_KILLS_DONE:-kills.done}" "${1:-1000}" "${variants[@]}"
}

run_moves() {
  local variants=("${@:2}")
  if [ ${#variants[@]} = 0 ]; then variants=(crashes_of_one_process crashes_of_two_processes); fi
  killed process::moves "${GRAPHGATE_MOVES_DONE:-moves.done}" "${1:-1000}" "${variants[@]}"
}

run_sync_sim() { cargo test --release --locked --test sync_sim -- --histories "${1:-3000000}"; }

run_outage() {
  : "${AZURITE:?names the storage emulator that this run needs}"
  OUTAGE_PACE=1 cargo test --locked --test it host::outage -- --include-ignored --nocapture
}

run_damaged_tokens() { FUZZ_TOKENS=${1:-1000000} cargo test --locked --test it damaged_tokens -- --nocapture; }

run_crm_hour() {
  : "${PYTHON:?names a Python with the packages of tests/clients/requirements.txt}"
  local folder
  folder=$(mktemp -d "${TMPDIR:-/tmp}/graphgate-crm.XXXXXX")
  cargo build --locked --release
  "$PYTHON" tests/clients/crm_backend.py "${CARGO_TARGET_DIR:-target}/release/graphgate" "$folder/run" \
    --users "${1:-200}" --lifetimes 6 --seconds 600
  rm -rf "$folder"
}

name=${1:-}
if ! declare -F "run_$name" >/dev/null; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit 2
fi
"run_$name" "${@:2}"
