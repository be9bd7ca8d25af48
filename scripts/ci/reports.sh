# shellcheck shell=bash disable=SC2154
# Reports, read by programs of others. Sourced by .ci/run after proofs.sh. Only the package has the typesetter.

# Chromium draws pages, poppler paper.
step_report_tools() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  command -v pdftotext >/dev/null || missing+=(poppler-utils)
  if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi
  pdftotext -v 2>&1 | sed -n 1p # which reads to the end, unlike head
  chromium --version --no-sandbox
}

# The reports of the seeded tenant and some extreme ones, written by the tests; the PDFs, by the package; and the story of
# docs/reports.md, from the command line through the package on a simulated tenant to the typesetter and back.
step_report_files() {
  if ! command -v chromium >/dev/null || ! command -v pdftotext >/dev/null; then echo "no chromium or no poppler: the reports were not compared"; return 77; fi
  if [ ! -d "$dist" ]; then echo "no package in this run: step package comes first"; return 77; fi
  local files=$run/reports typesetter=$dist/graphgate report
  mkdir -p "$files"
  REPORT_FILES=$files cargo nextest run --locked --profile ci -E 'test(/^toolsets::reports::(seeded|golden)/)'
  for report in "$files"/*.json; do "$typesetter" typeset-report <"$report" >"${report%.json}.pdf"; done
  serve tenant_of_reports "$CARGO_TARGET_DIR/debug/graphgate" sim --port 0 --tls "$run/tls" --request-log "$run/graph/reports.jsonl"
  serve reports env SSL_CERT_FILE="$(member "$ready" ca_pem)" \
    GRAPH_BASE_URL="$(member "$ready" https_graph_url)" AZURE_AUTHORITY_HOST="$(member "$ready" https_authority_url)" \
    AZURE_TENANT_ID="$(member "$ready" tenant_id)" AZURE_CLIENT_ID="$(member "$ready" client_id)" \
    AZURE_CLIENT_SECRET="$(member "$ready" client_secret)" DATA_DIR="$run/reports-data" "$typesetter" serve --port 0
  "$typesetter" report --server "$(member "$ready" mcp_url)" --plan "Website relaunch" --out "$run/story.pdf"
  pdfinfo "$run/story.pdf"
  with_tools python "$clients/reports.py" "$files" "$npm_folder/node_modules/axe-core/axe.min.js"
}

# On demand: the same, and the workbooks once through LibreOffice, which takes half a gigabyte to install.
step_libreoffice() {
  if ! command -v soffice >/dev/null; then apt_install libreoffice-calc; fi
  soffice --version
  SOFFICE=$(command -v soffice) step_report_files
}
