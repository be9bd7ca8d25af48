#!/usr/bin/env bash
# After a deployment: what is left to do, with this deployment's names filled in.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

url=${GRAPHGATE_URL:-https://$AZURE_FUNCTION_NAME.azurewebsites.net}
cat <<TEXT

GraphGate is deployed: $url

  1. Let it into Microsoft 365 (a Privileged Role Administrator, once; what is granted while the
     app runs may take up to a day to work, so at first: azd provision, this, azd deploy):
       scripts/grant-graph-permissions.sh --principal $MANAGED_IDENTITY_PRINCIPAL_ID
  2. Fetch the key callers send:
       az functionapp keys list -g $AZURE_RESOURCE_GROUP -n $AZURE_FUNCTION_NAME --query functionKeys.default -o tsv
  3. See whether it works:
       scripts/test-connection.sh $url KEY
  4. Connect a client:
       claude mcp add --transport http graphgate $url/mcp --header "x-functions-key: KEY"

TEXT

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
echo "  scripts/test-connection.sh $url KEY says more" >&2
exit 1
