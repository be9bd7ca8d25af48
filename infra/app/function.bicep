// The app and its plan. All HTTP functions share instances; every timer and every queue has instances of its own.
param name string
param planName string
param location string
param tags object
param identityId string
param identityClientId string
param storageName string
param vaultUri string
param deploymentContainer string
param insightsConnectionString string
param workspaceId string
param subnetId string
param instanceMemoryMB int
param httpConcurrency int
param alwaysReadyHttp int
param maximumInstances int
param allowedIps string
param graphNotificationIps string
param httpAuthLevel string
param hostKeyRole string
param publicUrl string
param signInClientId string
param settings object

// What people are sent back to after they have signed in, and what links and subscriptions name.
var url = empty(publicUrl) ? 'https://${site.properties.defaultHostName}' : publicUrl

// A network in the notation of access restrictions; Graph's own addresses come in too, or no change notification arrives.
var callers = filter(map(split(allowedIps, ','), ip => trim(ip)), ip => !empty(ip))
var graph = filter(map(split(graphNotificationIps, ','), ip => trim(ip)), ip => !empty(ip))
var allowed = empty(callers) ? [] : concat(callers, graph)
var restrictions = [for (ip, index) in allowed: {
  name: index < length(callers) ? 'caller-${index}' : 'graph-${index - length(callers)}'
  ipAddress: contains(ip, '/') ? ip : contains(ip, ':') ? '${ip}/128' : '${ip}/32'
  action: 'Allow'
  priority: 100 + index
}]

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      ipSecurityRestrictions: restrictions
      ipSecurityRestrictionsDefaultAction: empty(callers) ? 'Allow' : 'Deny'
    }
    functionAppConfig: {
      runtime: { name: 'custom', version: '1.0' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReadyHttp > 0 ? [{ name: 'http', instanceCount: alwaysReadyHttp }] : []
        triggers: {
          http: { perInstanceConcurrency: httpConcurrency }
        }
      }
    }
  }

  // Names of the table in docs/settings.md, the platform's own aside.
  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(
      {
        AzureWebJobsStorage__credential: 'managedidentity'
        AzureWebJobsStorage__clientId: identityClientId
        AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
        AzureWebJobsStorage__queueServiceUri: storage.properties.primaryEndpoints.queue
        AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
        APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
        AzureWebJobsDisableHomepage: 'true'
        // The host keeps every body in memory before the program sees it; the program refuses what is above 4 MiB itself.
        FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '5242880'
        KEY_VAULT_URL: vaultUri
        AZURE_TENANT_ID: tenant().tenantId
        AZURE_CLIENT_ID: identityClientId
        PUBLIC_URL: url
        LOG_FORMAT: 'json'
      },
      // A key of the host is believed only because the package's functions ask for one. Otherwise the program asks.
      httpAuthLevel == 'function' ? { HOST_KEY_ROLE: hostKeyRole } : { REQUIRE_API_KEY: 'true' },
      !empty(signInClientId) ? { SIGN_IN_CLIENT_ID: signInClientId } : {},
      !empty(publicUrl) ? { ALLOWED_HOSTS: site.properties.defaultHostName } : {}, // a gateway may call it by this name
      settings
    )
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: site
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

output id string = site.id
output name string = site.name
output url string = url
