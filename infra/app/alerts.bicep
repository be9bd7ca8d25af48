// What a person should know. Invocations of timers and queues are requests in Application Insights, one a run, and fail
// when our answer says so; the rest is in our log lines. Callers that are refused are counted by the site: where the host
// asks for keys, it refuses a wrong one before a function runs, and such requests are not in Application Insights.
param location string
param tags object
param workspaceId string
param siteId string
param refusals int
param email string

var rules = [
  {
    name: 'sync-failed'
    text: 'Changes do not reach Planner, or Planner is not compared: timers or pushes fail repeatedly.'
    severity: 1
    threshold: 3
    query: 'AppRequests | where OperationName in ("on_outbox", "on_reconcile", "reconcile_plans", "refresh_metadata") and Success == false'
  }
  {
    name: 'poison-messages'
    text: 'A message was given up after five tries; look into the poison queue.'
    severity: 2
    threshold: 0
    query: 'AppTraces | where Message has "Message has reached MaxDequeueCount" or Message has "poison queue"'
  }
  {
    name: 'throttled'
    text: 'Microsoft Graph throttles us more than now and then.'
    severity: 3
    threshold: 20
    query: 'AppTraces | where Message has "RATE_001" or Message has "throttled"'
  }
  {
    name: 'no-token'
    text: 'The identity gets no token, so nothing reaches Microsoft 365 or storage.'
    severity: 1
    threshold: 3
    query: 'AppTraces | where Message has "no token"'
  }
  {
    name: 'subscriptions-failed'
    text: 'Change notifications may stop: subscriptions cannot be renewed, or their messages not be handled.'
    severity: 2
    threshold: 2
    query: 'AppRequests | where OperationName in ("renew_subscriptions", "on_notification") and Success == false'
  }
]

resource receivers 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-graphgate'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'graphgate'
    emailReceivers: [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource alert 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: 'graphgate-${rule.name}'
    location: location
    tags: tags
    properties: {
      description: rule.text
      severity: rule.severity
      enabled: true
      evaluationFrequency: 'PT15M'
      windowSize: 'PT30M'
      scopes: [workspaceId]
      autoMitigate: true
      skipQueryValidation: true // the tables appear with the first line that is logged
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: rule.threshold
          }
        ]
      }
      actions: { actionGroups: empty(email) ? [] : [receivers.id] }
    }
  }
]

resource refused 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'graphgate-callers-refused'
  location: 'global'
  tags: tags
  properties: {
    description: 'Many callers are refused, by the host or by the program: a key or token has expired, or somebody is guessing.'
    severity: 2
    enabled: true
    evaluationFrequency: 'PT15M'
    windowSize: 'PT30M'
    scopes: [siteId]
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'refused'
          metricNamespace: 'Microsoft.Web/sites'
          metricName: 'Http4xx'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: refusals
        }
      ]
    }
    actions: empty(email) ? [] : [{ actionGroupId: receivers.id }]
  }
}
