#!/usr/bin/env bash
# Asks a running GraphGate the questions that tell whether it works, from outside to inside, and stops at the first that
# does not.
#
#   test-connection.sh URL [KEY]     KEY may also be in GRAPHGATE_KEY, where no list of processes shows it
#
# KEY is an API key of GraphGate (x-api-key); where the host asks for keys (HTTP_AUTH_LEVEL=function), it is the host's
# (x-functions-key).
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

url=${1:?usage: test-connection.sh URL [KEY]}
url=${url%/}
key=${2:-${GRAPHGATE_KEY:-}}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
header=x-api-key
# The key goes in by standard input: arguments are for everybody to see.
ask() { # ask PATH [CURL ARGUMENT…]: prints the status, keeps the body in $answer
  : >"$answer"
  printf 'header = "%s: %s"\n' "$header" "$key" |
    curl --silent --show-error --max-time 60 --config - --output "$answer" --write-out '%{http_code}' "${@:2}" "$url$1" || echo 000
}
check() { # check WHAT STATUS HINT
  if [ "$2" = 200 ]; then echo "ok      $1"; return; fi
  echo "failed  $1: HTTP $2"
  head -c 600 "$answer"
  echo
  echo "  hint: $3"
  exit 1
}

check "it is there ($url/health/live)" "$(ask /health/live)" "is the address right, and the app deployed? the first start takes some seconds: try again"
# As Microsoft Graph does before it makes a subscription: without a key, and the token has to come back.
token=graphgate-$$-$RANDOM
validate() { curl --silent --show-error --max-time 60 --request POST --header 'content-length: 0' --output "$answer" --write-out '%{http_code}' "$url/api/graph_webhook?validationToken=$token" || echo 000; }
check "Microsoft Graph reaches it (/api/graph_webhook)" "$(validate)" "401: the route belongs to a function that asks for a key; deploy the package of this version"
[ "$(cat "$answer")" = "$token" ] || check "Microsoft Graph reaches it (/api/graph_webhook)" "200, but the token did not come back" "something else answers for this path"
check "what it rests on works (/health/ready)" "$(ask /health/ready)" "the answer names the part; /api/tokens/status says more"
# The host refuses with nothing in the answer; the program says why.
if [ "$(key='' && ask /mcp)" = 401 ] && [ ! -s "$answer" ]; then
  header=x-functions-key
  echo "note    the host asks for keys (HTTP_AUTH_LEVEL=function): clients cannot sign in"
elif [ "$(ask /.well-known/oauth-authorization-server)" = 200 ]; then
  echo "ok      people can sign in (/.well-known/oauth-authorization-server)"
else
  echo "note    people cannot sign in: SIGN_IN_CLIENT_ID is not set; scripts/register-sign-in.sh registers an application"
fi
mcp() { ask /mcp --header 'content-type: application/json' --header 'accept: application/json, text/event-stream' --data "$1"; }
check "it lets you in (tools/list)" "$(mcp '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}')" \
  "401: the key is missing or wrong. 'graphgate keys list' shows those of GraphGate; the host's: az functionapp keys list"
check "Microsoft 365 answers (list_plans)" \
  "$(mcp '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_plans","arguments":{}}}')" "see /api/tokens/status"
if grep -q '"isError": *true' "$answer"; then
  check "Microsoft 365 answers (list_plans)" "200 with an error" "a missing permission is named above: scripts/grant-graph-permissions.sh grants it"
fi
echo "works: connect clients to $url/mcp"
