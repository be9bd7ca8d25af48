# shellcheck shell=bash disable=SC2154
# Reports, read by programs of others. Sourced by .ci/run after proofs.sh. Its own build, because only it has the
# typesetter: some minutes the first time, in a folder of its own.

step_report_tools() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  command -v pdftotext >/dev/null || missing+=(poppler-utils)
  if [ ${#missing[@]} -gt 0 ]; then
    local sudo=()
    if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
    "${sudo[@]}" apt-get install --yes --quiet "${missing[@]}" >/dev/null
  fi
  pdftotext -v 2>&1 | head -n 1
  chromium --version --no-sandbox
}

step_report_files() {
  local begun=$SECONDS files=$run/reports plan="Website relaunch" kind format
  CARGO_TARGET_DIR=$cache/target-pdf cargo build --locked --features pdf
  mkdir -p "$files"
  serve reports "$cache/target-pdf/debug/graphgate" dev --port 0 --sim-port 0 --request-log "$run/graph/reports.jsonl"
  GRAPHGATE_SERVER=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["mcp_url"])' "$ready")
  for kind in summary weekly workload overdue burndown bucket-flow portfolio sync-health; do
    local about=(--plan "$plan")
    case $kind in portfolio | sync-health) about=() ;; esac
    for format in json csv xlsx html pdf; do
      "$cache/target-pdf/debug/graphgate" report --server "$GRAPHGATE_SERVER" "${about[@]}" --type "$kind" --out "$files/$kind.$format"
    done
  done
  with_tools python "$clients/reports.py" "$files" "$npm_folder/node_modules/axe-core/axe.min.js"
  echo "in $((SECONDS - begun)) s (at most 1200)"
  [ $((SECONDS - begun)) -le 1200 ]
}
