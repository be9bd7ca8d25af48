#!/usr/bin/env bash
# Says what is missing before `azd up` finds out half-way: tools, the azd switch, the build target, settings of the azd
# environment, the region's and the subscription's readiness. Names everything at once, with the way out, and changes
# nothing.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=0
lacks() { # lacks WHAT WAY_OUT
  missing=$((missing + 1))
  echo "missing: $1"
  echo "   hint: $2"
}
has() { command -v "$1" >/dev/null 2>&1; }

has azd || lacks "the Azure Developer CLI (azd)" "https://aka.ms/azd-install"
has az || lacks "the Azure CLI (az)" "https://aka.ms/azure-cli; it makes the keyring, registers the application and grants permissions"
has openssl || lacks "openssl" "it makes the random key of the keyring"
has cargo || lacks "Rust (cargo)" "https://rustup.rs; the package is built on this machine"

if has azd && [ "${AZD_ALPHA_ENABLE_LANGUAGE_CUSTOM:-}" != true ]; then
  azd config get alpha.language.custom 2>/dev/null | grep -q on ||
    lacks "azd's alpha switch for custom handlers" "azd config set alpha.language.custom on"
fi

case ${HTTP_AUTH_LEVEL:-anonymous} in
  anonymous) ;;
  function) echo "note: HTTP_AUTH_LEVEL is function: the host asks for keys of its own, so clients cannot sign in" ;;
  *) lacks "a value of HTTP_AUTH_LEVEL that is known ('$HTTP_AUTH_LEVEL')" "azd env set HTTP_AUTH_LEVEL anonymous, or function" ;;
esac
case ${PUBLIC_URL:-} in
  '') ;;
  https://?*/* | *[[:space:]]*) lacks "a PUBLIC_URL without a path ('$PUBLIC_URL')" "azd env set PUBLIC_URL https://gate.contoso.com" ;;
  https://?*) ;;
  *) lacks "a PUBLIC_URL that begins with https:// ('$PUBLIC_URL')" "azd env set PUBLIC_URL https://gate.contoso.com" ;;
esac

target=${PACKAGE_TARGET:-x86_64-unknown-linux-musl}
if has rustc && [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  lacks "Rust's standard library for $target" "rustup target add $target"
fi
compiler=CC_${target//-/_}
case $target in
  *musl)
    has make || lacks make "apt-get install make"
    [ -n "${!compiler:-}" ] || has musl-gcc || lacks "a C compiler for $target" "apt-get install musl-tools, or set $compiler" ;;
esac

if has az; then
  if ! az account show --output none 2>/dev/null; then
    lacks "a sign-in to Azure" "az login, and azd auth login"
  else
    for provider in Microsoft.App Microsoft.Web Microsoft.Storage Microsoft.KeyVault Microsoft.Insights Microsoft.OperationalInsights; do
      state=$(az provider show --namespace "$provider" --query registrationState --output tsv 2>/dev/null || echo unknown)
      [ "$state" = Registered ] || lacks "the resource provider $provider ($state)" "az provider register --namespace $provider"
    done
    if [ -n "${AZURE_LOCATION:-}" ]; then
      name=$(az account list-locations --query "[?name=='$AZURE_LOCATION'].displayName" --output tsv)
      regions=$(az functionapp list-flexconsumption-locations --query '[].name' --output tsv 2>/dev/null || true)
      if [ -n "$regions" ] && ! grep -qixF -e "$AZURE_LOCATION" -e "$name" <<<"$regions"; then
        lacks "Flex Consumption in $AZURE_LOCATION" "choose one of: $(tr '\n' ' ' <<<"$regions")"
      fi
    fi
    # Role assignments need Owner, User Access Administrator or Role Based Access Control Administrator.
    me=$(az ad signed-in-user show --query id --output tsv 2>/dev/null || true)
    if [ -n "$me" ]; then
      subscription=${AZURE_SUBSCRIPTION_ID:-$(az account show --query id --output tsv)}
      roles=$(az role assignment list --assignee "$me" --include-groups --include-inherited \
        --scope "/subscriptions/$subscription" --query '[].roleDefinitionName' --output tsv 2>/dev/null || true)
      grep -qE 'Owner|User Access Administrator|Role Based Access Control Administrator' <<<"$roles" ||
        lacks "the right to assign roles in subscription $subscription" "ask for Owner, or for Contributor with Role Based Access Control Administrator"
    fi
  fi
fi

if [ "$missing" != 0 ]; then
  echo "$missing thing(s) missing; nothing was changed"
  exit 1
fi
echo "preflight: all there"
