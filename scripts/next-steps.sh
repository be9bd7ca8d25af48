#!/usr/bin/env bash
# After a deployment: what is left to do, with this deployment's names filled in.
set -euo pipefail

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
