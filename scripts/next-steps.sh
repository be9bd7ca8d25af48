#!/usr/bin/env bash
# After a deployment: makes the administrator's API key, once, and says what is left to do, with this deployment's names filled in.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

url=${GRAPHGATE_URL:-https://$AZURE_FUNCTION_NAME.azurewebsites.net}
level=${HTTP_AUTH_LEVEL:-anonymous}
printf '\nGraphGate is deployed: %s\n\n' "$url"
if [ "$level" = anonymous ]; then "$here/admin-key.sh" || true; fi
cat <<TEXT

  1. Let it into Microsoft 365 (a Privileged Role Administrator, once; what is granted while the
     app runs may take up to a day to work, so at first: azd provision, this, azd deploy):
       scripts/grant-graph-permissions.sh --principal $MANAGED_IDENTITY_PRINCIPAL_ID
TEXT
if [ "$level" = function ]; then
  cat <<TEXT
  2. Fetch the key callers send. Clients cannot sign in, because HTTP_AUTH_LEVEL is function:
       az functionapp keys list -g $AZURE_RESOURCE_GROUP -n $AZURE_FUNCTION_NAME --query functionKeys.default -o tsv
  3. See whether it works:
       GRAPHGATE_KEY=KEY scripts/test-connection.sh $url
  4. Connect a client:
       claude mcp add --transport http graphgate $url/mcp --header "x-functions-key: KEY"

TEXT
else
  cat <<TEXT
  2. See whether it works, with the API key:
       GRAPHGATE_KEY=KEY scripts/test-connection.sh $url
  3. Connect a client: of a person, who signs in with Microsoft; of a program, which sends a key
       claude mcp add --transport http graphgate $url/mcp
       claude mcp add --transport http graphgate $url/mcp --header "x-api-key: KEY"
TEXT
  if [ -z "${SIGN_IN_CLIENT_ID:-}" ] && [ "${REGISTER_SIGN_IN:-true}" != false ]; then
    echo "  4. People cannot sign in yet, because no application is registered:"
    "$here/register-sign-in.sh" --print | sed 's/^/   /'
  fi
  echo
fi

# As Microsoft Graph does before it makes a subscription; a new app takes a while for its first start.
token=graphgate-$$-$RANDOM
for _ in $(seq "${TRIES:-12}"); do
  echoed=$(curl --silent --max-time 30 --request POST --header 'content-length: 0' "$url/api/graph_webhook?validationToken=$token" || true)
  if [ "$echoed" = "$token" ]; then
    echo "Microsoft Graph reaches it: $url/api/graph_webhook answers."
    exit 0
  fi
  sleep "${PAUSE:-10}"
done
echo "next-steps: $url/api/graph_webhook does not give a validation token back, so no subscription can be made yet;" >&2
echo "  GRAPHGATE_KEY=KEY scripts/test-connection.sh $url says more" >&2
exit 1
