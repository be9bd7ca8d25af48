#!/usr/bin/env bash
# Registers the Entra application of a GraphGate, or completes one that is there: the application it acts as where it runs
# outside Azure, the one that people sign in to (--redirect), or one for both.
#
#   register-entra-app.sh (--name NAME | --client-id ID) [--tenant ID] [PROOF] [--redirect URI] [--toolsets planner,…]
#                         [--read-only] [--admin-consent]
#
# PROOF is how it proves itself; one that is registered by --name needs it:
#
#   --managed-identity PRINCIPAL_ID  it trusts a managed identity (its object id) of the tenant: people sign in, and there is no
#                                    secret. Application permissions are the identity's own, so it is granted none
#   --certificate PEM                its private key never leaves this machine: only the public part is uploaded
#   --federated ISSUER SUBJECT       it trusts a token of another issuer
#   --secret-file PATH               a secret is written to PATH, readable by you alone, and shown nowhere
#
#   --redirect URI    people sign in to it and come back to URI, which is PUBLIC_URL/oauth/callback. It may ask them for the
#                     delegated permissions of the toolsets
#   --admin-consent   consent to those delegated permissions for everybody in the tenant, where people may not do so themselves
#   --toolsets, --read-only   only the permissions of these toolsets, and of tools that change nothing
#   --tenant ID       refuse when az is signed in to another tenant
#
# A second run changes nothing that is as it should be; each certificate and each secret is added to those there are. Needs the
# Azure CLI, signed in as Application Administrator, or as anybody where users may register applications; granting and consenting
# need Privileged Role Administrator.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

readonly GRAPH=00000003-0000-0000-c000-000000000000 # Microsoft Graph's application id, the same in every tenant
readonly EXCHANGE=api://AzureADTokenExchange TRIES=10 PAUSE=${REGISTER_PAUSE:-6}
name='' app='' tenant='' certificate='' issuer='' subject='' identity='' secret_file='' redirect='' consent=no made=no toolsets=()
fail() { echo "register: $*" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --name) name=${2:?--name needs a name}; shift 2 ;;
    --client-id) app=${2:?--client-id needs the id of an application}; shift 2 ;;
    --tenant) tenant=${2:?--tenant needs the id of a tenant}; shift 2 ;;
    --certificate) certificate=${2:?--certificate needs a file}; shift 2 ;;
    --federated) issuer=${2:?--federated needs an issuer}; subject=${3:?--federated needs a subject}; shift 3 ;;
    --managed-identity) identity=${2:?--managed-identity needs an object id}; shift 2 ;;
    --secret-file) secret_file=${2:?--secret-file needs a path}; shift 2 ;;
    --redirect) redirect=${2:?--redirect needs an address}; shift 2 ;;
    --toolsets) toolsets+=(--toolsets "${2:?--toolsets needs names}"); shift 2 ;;
    --read-only) toolsets+=(--read-only); shift ;;
    --admin-consent) consent=yes; shift ;;
    *) fail "unknown argument '$1'; see --help" ;;
  esac
done
own=$certificate$issuer$secret_file # proves the application that GraphGate acts as
[ -n "$name$app" ] || fail "--name or --client-id is missing"
[ -n "$app$own$identity" ] || fail "say how it proves itself: --managed-identity, --certificate, --federated or --secret-file"
if [ -n "$certificate" ]; then [ -r "$certificate" ] || fail "'$certificate' cannot be read"; fi
case $redirect in '' | https://?*/oauth/callback | http://localhost[:/]* | http://127.0.0.1[:/]*) ;; *) fail "'$redirect' is not PUBLIC_URL/oauth/callback" ;; esac
if [ -n "$identity" ]; then
  [[ $identity =~ ^[0-9a-fA-F-]{36}$ ]] || fail "--managed-identity needs the object id of a managed identity"
  [ -n "$redirect" ] || fail "--managed-identity is for signing people in: --redirect is missing"
fi
delegated() { # delegated OBJECT_ID ARGUMENT…
  "$here/grant-graph-permissions.sh" --delegated ${toolsets[@]+"${toolsets[@]}"} --principal "$@"
}
permissions=$(delegated 00000000-0000-0000-0000-000000000000 --dry-run | sed 's/^would grant //')

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# az with an answer. The directory shows what was registered a moment ago only after a while: such a call is repeated.
call() { # call WHAT ARGUMENT…
  local what=$1 try
  for try in $(seq "$TRIES"); do
    if az "${@:2}" 2>"$folder/said"; then return; fi
    case $made$(cat "$folder/said") in
      yes*'does not exist'* | yes*'does not reference'* | yes*ResourceNotFound*) [ "$try" = "$TRIES" ] || sleep "$PAUSE" ;;
      *) break ;;
    esac
  done
  {
    echo "register: cannot $what:"
    cat "$folder/said"
    case $(cat "$folder/said") in
      *'nsufficient privileges'* | *Authorization_RequestDenied* | *'Directory permission'*)
        echo "hint: you may not do that in this tenant; an administrator runs the same command" ;;
    esac
    echo "What is reported above is done; the same command goes on from there."
  } >&2
  exit 1
}

signed_in=$(call "see who is signed in (az login)" account show --query tenantId --output tsv)
[ "${tenant:-$signed_in}" = "$signed_in" ] ||
  fail "az is signed in to tenant $signed_in; nothing was changed. az login --allow-no-subscriptions --tenant $tenant"

# Of exactly this name: --display-name would also find those that only begin with it.
filter="displayName eq '${name//\'/\'\'}'"
if [ -n "$app" ]; then name=$app filter="appId eq '$app'"; fi
found=$(call "look for applications" ad app list --filter "$filter" --query '[].appId' --output tsv)
[ "$(wc -w <<<"$found")" -le 1 ] || fail "several applications are called '$name': say which by --client-id, or choose another name"
if [ -n "$found" ]; then
  app=$found
  echo "found      $name: $app"
elif [ -n "$app" ]; then
  fail "there is no application $app in tenant $signed_in; nothing was changed"
else
  app=$(call "register an application" ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
  made=yes
  echo "registered $name: $app"
fi
principal=$(call "look for its service principal" ad sp list --filter "appId eq '$app'" --query '[0].id' --output tsv)
[ -n "$principal" ] || principal=$(call "make its service principal" ad sp create --id "$app" --query id --output tsv)

# Has it trust a subject of an issuer. Another subject of this name was that of an identity which has been replaced.
trust() { # trust NAME ISSUER SUBJECT
  local known name issuer subject verb=create
  known=$(call "list what it trusts" ad app federated-credential list --id "$app" --query '[].[name, issuer, subject]' --output tsv)
  while IFS=$'\t' read -r name issuer subject; do
    if [ "$issuer $subject" = "$2 $3" ]; then echo "trusts     $3 of $2 already"; return; fi
    if [ "$name" = "$1" ]; then verb=update; fi
  done <<<"$known"
  local what="\"issuer\":\"$2\",\"subject\":\"$3\",\"audiences\":[\"$EXCHANGE\"]" which=()
  # A name is given once and cannot be among what changes.
  if [ "$verb" = update ]; then which=(--federated-credential-id "$1"); else what="\"name\":\"$1\",$what"; fi
  call "have it trust $3" ad app federated-credential "$verb" --id "$app" ${which[@]+"${which[@]}"} --output none --parameters "{$what}"
  echo "trusts     $3 of $2"
}

if [ -n "$certificate" ]; then
  openssl x509 -in "$certificate" -out "$folder/public" # without the key that may stand beside it
  call "upload the certificate" ad app credential reset --id "$app" --append --cert "@$folder/public" --output none
  echo "certificate uploaded; set AZURE_CLIENT_CERTIFICATE_PATH=$certificate"
fi
if [ -n "$issuer" ]; then
  trust graphgate "$issuer" "$subject"
  echo "AZURE_FEDERATED_TOKEN_FILE is set by the platform"
fi
if [ -n "$identity" ]; then
  trust managed-identity "https://login.microsoftonline.com/$signed_in/v2.0" "$identity"
  others=$(call "count its credentials" ad app show --id "$app" --query 'length([passwordCredentials, keyCredentials][])' --output tsv)
  if [ "${others:-0}" != 0 ]; then echo "warning: it also has $others secret(s) or certificate(s), which the managed identity does not need: remove them"; fi
fi
if [ -n "$secret_file" ]; then
  (umask 077 && call "make a secret" ad app credential reset --id "$app" --append --years 1 --query password --output tsv >"$secret_file")
  echo "secret written to $secret_file, good for a year: AZURE_CLIENT_SECRET=\$(cat $secret_file)"
fi

if [ -n "$redirect" ]; then
  known=$(call "read where it sends people back to" ad app show --id "$app" --query web.redirectUris --output tsv)
  if grep -qxF "$redirect" <<<"$known"; then
    echo "redirects  to $redirect already"
  else
    addresses=("$redirect")
    while read -r address; do [ -z "$address" ] || addresses+=("$address"); done <<<"$known"
    call "add the redirect address" ad app update --id "$app" --web-redirect-uris "${addresses[@]}" --output none
    echo "redirects  to $redirect"
  fi
  scopes=$(call "read the permissions of Microsoft Graph" ad sp show --id "$GRAPH" --query 'oauth2PermissionScopes[].[value, id]' --output tsv)
  known=$(call "read its permissions" ad app show --id "$app" --query "requiredResourceAccess[?resourceAppId=='$GRAPH'].resourceAccess[].id" --output tsv)
  missing=() added=()
  while read -r permission; do
    id=$(awk -v name="$permission" '$1 == name { print $2 }' <<<"$scopes")
    [ -n "$id" ] || fail "Microsoft Graph has no delegated permission '$permission'"
    if grep -qxF "$id" <<<"$known"; then echo "asks for   $permission already"; continue; fi
    missing+=("$id=Scope")
    added+=("$permission")
  done <<<"$permissions"
  if [ ${#missing[@]} -gt 0 ]; then
    call "add permissions" ad app permission add --id "$app" --api "$GRAPH" --api-permissions "${missing[@]}" --output none
    printf 'asks for   %s\n' "${added[@]}"
  fi
fi
echo "AZURE_TENANT_ID=$signed_in"
if [ -n "$own" ]; then echo "AZURE_CLIENT_ID=$app"; fi
if [ -n "$redirect" ]; then echo "SIGN_IN_CLIENT_ID=$app"; fi
if [ "$consent" = yes ]; then delegated "$principal"; fi
if [ -n "$own" ]; then "$here/grant-graph-permissions.sh" --principal "$principal" ${toolsets[@]+"${toolsets[@]}"}; fi
