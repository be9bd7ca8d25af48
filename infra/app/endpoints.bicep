// Private endpoints of storage and vault, and the names by which the app finds them.
param location string
param tags object
param subnetId string
param networkId string
param storageName string
param vaultName string

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

var services = [
  { kind: 'blob', zone: 'privatelink.blob.${environment().suffixes.storage}', target: storage.id }
  { kind: 'queue', zone: 'privatelink.queue.${environment().suffixes.storage}', target: storage.id }
  { kind: 'table', zone: 'privatelink.table.${environment().suffixes.storage}', target: storage.id }
  { kind: 'vault', zone: 'privatelink.vaultcore.azure.net', target: vault.id }
]

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for service in services: {
    name: service.zone
    location: 'global'
    tags: tags
  }
]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (service, index) in services: {
    parent: zone[index]
    name: 'app'
    location: 'global'
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: networkId }
    }
  }
]

resource endpoint 'Microsoft.Network/privateEndpoints@2025-01-01' = [
  for service in services: {
    name: 'pe-graphgate-${service.kind}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnetId }
      privateLinkServiceConnections: [
        {
          name: service.kind
          properties: {
            privateLinkServiceId: service.target
            groupIds: [service.kind]
          }
        }
      ]
    }
  }
]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-01-01' = [
  for (service, index) in services: {
    parent: endpoint[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: service.kind
          properties: { privateDnsZoneId: zone[index].id }
        }
      ]
    }
  }
]
