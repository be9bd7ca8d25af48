#!/usr/bin/env bash
# Registers the Entra application that people sign in to, and tells its id (SIGN_IN_CLIENT_ID) to the app and to the azd
# environment; `azd provision` calls this afterwards. The application trusts the deployment's managed identity: there is no
# secret. Where the person who deploys may not register applications, this prints the one line that an administrator runs, and the
# deployment goes on without sign-in.
#
#   register-sign-in.sh [--print]   --print: that line alone
#
#   HTTP_AUTH_LEVEL     function: nothing is registered, because clients could not sign in
#   REGISTER_SIGN_IN    false: nothing is registered
#   SIGN_IN_CLIENT_ID   the application, where there is one already; it is completed, and no other is registered
#
# The rest comes from the outputs of infra/main.bicep, which azd sets.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ "${HTTP_AUTH_LEVEL:-anonymous}" = function ]; then
  echo "sign-in: HTTP_AUTH_LEVEL is function, so clients cannot sign in and no application is registered"
  exit 0
fi
if [ "${REGISTER_SIGN_IN:-true}" = false ]; then
  echo "sign-in: REGISTER_SIGN_IN is false, so no application is registered"
  exit 0
fi
url=${GRAPHGATE_URL:?the address of the deployment: run this as a hook of azd}

app=(--resource-group "$AZURE_RESOURCE_GROUP" --name "$AZURE_FUNCTION_NAME")
if [ -n "${AZURE_SUBSCRIPTION_ID:-}" ]; then app+=(--subscription "$AZURE_SUBSCRIPTION_ID"); fi
# What the app was told by infra/main.parameters.json: which tools it offers, and perhaps an application.
settings=$(az functionapp config appsettings list "${app[@]}" --output tsv \
  --query "[?name=='ENABLED_TOOLSETS' || name=='READ_ONLY' || name=='SIGN_IN_CLIENT_ID'].[name, value]" 2>/dev/null || true)
setting() { awk -F '\t' -v name="$1" '$1 == name { print $2 }' <<<"$settings"; }
told=$(setting SIGN_IN_CLIENT_ID)
known=${told:-${SIGN_IN_CLIENT_ID:-}}

register=(--tenant "$AZURE_TENANT_ID")
if [ -n "$known" ]; then register+=(--client-id "$known"); else register+=(--name "GraphGate sign-in $AZURE_FUNCTION_NAME"); fi
register+=(--managed-identity "$MANAGED_IDENTITY_PRINCIPAL_ID" --redirect "$url/oauth/callback")
toolsets=$(setting ENABLED_TOOLSETS | tr -d ' ')
case ,$toolsets, in ,, | *,all,*) ;; *) register+=(--toolsets "$toolsets") ;; esac
case $(setting READ_ONLY | tr '[:upper:]' '[:lower:]') in true | 1 | yes | on) register+=(--read-only) ;; esac

explain() {
  echo "  an Application Administrator of the tenant runs, in a clone of this repository:"
  printf '    scripts/register-entra-app.sh'
  local word
  for word in "${register[@]}"; do case $word in *' '*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
  printf '\n'
  if [ -z "$known" ]; then
    echo "  and you, with the id that it prints:"
    echo "    azd env set SIGN_IN_CLIENT_ID ID && azd provision"
  fi
}
if [ "${1:-}" = --print ]; then explain; exit 0; fi

# What it says is shown at once, so that it stands before why it ends.
exec 3>&1
show() { while IFS= read -r line; do printf '%s\n' "$line" >&3; printf '%s\n' "$line"; done; }
if ! said=$("$here/register-entra-app.sh" "${register[@]}" | show); then
  if [ -z "$known" ]; then
    echo "sign-in: people cannot sign in yet, because no application is registered; everything else goes on."
  else
    echo "sign-in: whether people can sign in is not known, because the application $known could not be checked; everything else goes on."
    echo "  Is it gone? azd env set SIGN_IN_CLIENT_ID \"\" && azd provision registers another. Otherwise"
  fi
  explain
  exit 0
fi
id=$(sed -n 's/^SIGN_IN_CLIENT_ID=//p' <<<"$said")

# At once, for this deployment, and for the next one, which writes all settings again.
if [ "$id" != "$told" ]; then
  if az functionapp config appsettings set "${app[@]}" --settings "SIGN_IN_CLIENT_ID=$id" --output none; then
    echo "sign-in: the app knows the application"
  else
    echo "sign-in: the app could not be told the application; azd provision tells it"
  fi
fi
if [ "$id" != "${SIGN_IN_CLIENT_ID:-}" ]; then
  if azd env set SIGN_IN_CLIENT_ID "$id" ${AZURE_ENV_NAME:+--environment "$AZURE_ENV_NAME"}; then
    echo "sign-in: the azd environment knows it, too"
  else
    echo "sign-in: the azd environment does not know it, so the next azd provision takes it from the app: azd env set SIGN_IN_CLIENT_ID $id"
  fi
fi
if [ "$id" = "$told" ] && [ "$id" = "${SIGN_IN_CLIENT_ID:-}" ]; then exit 0; fi
echo "sign-in: people consent when they sign in for the first time; where they may not, a Privileged Role Administrator runs"
echo "    scripts/register-entra-app.sh --tenant $AZURE_TENANT_ID --client-id $id --admin-consent"
