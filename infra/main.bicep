// GraphGate on Azure Functions, Flex Consumption: `azd up` deploys this. Native resource types and local modules only, so
// that it compiles without fetching anything.
targetScope = 'subscription'

@description('Name of the azd environment; part of every resource name.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region. It must offer Flex Consumption.')
param location string

@description('Object id of the person who deploys; gets the data roles, to read tables, queues and secrets. Empty: nobody gets them.')
param principalId string = ''

@description('What the deploying principal is.')
@allowed(['User', 'ServicePrincipal'])
param principalType string = 'User'

@description('Put storage and vault behind private endpoints in a virtual network.')
param vnetEnabled bool = false

@description('Memory of an instance in MB; 512 has a quarter of a core.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 512

@description('HTTP requests one instance works on at once before another one is started.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 32

@description('HTTP instances that are always there: no cold start, but a price by the hour.')
@minValue(0)
@maxValue(20)
param alwaysReadyHttp int = 0

@description('Most instances.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Addresses and networks the app answers, separated by commas; empty is all. Holds for the whole site, health and the webhook too.')
param allowedIps string = ''

@description('With allowedIps: the addresses Microsoft Graph sends change notifications from, separated by commas, as Microsoft publishes them under "Additional endpoints for Microsoft 365".')
param graphNotificationIps string = ''

@description('Where alerts go. Empty: they only show in the portal.')
param alertEmail string = ''

@description('Who asks callers of /mcp, /api and /metrics who they are: the program (anonymous), which takes people who have signed in and API keys; or the host, by keys of its own (function): clients then cannot sign in, because the host does not tell them where. The package must be made with the same HTTP_AUTH_LEVEL.')
@allowed(['anonymous', 'function'])
param httpAuthLevel string = 'anonymous'

@description('With httpAuthLevel function: what holders of a key of the host may do.')
param hostKeyRole string = 'GraphGate.Admin'

@description('Address by which people and Microsoft Graph reach the app, such as https://gate.contoso.com. Empty: the one that Azure gives it.')
param publicUrl string = ''

@description('Id of the Entra application that people sign in to; scripts/register-sign-in.sh registers it after the first deployment. Empty: nobody can sign in.')
param signInClientId string = ''

@description('Further app settings, as docs/settings.md lists them: {"PLANNER_GROUP_IDS": "…"}. Settings made elsewhere are gone after the next deployment of this file.')
param settings object = {}

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = {
  scope: group
  params: { name: 'id-graphgate-${token}', location: location, tags: tags }
}

module monitoring 'app/monitoring.bicep' = {
  scope: group
  params: { token: token, location: location, tags: tags }
}

module network 'app/network.bicep' = if (vnetEnabled) {
  scope: group
  params: { token: token, location: location, tags: tags }
}

module storage 'app/storage.bicep' = {
  scope: group
  params: {
    name: 'stgg${token}'
    location: location
    tags: tags
    private: vnetEnabled
    workspaceId: monitoring.outputs.workspaceId
  }
}

module vault 'app/vault.bicep' = {
  scope: group
  params: {
    name: 'kv-gg-${token}'
    location: location
    tags: tags
    private: vnetEnabled
    workspaceId: monitoring.outputs.workspaceId
  }
}

module endpoints 'app/endpoints.bicep' = if (vnetEnabled) {
  scope: group
  params: {
    location: location
    tags: tags
    subnetId: vnetEnabled ? network!.outputs.endpointsSubnetId : ''
    networkId: vnetEnabled ? network!.outputs.networkId : ''
    storageName: storage.outputs.name
    vaultName: vault.outputs.name
  }
}

module roles 'app/roles.bicep' = {
  scope: group
  params: {
    storageName: storage.outputs.name
    vaultName: vault.outputs.name
    insightsName: monitoring.outputs.insightsName
    identityPrincipalId: identity.outputs.principalId
    deployerPrincipalId: principalId
    deployerPrincipalType: principalType
  }
}

module function 'app/function.bicep' = {
  scope: group
  params: {
    name: 'func-graphgate-${token}'
    planName: 'plan-graphgate-${token}'
    location: location
    tags: union(tags, { 'azd-service-name': 'graphgate' })
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    vaultUri: vault.outputs.uri
    deploymentContainer: storage.outputs.deploymentContainer
    insightsConnectionString: monitoring.outputs.insightsConnectionString
    workspaceId: monitoring.outputs.workspaceId
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    instanceMemoryMB: instanceMemoryMB
    httpConcurrency: httpConcurrency
    alwaysReadyHttp: alwaysReadyHttp
    maximumInstances: maximumInstances
    allowedIps: allowedIps
    graphNotificationIps: graphNotificationIps
    httpAuthLevel: httpAuthLevel
    hostKeyRole: hostKeyRole
    publicUrl: publicUrl
    signInClientId: signInClientId
    settings: settings
  }
  dependsOn: [roles]
}

module alerts 'app/alerts.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    siteId: function.outputs.id
    // A client that signs people in is refused once before it knows where, and again when its token has ended.
    refusals: httpAuthLevel == 'function' ? 50 : 500
    email: alertEmail
  }
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = function.outputs.name
output SERVICE_GRAPHGATE_NAME string = function.outputs.name
output AZURE_STORAGE_ACCOUNT string = storage.outputs.name
output AZURE_KEY_VAULT_NAME string = vault.outputs.name
output MANAGED_IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
output MANAGED_IDENTITY_CLIENT_ID string = identity.outputs.clientId
output AZURE_TABLES_ENDPOINT string = storage.outputs.tablesEndpoint
output GRAPHGATE_URL string = function.outputs.url
output MCP_URL string = '${function.outputs.url}/mcp'
