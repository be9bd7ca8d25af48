//! The deployment and the program say the same: app settings, queues, permissions, names that scripts use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use graphgate::config::VARIABLES;
use graphgate::toolsets;
use graphgate::toolsets::tool::{Effect, RunsAs};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("no `{from}`")) + from.len();
    &text[start..start + text[start..].find(to).unwrap_or_else(|| panic!("no `{to}` after `{from}`"))]
}

/// What stands before the colon of every line that has one.
fn keys(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once(':')?.0.trim().rsplit(' ').next()).collect()
}

/// Settings that the platform reads, not we.
const PLATFORM: [&str; 7] = [
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__blobServiceUri",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "AzureWebJobsDisableHomepage",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
];
/// Settings that break an app on Flex Consumption.
const FORBIDDEN: [&str; 6] = [
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_EXTENSION_VERSION",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_CONTENTSHARE",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_TIME_ZONE",
];

#[test]
fn every_app_setting_of_bicep_is_known_to_program_or_platform() {
    let function = read("infra/app/function.bicep");
    let settings = keys(between(&function, "properties: union(", "settings\n"));
    assert!(settings.len() >= 10, "{settings:?}");
    for name in settings {
        let ours = VARIABLES.iter().any(|variable| variable.name == name);
        assert!(ours || PLATFORM.contains(&name), "{name}");
        assert!(!FORBIDDEN.contains(&name), "{name}");
    }
    assert!(
        function.contains("runtime: { name: 'custom', version: '1.0' }"),
        "the runtime is said here, not in a setting"
    );
}

/// Azure sets variables of its own on every instance, `CONTAINER_NAME` to the instance's name: a setting of ours that was
/// called like one of them would be set by Azure.
#[test]
fn no_setting_has_a_name_reserved_by_the_platform() {
    // What we read because the platform sets it.
    const READ: [&str; 7] = [
        "AzureWebJobsStorage",
        "AzureWebJobsStorage__blobServiceUri",
        "AzureWebJobsStorage__queueServiceUri",
        "AzureWebJobsStorage__tableServiceUri",
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "WEBSITE_AUTH_ENABLED",
        "WEBSITE_HOSTNAME",
    ];
    let platform = |name: &str| {
        let name = name.to_uppercase();
        let begins =
            ["WEBSITE_", "FUNCTIONS_", "AZUREWEBJOBS", "APPSETTING_"].iter().any(|first| name.starts_with(first));
        begins || name == "CONTAINER_NAME"
    };
    let named: Vec<&str> =
        VARIABLES.iter().map(|variable| variable.name).filter(|name| platform(name) && !READ.contains(name)).collect();
    assert!(named.is_empty(), "{named:?}");
    for name in READ {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name} is not read");
    }
    let function = read("infra/app/function.bicep");
    for name in keys(between(&function, "properties: union(", "settings\n")) {
        assert!(!platform(name) || READ.contains(&name) || PLATFORM.contains(&name), "{name}");
    }
}

#[test]
fn bicep_creates_every_trigger_queue_with_its_poison_queue() {
    let storage = read("infra/app/storage.bicep");
    let made: BTreeSet<&str> = between(&storage, "var queues = [", "]").split('\'').skip(1).step_by(2).collect();
    let mut wanted = BTreeSet::new();
    for entry in std::fs::read_dir(path("functions")).unwrap() {
        let function: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(entry.unwrap().path().join("function.json")).unwrap())
                .unwrap();
        if let Some(queue) = function["bindings"][0]["queueName"].as_str() {
            wanted.extend([queue.to_owned(), format!("{queue}-poison")]);
        }
    }
    let missing: Vec<&String> = wanted.iter().filter(|queue| !made.contains(queue.as_str())).collect();
    assert!(missing.is_empty(), "infra/app/storage.bicep does not make {missing:?}");
}

#[test]
fn bicep_parameters_outputs_and_scripts_agree() {
    let main = read("infra/main.bicep");
    let names = |kind: &str| -> BTreeSet<String> {
        let lines = main.lines().filter_map(|line| line.strip_prefix(kind));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let parameters: serde_json::Value = serde_json::from_str(&read("infra/main.parameters.json")).unwrap();
    for name in parameters["parameters"].as_object().unwrap().keys() {
        assert!(names("param ").contains(name), "{name}");
    }
    let outputs = names("output ");
    let steps = read("scripts/next-steps.sh");
    for (place, _) in steps.match_indices("$AZURE_").chain(steps.match_indices("$MANAGED_")) {
        let rest = &steps[place + 1..];
        let name = &rest[..rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap()];
        assert!(outputs.contains(name), "{name}");
    }
    let azd = read("azure.yaml");
    assert!(azd.contains("\nservices:\n  graphgate:\n"));
    assert!(main.contains("'azd-service-name': 'graphgate'"), "azd finds the app by this tag");
    for line in azd.lines().filter_map(|line| line.trim().strip_prefix("run: ./")) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path(line)).unwrap_or_else(|error| panic!("{line}: {error}")).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{line} can be executed");
    }
}

/// The host reads every body whole before the program sees the first byte: it is configured where to stop. Chunk framing counts
/// at the host, so its limit lies above the program's, which then gives the answer that says why.
#[test]
fn functions_host_body_limit_is_just_above_the_programs() {
    let function = read("infra/app/function.bicep");
    let limit = between(&function, "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '", "'").parse::<usize>().unwrap();
    let ours = graphgate::api::MAX_BODY;
    assert!(limit > ours && limit <= ours + ours / 4, "{limit} for {ours}");
}

/// The host refuses a wrong key before any function runs; such a request is in no table of Application Insights.
#[test]
fn alert_counts_requests_refused_by_the_host() {
    let alerts = read("infra/app/alerts.bicep");
    let refused = &alerts[alerts.find("graphgate-callers-refused").unwrap()..];
    for needed in ["scopes: [siteId]", "metricNamespace: 'Microsoft.Web/sites'", "metricName: 'Http4xx'"] {
        assert!(refused.contains(needed), "{needed}");
    }
    assert!(!between(&alerts, "var rules = [", "\n]").contains("callers-refused"), "one alert for both");
}

/// Every store the program opens is named by an app setting, and the identity has the role it needs there.
#[test]
fn bicep_grants_roles_on_table_queue_and_blob_storage() {
    let function = read("infra/app/function.bicep");
    let settings = keys(between(&function, "properties: union(", "settings\n"));
    for name in [
        "AzureWebJobsStorage__blobServiceUri",
        "AzureWebJobsStorage__queueServiceUri",
        "AzureWebJobsStorage__tableServiceUri",
        "KEY_VAULT_URL",
    ] {
        assert!(settings.contains(&name), "{name}");
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name} is none of ours");
    }
    let roles = read("infra/app/roles.bicep");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Learn: Azure built-in roles.
    for (role, id) in [
        ("blobDataOwner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),
        ("queueDataContributor", "974c5e8b-45b9-4653-ba55-5f855dd0fb88"),
        ("tableDataContributor", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"),
        ("secretsUser", "4633458b-17de-408a-b874-0445c86b69e6"),
    ] {
        assert!(words(&roles).contains(&format!("var {role} = '{id}'")), "{role}");
    }
    let data =
        between(&roles, "var dataRoles = [", "]").split([',', '\n']).map(str::trim).filter(|role| !role.is_empty());
    let expected = BTreeSet::from(["blobDataOwner", "queueDataContributor", "tableDataContributor"]);
    assert_eq!(data.collect::<BTreeSet<_>>(), expected);
    // Each assignment: for which role, on what, to whom.
    for (resource, role, scope) in [("appData", "role", "storage"), ("appSecrets", "secretsUser", "vault")] {
        let assignment = words(between(&roles, &format!("resource {resource} "), "\nresource "));
        for part in [
            format!("scope: {scope} "),
            format!("roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', {role})"),
            "principalId: identityPrincipalId ".to_owned(),
        ] {
            assert!(assignment.contains(&part), "`{resource}` has no `{part}`: {assignment}");
        }
    }
    assert!(words(between(&roles, "resource appData ", "{")).contains("= [ for role in dataRoles:"));
    assert!(read("azure.yaml").contains("postprovision:\n    - shell: sh\n      run: ./scripts/init-keyring.sh"));
}

/// A stand-in for the Azure CLI: a script that notes how it was called, and keeps what it was given in `ring`.
struct FakeAz(PathBuf);

impl FakeAz {
    fn new(script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("graphgate-az-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let az = folder.join("az");
        let head = "#!/usr/bin/env bash\nset -euo pipefail\ncd \"$(dirname \"$0\")\"\necho \"$*\" >>calls\n";
        std::fs::write(&az, format!("{head}{script}")).unwrap();
        std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// Runs a script of ours; answers whether it succeeded, and what it said.
    fn run(&self, script: &str, arguments: &[&str]) -> (bool, String) {
        let search = format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap());
        let settings = [("PATH", search.as_str()), ("AZURE_KEY_VAULT_NAME", "kv"), ("KEYRING_PAUSE", "0")];
        let run = Command::new("bash").arg(path(script)).args(arguments).envs(settings).output().unwrap();
        (run.status.success(), String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned())
    }

    /// What lies in the vault after the hook ran.
    fn keyring(&self) -> String {
        let (done, said) = self.run("scripts/init-keyring.sh", &[]);
        assert!(done, "{said}");
        std::fs::read_to_string(self.0.join("ring")).unwrap()
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.0.join("calls")).unwrap()
    }
}

impl Drop for FakeAz {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The hook makes a keyring the program takes, once, and never on a command line.
#[test]
fn init_keyring_script_writes_a_valid_keyring() {
    let az = FakeAz::new(
        r#"
case "$3" in
  show)
    if [ -e ring ]; then echo https://vault/secrets/graphgate-keyring; exit 0; fi
    if [ ! -e asked ]; then touch asked; echo "(Forbidden) Caller is not authorized" >&2; exit 1; fi
    echo "(SecretNotFound) A secret with that name was not found" >&2
    exit 1 ;;
  set) while [ "$1" != --file ]; do shift; done; cp "$2" ring ;;
esac
"#,
    );
    let ring = az.keyring();
    graphgate::keyring::Keyring::parse(&ring, "tenant").unwrap();
    assert_eq!(graphgate::keyring::version(&ring), Ok(1));
    assert_eq!(az.keyring(), ring, "one that is there stays");
    let calls = az.calls();
    let secret = between(&ring, "\"1\":\"", "\"");
    assert!(secret.len() >= 44 && !calls.contains(secret), "{calls}");
    assert!(
        calls.lines().all(|call| call.contains(&format!("--name {}", graphgate::app::secrets::KEYRING))),
        "{calls}"
    );
}

/// An application of another name, though it begins the same, is left alone.
#[test]
fn register_script_matches_the_application_name_exactly() {
    let az = FakeAz::new(
        r#"
case "$1 $2 $3" in
  "ad app list")
    case "$*" in
      *"--filter displayName eq 'Twice'"*) echo one; echo two ;;
      *"--filter displayName eq 'O''Brien''s gate'"*) echo found-app ;;
      *) exit 1 ;;
    esac ;;
  *) echo 11111111-1111-1111-1111-111111111111 ;;
esac
"#,
    );
    let register = |name: &str| {
        az.run("scripts/register-entra-app.sh", &["--name", name, "--federated", "https://issuer", "subject"])
    };
    let (_, said) = register("O'Brien's gate");
    assert!(said.contains("found-app"), "{said}");
    let (done, said) = register("Twice");
    assert!(!done && said.contains("several applications are called 'Twice'"), "{said}");
}

/// What the tools need, as rows: toolset, access, permission. `of` picks the permissions of one kind.
fn permissions(kind: &str, of: fn(RunsAs) -> &'static [&'static str]) -> String {
    let mut needed: BTreeMap<&str, [BTreeSet<&str>; 2]> = BTreeMap::new();
    for tool in toolsets::tools() {
        let [read, write] = needed.entry(tool.toolset).or_default();
        if tool.effect == Effect::Reads {
            read.extend(of(tool.runs_as));
        }
        write.extend(of(tool.runs_as));
    }
    let mut text = format!(
        "# What the tools of each toolset need of Microsoft Graph, as {kind} permissions: toolset, access, permission.\n\
         # Generated from the program's table of tools: UPDATE_README=1 cargo nextest run permissions\n",
    );
    for (toolset, [read, write]) in needed {
        // The right to write includes the right to read.
        let implied =
            |name: &str| name.contains(".Read.") && write.contains(name.replace(".Read.", ".ReadWrite.").as_str());
        let write: BTreeSet<&str> = write.iter().copied().filter(|name| !implied(name)).collect();
        for permission in read.intersection(&write) {
            text += &format!("{toolset} always {permission}\n");
        }
        for permission in read.difference(&write) {
            text += &format!("{toolset} read {permission}\n");
        }
        for permission in write.difference(&read) {
            text += &format!("{toolset} write {permission}\n");
        }
    }
    text
}

#[test]
fn the_scripts_grant_exactly_the_permissions_of_the_tools() {
    let wanted = permissions("application", RunsAs::application);
    let of_people = permissions("delegated", RunsAs::delegated);
    for (file, wanted) in
        [("scripts/graph-permissions.txt", &wanted), ("scripts/graph-permissions-delegated.txt", &of_people)]
    {
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(path(file), wanted).unwrap();
        }
        assert!(read(file) == *wanted, "{file} is old: UPDATE_README=1 cargo nextest run permissions");
    }
    for (access, arguments) in [("write", &[][..]), ("read", &["--read-only"][..])] {
        let mut expected: Vec<String> = wanted
            .lines()
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                (fields[0] != "#" && (fields[1] == "always" || fields[1] == access))
                    .then(|| format!("would grant {}", fields[2]))
            })
            .collect();
        expected.sort_unstable();
        expected.dedup();
        let writes = expected.iter().any(|line| line.ends_with(" Tasks.ReadWrite.All"));
        expected.retain(|line| !(writes && line.ends_with(" Tasks.Read.All"))); // who may write may read
        let run = Command::new("bash")
            .arg(path("scripts/grant-graph-permissions.sh"))
            .args(["--principal", "00000000-0000-0000-0000-000000000001", "--dry-run"])
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8(run.stdout).unwrap();
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{}", String::from_utf8_lossy(&run.stderr));
    }
    let refused = Command::new("bash")
        .arg(path("scripts/grant-graph-permissions.sh"))
        .args(["--principal", "00000000-0000-0000-0000-000000000001", "--dry-run", "--toolsets", "nonsense"])
        .output()
        .unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("planner"), "{refused:?}");
}

#[test]
fn every_toolset_has_roles_for_reading_and_writing() {
    let file = "infra/entra/main.bicep";
    let toolsets: BTreeSet<&str> = toolsets::tools().iter().map(|tool| tool.toolset).collect();
    assert!(toolsets.len() >= 4, "{toolsets:?}");
    let mut wanted = "\n  'GraphGate.Admin'\n".to_owned();
    for toolset in toolsets {
        let (first, rest) = toolset.split_at(1);
        let name = format!("{}{rest}", first.to_uppercase());
        wanted += &format!("  '{name}.Read'\n  '{name}.ReadWrite'\n");
    }
    let application = read(file);
    let roles = between(&application, "var roleNames = [", "]");
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path(file), application.replace(roles, &wanted)).unwrap();
    }
    let application = read(file);
    let roles = between(&application, "var roleNames = [", "]");
    assert!(roles == wanted, "the roles of {file} are old: UPDATE_README=1 cargo nextest run roles");
}

/// A vault behind private endpoints lets nobody ask it: the keyring gets there by way of the resource manager.
#[test]
fn init_keyring_script_works_with_a_vault_closed_to_the_network() {
    let az = FakeAz::new(
        r#"
case "$1 $2" in
  "keyvault secret") echo "(Forbidden) Public network access is disabled. Inner error: ForbiddenByConnection" >&2; exit 1 ;;
  "keyvault show") echo /subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv ;;
  "rest --method")
    case "$*" in *"--url /subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv/secrets/graphgate-keyring?api-version="*) ;; *) exit 1 ;; esac
    if [ "$3" = get ]; then
      if [ -e ring ]; then exit 0; fi
      echo "Not Found({\"error\":{\"code\":\"SecretNotFound\"}})" >&2
      exit 1
    fi
    while [ "$1" != --body ]; do shift; done
    cp "${2#@}" ring ;;
esac
"#,
    );
    let sent = az.keyring();
    let body: serde_json::Value = serde_json::from_str(&sent).unwrap();
    let ring = body["properties"]["value"].as_str().unwrap();
    graphgate::keyring::Keyring::parse(ring, "tenant").unwrap();
    assert_eq!(az.keyring(), sent, "one that is there stays");
    assert!(!az.calls().contains(between(ring, "\"1\":\"", "\"")), "{}", az.calls());
}

#[test]
fn access_restrictions_allow_graph_and_deny_others() {
    let (main, function) = (read("infra/main.bicep"), read("infra/app/function.bicep"));
    for name in ["allowedIps", "graphNotificationIps"] {
        assert!(
            main.contains(&format!("param {name} string = ''")) && function.contains(&format!("param {name} string"))
        );
        assert!(main.contains(&format!("{name}: {name}")), "{name} is handed on");
    }
    assert!(function.contains("concat(callers, graph)"));
    assert!(function.contains("ipSecurityRestrictionsDefaultAction: empty(callers) ? 'Allow' : 'Deny'"));
    assert!(
        !function.contains("ALLOWED_IPS"),
        "the program cannot hold it behind the host, and refuses to start with it"
    );
}
