#!/usr/bin/env bash
# Clients that are programs: the Inspector, strict about schemas, in both protocol versions, and fastmcp.
# Usage: programs.sh READY_FILE   (mcp-inspector, node and fastmcp on the PATH)
set -euo pipefail

url=$(node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).mcp_url' "$1")
checks=0

# has TEXT WHAT: the text holds what a pattern says, or everything is shown and the script ends.
has() {
  checks=$((checks + 1))
  grep -q -- "$2" <<<"$1" || { echo "no '$2' in what was received:"; echo "$1"; exit 1; }
}

for version in legacy modern; do
  inspect() { mcp-inspector --cli "$url" --transport http --protocol-era "$version" --format json "$@" </dev/null; }
  tools=$(inspect --method tools/list --strict 2>&1)
  has "$tools" '"query_tasks"'
  if grep -qi '^warning' <<<"$tools"; then echo "a schema is not portable:"; echo "$tools"; exit 1; fi
  has "$(inspect --method tools/call --tool-name query_tasks \
    --tool-args-json '{"plan_id":"Website relaunch","limit":3}')" '"structuredContent"'
  has "$(inspect --method tools/call --tool-name get_plan --tool-arg plan_id='Website relaunch')" 'by_status'
  has "$(inspect --method resources/templates/list)" 'planner://plans/{plan_id}/tasks'
  has "$(inspect --method resources/read --uri planner://plans)" 'Website relaunch'
  has "$(inspect --method prompts/get --prompt-name weekly_status --prompt-args plan_id='Website relaunch')" 'weekly'
  status=0
  inspect --method tools/call --tool-name get_plan --tool-arg plan_id=Nowhere >/dev/null 2>&1 || status=$?
  [ "$status" = 5 ] || { echo "a tool's error ends the Inspector with 5, not $status"; exit 1; }
done

export COLUMNS=100000 # or it breaks lines
has "$(fastmcp list "$url")" 'bulk_create_tasks'
has "$(fastmcp call "$url" query_tasks plan_id='Website relaunch' limit=3 --json)" 'cursor'
has "$(fastmcp call "$url" planner://plans)" 'Website relaunch'
echo "Inspector and fastmcp: $checks checks passed"
