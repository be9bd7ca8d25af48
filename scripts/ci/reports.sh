# shellcheck shell=bash disable=SC2154
# Reports, read by programs of others. Sourced by .ci/run after proofs.sh. Its own build, because only it has the
# typesetter: some four minutes of two cores the first time, half a minute after a change, in a folder of its own.

# Chromium draws pages, poppler paper.
step_report_tools() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  command -v pdftotext >/dev/null || missing+=(poppler-utils)
  if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi
  pdftotext -v 2>&1 | sed -n 1p # which reads to the end, unlike head
  chromium --version --no-sandbox
}

# The reports of the seeded tenant and some extreme ones, written by the tests; the PDFs, by the program with the
# typesetter; and the story of docs/reports.md, from the command line through the server to the typesetter and back.
step_report_files() {
  if ! command -v chromium >/dev/null || ! command -v pdftotext >/dev/null; then echo "no chromium or no poppler: nobody looked at the reports"; return 77; fi
  local files=$run/reports typesetter=$cache/target-pdf/debug/graphgate report
  CARGO_TARGET_DIR=$cache/target-pdf cargo build --locked --features pdf
  mkdir -p "$files"
  REPORT_FILES=$files cargo nextest run --locked --profile ci -E 'test(/^reports::(seeded|golden)/)'
  for report in "$files"/*.json; do "$typesetter" typeset-report <"$report" >"${report%.json}.pdf"; done
  serve reports "$typesetter" dev --port 0 --sim-port 0 --request-log "$run/graph/reports.jsonl"
  GRAPHGATE_SERVER=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["mcp_url"])' "$ready")
  "$typesetter" report --server "$GRAPHGATE_SERVER" --plan "Website relaunch" --out "$run/story.pdf"
  pdfinfo "$run/story.pdf"
  with_tools python "$clients/reports.py" "$files" "$npm_folder/node_modules/axe-core/axe.min.js"
}

# On demand: the same, and the workbooks once through LibreOffice, which takes half a gigabyte to install.
step_libreoffice() {
  if ! command -v soffice >/dev/null; then apt_install libreoffice-calc; fi
  soffice --version
  SOFFICE=$(command -v soffice) step_report_files
}
