#!/usr/bin/env bash
# People sign in to clients that others wrote, each in a Chromium of their own; the clients work, refresh and work again.
# Usage: sign_in.sh READY_FILE DOCUMENTS_PORT OUT_FOLDER   (Node 22, mcp-remote, mcp-inspector and python on the PATH)
#
# READY_FILE is of `graphgate dev --sign-in --client-documents 127.0.0.1:DOCUMENTS_PORT`, with ACCESS_TOKEN_SECONDS=5.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
ready=$1 port=$2 out=$3
export BROWSER=$here/browser.mjs
# So that xdg-open asks BROWSER, and not somebody's desktop.
unset DISPLAY WAYLAND_DISPLAY
export XDG_CURRENT_DESKTOP=X-Generic
failed=0 passed=()

# signs_in NAME PERSON PLANS COMMAND…: PLANS is how many plans the person sees, of the eight there are.
signs_in() {
  export PERSON=$2@contoso.onmicrosoft.com PLANS=$3 BROWSER_LOG=$out/$1.browser.txt
  : >"$BROWSER_LOG"
  if timeout 120 "${@:4}" >"$out/$1.txt" 2>"$out/$1.err.txt"; then
    cat "$out/$1.txt"
    passed+=("$1")
  else
    failed=$((failed + 1))
    echo "$1 FAILED; the client, and the browser:"
    tail -n 60 "$out/$1.txt" "$out/$1.err.txt" "$BROWSER_LOG"
  fi
}

mkdir -p "$out"
signs_in refused AdeleV 0 node "$here/sign_in_refused.mjs" "$ready"
signs_in ts1 AdeleV 8 node "$here/sign_in_ts1.mjs" "$ready"
signs_in mcp ZoeM 1 python "$here/sign_in_mcp.py" "$ready"
FASTMCP_LOG_LEVEL=ERROR signs_in fastmcp JoseN 1 python -W ignore "$here/sign_in_fastmcp.py" "$ready"
signs_in mcp-remote OlenaS 2 node "$here/sign_in_remote.mjs" "$ready"
signs_in inspector PriyaR 3 node "$here/sign_in_inspector.mjs" "$ready"
signs_in inspector-document AdeleV 8 node "$here/sign_in_inspector.mjs" "$ready" "$port"
signs_in pages AdeleV 8 node "$here/sign_in_pages.mjs" "$ready" "$out/pictures"
if [ "$failed" != 0 ]; then echo "$failed failed"; exit 1; fi
echo "passed: ${passed[*]}"
