<#
.SYNOPSIS
Grants an identity the Microsoft Graph application permissions that GraphGate's tools need, no others.
.DESCRIPTION
As grant-graph-permissions.sh without --delegated. Needs the Azure CLI, signed in as a Privileged Role Administrator.
.EXAMPLE
./grant-graph-permissions.ps1 -Principal (azd env get-value MANAGED_IDENTITY_PRINCIPAL_ID) -ReadOnly
#>
param(
    [Parameter(Mandatory)] [guid] $Principal,
    [string[]] $Toolsets = @('all'),
    [switch] $ReadOnly,
    [switch] $DryRun
)
$ErrorActionPreference = 'Stop'
$graphId = '00000003-0000-0000-c000-000000000000'
$access = if ($ReadOnly) { 'read' } else { 'write' }

$rows = Get-Content (Join-Path $PSScriptRoot 'graph-permissions.txt') | Where-Object { $_ -notmatch '^#' } | ForEach-Object {
    $toolset, $neededFor, $permission = $_ -split ' '
    [pscustomobject]@{ Toolset = $toolset; NeededFor = $neededFor; Permission = $permission }
}
$unknown = $Toolsets | Where-Object { $_ -ne 'all' -and $_ -notin $rows.Toolset }
if ($unknown) { throw "there is no toolset '$unknown'; known: $($rows.Toolset | Sort-Object -Unique)" }
$wanted = $rows | Where-Object { ($Toolsets -contains 'all' -or $_.Toolset -in $Toolsets) -and $_.NeededFor -in @('always', $access) } |
    Select-Object -ExpandProperty Permission | Sort-Object -Unique
# Who may write may read.
$wanted = $wanted | Where-Object { $_ -notlike '*.Read.*' -or $_.Replace('.Read.', '.ReadWrite.') -notin $wanted }
if ($DryRun) { $wanted | ForEach-Object { "would grant $_" }; return }

$graph = az ad sp show --id $graphId --output json | ConvertFrom-Json
$url = "https://graph.microsoft.com/v1.0/servicePrincipals/$Principal/appRoleAssignments"
$granted = (az rest --method GET --url $url --output json | ConvertFrom-Json).value | Where-Object resourceId -EQ $graph.id
foreach ($permission in $wanted) {
    $role = $graph.appRoles | Where-Object value -EQ $permission
    if (-not $role) { throw "Microsoft Graph has no application permission '$permission'" }
    if ($role.id -in $granted.appRoleId) { "has      $permission"; continue }
    $file = New-TemporaryFile # quoting JSON on a command line differs between shells
    @{ principalId = "$Principal"; resourceId = $graph.id; appRoleId = $role.id } | ConvertTo-Json | Set-Content $file
    az rest --method POST --url $url --body "@$file" --output none
    if ($LASTEXITCODE -ne 0) { throw "'$permission' could not be granted" }
    Remove-Item $file
    "granted  $permission"
}
