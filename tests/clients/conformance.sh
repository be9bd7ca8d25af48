#!/usr/bin/env bash
# The official conformance suite against one server, at both revisions. The baseline names what cannot pass, and why;
# the suite fails both for a new failure and for an entry that passes by now.
# Usage: conformance.sh READY_FILE BASELINE_PREFIX OUT_FOLDER   (conformance and Node 22 on the PATH)
set -euo pipefail

url=$(node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).mcp_url' "$1")
here=$(cd "$(dirname "$0")" && pwd)
for revision in 2025-11-25 2026-07-28; do
  log=$3/$2-$revision.txt
  status=0
  timeout 240 conformance server --url "$url" --requirements "$revision" -o "$3/$2-$revision" \
    --expected-failures "$here/$2-$revision.yml" </dev/null >"$log" 2>&1 || status=$?
  if [ "$status" != 0 ]; then
    sed -n '/^✗/p;/^Total/,$p' "$log"
    echo "conformance $2 $revision ended with $status; all of it is in $log"
    exit 1
  fi
  echo "conformance $2 $revision: $(sed -n 's/^Total: //p' "$log"), as the baseline says"
done
