// Optional: an Entra application for callers, and Easy Auth before the app, in place of the program's own sign-in. It needs the
// right to register applications and fetches Microsoft's Graph extension, so it stands apart:
//
//   az deployment group create -g "$AZURE_RESOURCE_GROUP" -f infra/entra/main.bicep -p functionName="$AZURE_FUNCTION_NAME" \
//     identityPrincipalId="$MANAGED_IDENTITY_PRINCIPAL_ID" identityClientId="$MANAGED_IDENTITY_CLIENT_ID"
//
// Its output goes into `settings` of infra/main.parameters.json, and the program's own sign-in is left out:
// `azd env set REGISTER_SIGN_IN false && azd env set SIGN_IN_CLIENT_ID "" && azd up`, with HTTP_AUTH_LEVEL anonymous.
extension microsoftGraphV1

param functionName string
param identityPrincipalId string
param identityClientId string

@description('Client applications that need no consent; Visual Studio Code is the first.')
param preAuthorizedClientIds array = ['aebc6443-996d-45c2-90f0-388ff96faa56']

var scopeId = guid(resourceGroup().id, functionName, 'user_impersonation')
// As the program knows them: the administrator, and for each toolset reading and writing.
var roleNames = [
  'GraphGate.Admin'
  'Directory.Read'
  'Directory.ReadWrite'
  'Planner.Read'
  'Planner.ReadWrite'
  'Reports.Read'
  'Reports.ReadWrite'
  'Subscriptions.Read'
  'Subscriptions.ReadWrite'
  'Sync.Read'
  'Sync.ReadWrite'
]

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: 'graphgate-${functionName}'
  displayName: 'GraphGate (${functionName})'
  signInAudience: 'AzureADMyOrg'
  identifierUris: ['api://graphgate-${functionName}']
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: 'user_impersonation'
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Use GraphGate'
        adminConsentDescription: 'Use GraphGate as the signed-in user'
        userConsentDisplayName: 'Use GraphGate'
        userConsentDescription: 'Use GraphGate as you'
      }
    ]
    preAuthorizedApplications: [
      for client in preAuthorizedClientIds: { appId: client, delegatedPermissionIds: [scopeId] }
    ]
  }
  appRoles: [
    for role in roleNames: {
      id: guid(resourceGroup().id, functionName, role)
      value: role
      displayName: role
      description: 'GraphGate ${role}'
      allowedMemberTypes: ['User', 'Application']
      isEnabled: true
    }
  ]

  // Signing in without a secret: the app's identity vouches for the application.
  resource trust 'federatedIdentityCredentials@v1.0' = {
    name: 'graphgate-${functionName}/managed-identity'
    audiences: ['api://AzureADTokenExchange']
    issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
    subject: identityPrincipalId
  }
}

resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
}

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: functionName
}

resource auth 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: site
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: true, runtimeVersion: '~1' }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      redirectToProvider: 'azureactivedirectory'
      // Graph, probers and browsers that follow a link have no token; the webhook and the links prove themselves.
      excludedPaths: [
        '/api/graph_webhook'
        '/api/graph_webhook/*'
        '/downloads/*'
        '/health'
        '/health/*'
        '/.well-known/*'
      ]
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
          clientId: application.appId
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
        }
        validation: {
          allowedAudiences: [application.appId, application.identifierUris[0]]
          defaultAuthorizationPolicy: { allowedApplications: union(preAuthorizedClientIds, [application.appId]) }
        }
      }
    }
    login: { tokenStore: { enabled: false } }
  }
}

@description('Settings the app needs from then on: copy them into `settings` of infra/main.parameters.json.')
output settings object = {
  ENTRA_AUDIENCE: application.appId
  OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: identityClientId
  WEBSITE_AUTH_AAD_ALLOWED_TENANTS: tenant().tenantId
  WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES: '${application.identifierUris[0]}/user_impersonation'
}
