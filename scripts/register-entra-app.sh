#!/usr/bin/env bash
# Registers an Entra application for a GraphGate that runs outside Azure, or lets it be proved by a token of another
# issuer, and grants it what its tools need.
#
#   register-entra-app.sh --name NAME (--certificate PEM | --federated ISSUER SUBJECT | --secret-file PATH)
#                         [--toolsets planner,…] [--read-only]
#
# A certificate's private key never leaves this machine: only the public part is uploaded. A secret is written to PATH,
# readable by you alone, and shown nowhere. Needs the Azure CLI, signed in as Application Administrator; granting needs
# Privileged Role Administrator.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

name='' certificate='' issuer='' subject='' secret_file='' grant=()
fail() { echo "register: $*" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --name) name=${2:?--name needs a name}; shift 2 ;;
    --certificate) certificate=${2:?--certificate needs a file}; shift 2 ;;
    --federated) issuer=${2:?--federated needs an issuer}; subject=${3:?--federated needs a subject}; shift 3 ;;
    --secret-file) secret_file=${2:?--secret-file needs a path}; shift 2 ;;
    --toolsets) grant+=(--toolsets "${2:?--toolsets needs names}"); shift 2 ;;
    --read-only) grant+=(--read-only); shift ;;
    *) fail "unknown argument '$1'; see --help" ;;
  esac
done
[ -n "$name" ] || fail "--name is missing"
[ -n "$certificate$issuer$secret_file" ] || fail "say how it proves itself: --certificate, --federated or --secret-file"
if [ -n "$certificate" ]; then [ -r "$certificate" ] || fail "'$certificate' cannot be read"; fi

# Of exactly this name: --display-name would also find those that only begin with it.
app=$(az ad app list --filter "displayName eq '${name//\'/\'\'}'" --query '[].appId' --output tsv)
[ "$(wc -w <<<"$app")" -le 1 ] || fail "several applications are called '$name': choose another name"
if [ -z "$app" ]; then
  app=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
  echo "registered $name: $app"
else
  echo "found      $name: $app"
fi
principal=$(az ad sp list --filter "appId eq '$app'" --query '[0].id' --output tsv)
[ -n "$principal" ] || principal=$(az ad sp create --id "$app" --query id --output tsv)

if [ -n "$certificate" ]; then
  public=$(mktemp)
  trap 'rm -f "$public"' EXIT
  openssl x509 -in "$certificate" -out "$public" # without the key that may stand beside it
  az ad app credential reset --id "$app" --append --cert "@$public" --output none
  echo "certificate uploaded; set AZURE_CLIENT_CERTIFICATE_PATH=$certificate"
fi
if [ -n "$issuer" ]; then
  az ad app federated-credential create --id "$app" --output none --parameters \
    "{\"name\":\"graphgate\",\"issuer\":\"$issuer\",\"subject\":\"$subject\",\"audiences\":[\"api://AzureADTokenExchange\"]}"
  echo "trusts $subject of $issuer; AZURE_FEDERATED_TOKEN_FILE is set by the platform"
fi
if [ -n "$secret_file" ]; then
  (umask 077 && az ad app credential reset --id "$app" --append --years 1 --query password --output tsv >"$secret_file")
  echo "secret written to $secret_file, good for a year: AZURE_CLIENT_SECRET=\$(cat $secret_file)"
fi
"$here/grant-graph-permissions.sh" --principal "$principal" "${grant[@]}"
echo "AZURE_TENANT_ID=$(az account show --query tenantId --output tsv)"
echo "AZURE_CLIENT_ID=$app"
