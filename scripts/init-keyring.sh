#!/usr/bin/env bash
# Makes the keyring in the deployment's vault, unless it is there: what signs cursors and addresses of reports. The app may
# read secrets and not write them, so the person who deploys makes it; `azd provision` calls this afterwards. The same as
# `graphgate keys init`, for machines that cannot run the package. A vault behind private endpoints is reached by way of
# Azure Resource Manager, which takes secrets for it from anybody who may deploy it.
#
#   AZURE_KEY_VAULT_NAME   the vault; azd sets it from the outputs of infra/main.bicep
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

vault=${AZURE_KEY_VAULT_NAME:?names the vault}
readonly NAME=graphgate-keyring TRIES=10 PAUSE=${KEYRING_PAUSE:-15}

# By way of a file only its owner can read: what stands on a command line is seen by everybody on the machine.
umask 077
ring=$(mktemp)
trap 'rm -f "$ring"' EXIT
key() { openssl rand -base64 32; }

# A role that was given a moment ago works after a minute or two.
for try in $(seq "$TRIES"); do
  if said=$(az keyvault secret show --vault-name "$vault" --name "$NAME" --query id --output tsv 2>&1); then
    echo "the keyring is in $vault already"
    exit 0
  fi
  case $said in
    *SecretNotFound*) break ;;
    *ForbiddenByConnection* | *ForbiddenByFirewall* | *'Public network access is disabled'*)
      secret="$(az keyvault show --name "$vault" --query id --output tsv)/secrets/$NAME?api-version=2025-05-01"
      if said=$(az rest --method get --url "$secret" --output none 2>&1); then
        echo "the keyring is in $vault already"
        exit 0
      fi
      case $said in
        *NotFound* | *'Not Found'*) ;;
        *) echo "$said" >&2; echo "run 'graphgate keys init' from inside the network instead" >&2; exit 1 ;;
      esac
      printf '{"properties":{"value":"{\\"current\\":1,\\"keys\\":{\\"1\\":\\"%s\\"}}"}}' "$(key)" >"$ring"
      az rest --method put --url "$secret" --body "@$ring" --output none
      echo "the keyring is in $vault"
      exit 0
      ;;
    *Forbidden*) echo "the vault does not let us in yet ($try of $TRIES)" >&2 ;;
    *)
      echo "$said" >&2
      echo "the vault cannot be asked" >&2
      exit 1
      ;;
  esac
  [ "$try" != "$TRIES" ] || { echo "the person who deploys needs the role 'Key Vault Secrets Officer' on $vault" >&2; exit 1; }
  sleep "$PAUSE"
done

printf '{"current":1,"keys":{"1":"%s"}}' "$(key)" >"$ring"
az keyvault secret set --vault-name "$vault" --name "$NAME" --file "$ring" --encoding utf-8 --output none
echo "the keyring is in $vault"
