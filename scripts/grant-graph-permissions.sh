#!/usr/bin/env bash
# Grants an identity the Microsoft Graph application permissions that GraphGate's tools need, no others.
#
#   grant-graph-permissions.sh --principal OBJECT_ID [--delegated] [--toolsets planner,…] [--read-only] [--dry-run]
#
# OBJECT_ID is the *service principal's* (of the managed identity, or of the app registration): `azd env get-value
# MANAGED_IDENTITY_PRINCIPAL_ID`. With --delegated it is that of the application people sign in to, and this consents to its
# delegated permissions for everybody in the tenant. The person who runs this needs to be Privileged Role Administrator. The
# permissions are in graph-permissions.txt and graph-permissions-delegated.txt, which are generated from the program's table of
# tools. What is granted already stays.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

readonly GRAPH=00000003-0000-0000-c000-000000000000 # Microsoft Graph's application id, the same in every tenant
# What every sign-in asks for: who it is, and to be asked no second time (ALWAYS in src/auth/delegated/microsoft.rs).
readonly SIGN_IN=(openid profile offline_access)
principal='' toolsets=all access=write dry_run=no kind=application file=graph-permissions.txt
fail() { echo "grant: $*" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --principal) principal=${2:?--principal needs an object id}; shift 2 ;;
    --delegated) kind=delegated file=graph-permissions-delegated.txt; shift ;;
    --toolsets) toolsets=${2:?--toolsets needs names}; shift 2 ;;
    --read-only) access='read'; shift ;;
    --dry-run) dry_run=yes; shift ;;
    *) fail "unknown argument '$1'; see --help" ;;
  esac
done
[[ $principal =~ ^[0-9a-fA-F-]{36}$ ]] || fail "--principal needs the object id of a service principal"

known=$(grep -hv '^#' "$here"/graph-permissions*.txt | cut -d ' ' -f 1 | sort -u)
if [ "$toolsets" != all ]; then
  for toolset in ${toolsets//,/ }; do
    grep -qxF "$toolset" <<<"$known" || fail "there is no toolset '$toolset'; known: $(tr '\n' ' ' <<<"$known")"
  done
fi
wanted=()
if [ "$kind" = delegated ]; then wanted=("${SIGN_IN[@]}"); fi
while read -r toolset needed_for permission; do
  [ "$toolsets" = all ] || [[ ,$toolsets, == *",$toolset,"* ]] || continue
  [ "$needed_for" = always ] || [ "$needed_for" = "$access" ] || continue
  wanted+=("$permission")
done < <(grep -v '^#' "$here/$file")
[ ${#wanted[@]} -gt 0 ] || fail "no permission is needed for toolsets '$toolsets'"
# Who may write may read.
is_covered() { [[ $1 == *.Read.* ]] && printf '%s\n' "${wanted[@]}" | grep -qxF "${1/.Read./.ReadWrite.}"; }
needed=()
while read -r permission; do needed+=("$permission"); done < <(for permission in "${wanted[@]}"; do is_covered "$permission" || echo "$permission"; done | sort -u)

if [ "$dry_run" = yes ]; then
  printf 'would grant %s\n' "${needed[@]}"
  exit 0
fi
graph=$(az ad sp show --id "$GRAPH" --query id --output tsv)

# Consents for everybody: one grant holds all delegated permissions of the application.
if [ "$kind" = delegated ]; then
  found=$(az rest --method GET --url "https://graph.microsoft.com/v1.0/servicePrincipals/$principal/oauth2PermissionGrants" \
    --query "value[?consentType=='AllPrincipals' && resourceId=='$graph'].[id, scope]" --output tsv)
  IFS=$'\t' read -r id scope <<<"$found"
  missing=()
  for permission in "${needed[@]}"; do
    case " $scope " in *" $permission "*) echo "has      $permission" ;; *) missing+=("$permission") ;; esac
  done
  [ ${#missing[@]} -gt 0 ] || exit 0
  if [ -n "$id" ]; then
    az rest --method PATCH --url "https://graph.microsoft.com/v1.0/oauth2PermissionGrants/$id" --output none \
      --body "{\"scope\":\"$scope ${missing[*]}\"}"
  else
    az rest --method POST --url "https://graph.microsoft.com/v1.0/oauth2PermissionGrants" --output none \
      --body "{\"clientId\":\"$principal\",\"consentType\":\"AllPrincipals\",\"resourceId\":\"$graph\",\"scope\":\"${missing[*]}\"}"
  fi
  printf 'granted  %s to everybody\n' "${missing[@]}"
  exit 0
fi

granted=$(az rest --method GET --url "https://graph.microsoft.com/v1.0/servicePrincipals/$principal/appRoleAssignments" \
  --query "value[?resourceId=='$graph'].appRoleId" --output tsv)
for permission in "${needed[@]}"; do
  role=$(az ad sp show --id "$GRAPH" --query "appRoles[?value=='$permission'].id | [0]" --output tsv)
  [ -n "$role" ] || fail "Microsoft Graph has no application permission '$permission'"
  if grep -qxF "$role" <<<"$granted"; then
    echo "has      $permission"
    continue
  fi
  az rest --method POST --url "https://graph.microsoft.com/v1.0/servicePrincipals/$principal/appRoleAssignments" --output none \
    --body "{\"principalId\":\"$principal\",\"resourceId\":\"$graph\",\"appRoleId\":\"$role\"}"
  echo "granted  $permission"
done
echo "an app that has a token already may get one with these rights only after up to 24 hours, restarts or not"
