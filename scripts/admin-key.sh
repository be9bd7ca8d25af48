#!/usr/bin/env bash
# Makes the first API key of a deployment, called `admin`, of the role GraphGate.Admin, and shows it this once; `azd deploy` calls
# this afterwards, by way of next-steps.sh. Where a key of that name was ever made, nothing is. It is made by the packaged program
# itself, which writes to the deployment's table as the person who is signed in to az.
#
#   admin-key.sh [--file PATH]   --file: the key is written to PATH, readable by you alone, and shown nowhere. Without it standard
#                                output has to be a terminal, so that no log keeps the key
#
#   AZURE_TABLES_ENDPOINT, AZURE_TENANT_ID   the store; azd sets both from the outputs of infra/main.bicep
#   PACKAGE_DIST                             where the package lies; dist
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

readonly NAME=admin TRIES=10 PAUSE=${KEY_PAUSE:-15}
file=''
while [ $# -gt 0 ]; do
  case $1 in
    --file) file=${2:?--file needs a path}; shift 2 ;;
    *) echo "admin-key: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
done
endpoint=${AZURE_TABLES_ENDPOINT:-} tenant=${AZURE_TENANT_ID:-}
program=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/${PACKAGE_DIST:-dist}/graphgate
case ${PACKAGE_DIST:-} in /*) program=$PACKAGE_DIST/graphgate ;; esac

# Why there is none, and how to make it.
none() {
  echo "admin key: none was made, because $1. To make it, $2:"
  echo "    AZURE_TENANT_ID=${tenant:-TENANT_ID} AZURE_TABLES_ENDPOINT=${endpoint:-https://ACCOUNT.table.core.windows.net} graphgate keys create $NAME --operator"
  exit 1
}
readonly SIGNED_IN="with az signed in as somebody who has the role Storage Table Data Contributor"
if [ -z "$endpoint" ] || [ -z "$tenant" ]; then none "AZURE_TABLES_ENDPOINT or AZURE_TENANT_ID is not set (azd provision sets them)" "$SIGNED_IN"; fi
if [ "${VNET_ENABLED:-false}" = true ]; then none "the store is behind a private endpoint" "on a machine in its network, $SIGNED_IN"; fi
"$program" --version >/dev/null 2>&1 ||
  none "the package does not run on this machine ($(uname -sm))" "with a graphgate of this machine's own (cargo build --release), $SIGNED_IN"

# Settings in the azd environment are the deployment's, and not those of a command on this machine.
keys() {
  local name kept=()
  for name in PATH HOME AZURE_CONFIG_DIR AZD_CONFIG_DIR HTTPS_PROXY https_proxy NO_PROXY no_proxy SSL_CERT_FILE SSL_CERT_DIR; do
    if [ -n "${!name:-}" ]; then kept+=("$name=${!name}"); fi
  done
  env -i "${kept[@]}" AZURE_TENANT_ID="$tenant" AZURE_TABLES_ENDPOINT="$endpoint" REQUIRE_API_KEY=true "$program" keys "$@" --output json
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# A role that was given a moment ago works after a minute or two.
for try in $(seq "$TRIES"); do
  if id=$(keys list --query "keys[?name=='$NAME'].id | [0]" 2>"$folder/said"); then break; fi
  if [ "$try" = "$TRIES" ] || ! grep -q AuthorizationPermissionMismatch "$folder/said"; then
    cat "$folder/said" >&2
    echo >&2
    none "the store does not answer" "$SIGNED_IN"
  fi
  echo "the store does not let us in yet ($try of $TRIES)" >&2
  sleep "$PAUSE"
done
if [ "$id" != null ]; then
  echo "admin key: there is one already, ${id//\"/}, which was shown when it was made. Lost? docs/azure.md, *Keys*, says how to make another"
  exit 0
fi
if [ -z "$file" ] && [ ! -t 1 ]; then
  none "standard output is no terminal, and a log would keep the key" "$SIGNED_IN"
fi
if [ -n "$file" ]; then install -m 0600 /dev/null "$file"; fi
if ! key=$(keys create "$NAME" --operator --query key 2>"$folder/said"); then
  cat "$folder/said" >&2
  printf '\nadmin key: whether it was made is not known, and nobody has seen it: azd hooks run postdeploy makes it where it was not.\n' >&2
  if [ -n "$file" ]; then rm -f "$file"; fi
  exit 1
fi
key=${key//\"/}
if [ -n "$file" ]; then
  printf '%s\n' "$key" >"$file"
  echo "admin key: written to $file"
else
  printf '\nThe API key of the administrator. Keep it: it is not shown again.\n\n    %s\n\n' "$key"
fi
