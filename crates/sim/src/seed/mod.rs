//! What a tenant holds when it starts: the demo company Contoso, made of word lists and a fixed seed, an empty
//! tenant, or a snapshot. Dates are spread around the clock's present, everything else is the same every time.
//!
//! Long because one task of the demo touches a dozen properties.

mod people;
mod plans;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use serde_json::{Map, Value, json};

use super::clock;
use super::graph::etag::Kind;
use super::graph::order_hint;
use super::graph::seed as shape;
use super::rng::Rng;
use super::state::{Application, Object, Tenant, object};
use super::{Scenario, Size};
use plans::{GROUPS, THEMES, Theme};

const TENANT: &str = "8f2c6a10-5b1d-4f0e-9c57-3a1e6d2b4c90";
const CLIENT: &str = "3d9e1f64-7c2a-4b8d-a5f0-6e4b9c1d2a73";
/// The application of an administrator who tries things out.
pub const EXPLORER: &str = "b7a40c52-91de-4c36-8f1b-0d5e7a9c3b68";
/// The secret of [`EXPLORER`], of no value anywhere else.
pub const EXPLORER_SECRET: &str = "simulated-explorer-secret";
/// The domain of the demo tenant.
pub const DOMAIN: &str = "contoso.onmicrosoft.com";
/// What the seeded program may do on its own.
const ROLES: &[&str] = &[
    "Tasks.ReadWrite.All",
    "Group.Read.All",
    "User.Read.All",
    "GroupMember.Read.All",
    "Mail.Read",
    "Mail.ReadWrite",
    "Mail.Send",
];
/// What an administrator trying things out may do on top.
const ALL_ROLES: &[&str] = &[
    "Tasks.ReadWrite.All",
    "Group.ReadWrite.All",
    "User.ReadWrite.All",
    "GroupMember.ReadWrite.All",
    "Mail.Read",
    "Directory.ReadWrite.All",
    "Organization.Read.All",
    "Domain.Read.All",
    "User.Invite.All",
    "Chat.Read.All",
    "ChannelMessage.Read.All",
    "Files.Read.All",
    "Sites.Read.All",
    "LicenseAssignment.ReadWrite.All",
    "Calendars.Read",
    "Contacts.Read",
    "Presence.Read.All",
    "CallRecords.Read.All",
    "OnlineMeetings.Read.All",
    "PrintTaskDefinition.ReadWrite.All",
    "Team.ReadBasic.All",
    "SecurityAlert.Read.All",
];
const SCOPES: &[&str] = &[
    "User.Read",
    "User.ReadWrite",
    "User.ReadBasic.All",
    "User.Read.All",
    "User.ReadWrite.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "GroupMember.Read.All",
    "GroupMember.ReadWrite.All",
    "Tasks.Read",
    "Tasks.ReadWrite",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "Organization.Read.All",
    "Domain.Read.All",
    "Mail.Read",
    "Chat.Read",
    "Files.Read.All",
    "Sites.Read.All",
    "User.Invite.All",
    "LicenseAssignment.ReadWrite.All",
    "Calendars.Read",
    "Contacts.Read",
    "ChannelMessage.Read.All",
    "Team.ReadBasic.All",
    "Presence.Read.All",
    "OnlineMeetings.Read",
    "PrintTaskDefinition.ReadWrite.All",
    "SecurityAlert.Read.All",
];

/// The job of the administrator.
const ADMINISTRATOR: &str = "Systems Administrator";

/// Loads a scenario.
///
/// # Errors
/// A file that cannot be read or is no snapshot.
pub fn load(scenario: &Scenario, now: DateTime<Utc>) -> anyhow::Result<Tenant> {
    match scenario {
        Scenario::Demo => Ok(Demo::new(now).build()),
        Scenario::Empty => Ok(empty(now)),
        Scenario::Sized(size) => Ok(Demo::new(now).sized(*size)),
        Scenario::File(path) => {
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("the scenario `{}` is neither `demo` nor `empty`, nor a size such as `plans=20,tasks=200`, nor a readable file", path.display())
            })?;
            parse(&text).with_context(|| format!("{} is no snapshot of a simulated tenant", path.display()))
        }
    }
}

/// Reads a snapshot.
///
/// # Errors
/// Text that is no snapshot.
pub fn parse(text: &str) -> anyhow::Result<Tenant> {
    let mut tenant: Tenant = serde_json::from_str(text)?;
    tenant.index();
    Ok(tenant)
}

fn tenant(seed: u64) -> Tenant {
    let mut tenant = Tenant::new(TENANT, "Contoso", DOMAIN, seed);
    let texts = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let mut app = |client_id: &str, name: &str, secret: &str, roles: &[&str]| {
        let object_id = tenant.rng.guid();
        let registered = Application::new(client_id, object_id, name, secret);
        tenant.applications.push(Application { roles: texts(roles), scopes: texts(SCOPES), ..registered });
    };
    app(CLIENT, "GraphGate", "simulated-client-secret", ROLES);
    app(EXPLORER, "Tenant Explorer", EXPLORER_SECRET, ALL_ROLES);
    tenant
}

fn empty(now: DateTime<Utc>) -> Tenant {
    let mut tenant = tenant(2);
    let created = clock::seconds(now - TimeDelta::days(30));
    let user = add_user(&mut tenant, people::PEOPLE[0], &created);
    add_group(&mut tenant, GROUPS[0], &created, std::slice::from_ref(&user), std::slice::from_ref(&user));
    tenant
}

fn add_user(tenant: &mut Tenant, person: people::Person<'_>, created: &str) -> String {
    let (given, surname, name, title, department, country, office) = person;
    let id = tenant.rng.guid();
    let mail = format!("{name}@{DOMAIN}");
    let phone = format!("+1 425 555 {:04}", 100 + tenant.users.len());
    let user = json!({
        "businessPhones": [phone], "displayName": format!("{given} {surname}"), "givenName": given, "jobTitle": title,
        "mail": mail, "mobilePhone": null, "officeLocation": office, "preferredLanguage": null, "surname": surname,
        "userPrincipalName": mail, "id": id, "accountEnabled": true, "department": department, "usageLocation": country,
        "country": country, "city": office, "companyName": "Contoso", "mailNickname": name, "userType": "Member",
        "createdDateTime": created, "otherMails": [], "proxyAddresses": [format!("SMTP:{mail}")], "employeeId": null,
        "identities": [{"signInType": "userPrincipalName", "issuer": DOMAIN, "issuerAssignedId": mail}],
        "assignedLicenses": [], "assignedPlans": [],
    });
    tenant.add(|t| &mut t.users, &id, "", &object(user));
    // One administrator: who runs the systems, or else the first person.
    if title == ADMINISTRATOR || tenant.rights.administrators.is_empty() {
        tenant.rights.administrators = vec![id.clone()];
    }
    id
}

fn add_group(
    tenant: &mut Tenant,
    group: (&str, &str, &str),
    created: &str,
    members: &[String],
    owners: &[String],
) -> String {
    let (name, nickname, description) = group;
    let id = tenant.rng.guid();
    let mail = format!("{nickname}@{DOMAIN}");
    let value = json!({
        "id": id, "deletedDateTime": null, "classification": null, "createdDateTime": created,
        "description": description, "displayName": name, "expirationDateTime": null, "groupTypes": ["Unified"],
        "isAssignableToRole": null, "mail": mail, "mailEnabled": true, "mailNickname": nickname, "membershipRule": null,
        "membershipRuleProcessingState": null, "onPremisesDomainName": null, "onPremisesLastSyncDateTime": null,
        "onPremisesNetBiosName": null, "onPremisesSamAccountName": null, "onPremisesSecurityIdentifier": null,
        "onPremisesSyncEnabled": null, "preferredDataLocation": null, "preferredLanguage": null,
        "proxyAddresses": [format!("SMTP:{mail}")], "renewedDateTime": created, "resourceBehaviorOptions": [],
        "resourceProvisioningOptions": ["Team"], "securityEnabled": false, "theme": null, "visibility": "Private",
        "onPremisesProvisioningErrors": [], "serviceProvisioningErrors": [],
    });
    tenant.add(|t| &mut t.groups, &id, "", &object(value));
    tenant.members.insert(id.clone(), members.to_vec());
    tenant.owners.insert(id.clone(), owners.to_vec());
    id
}

/// The demo tenant while it is being made.
struct Demo {
    tenant: Tenant,
    now: DateTime<Utc>,
    rng: Rng,
    users: Vec<String>,
}

/// One plan that tasks are made for.
struct Board<'a> {
    theme: &'a Theme,
    plan: String,
    buckets: Vec<String>,
    members: Vec<String>,
}

impl Demo {
    fn new(now: DateTime<Utc>) -> Self {
        Self { tenant: tenant(1), now, rng: Rng::new(20_260_301), users: Vec::new() }
    }

    fn build(mut self) -> Tenant {
        let created = clock::seconds(self.now - TimeDelta::days(400));
        for person in people::PEOPLE {
            let id = add_user(&mut self.tenant, person, &created);
            self.users.push(id);
        }
        self.managers();
        let groups: Vec<(String, Vec<String>)> =
            GROUPS.iter().enumerate().map(|(n, group)| self.group(n, *group, &created)).collect();
        for theme in &THEMES {
            if let Some((group, members)) = groups.get(theme.group) {
                self.plan(theme, theme.title, theme.tasks, group, members.clone());
            }
        }
        // Ids given out later continue the sequence, no matter what the word lists used.
        self.tenant.changes = 0;
        self.tenant
    }

    /// A tenant of another size.
    fn sized(mut self, size: Size) -> Tenant {
        let created = clock::seconds(self.now - TimeDelta::days(400));
        for n in 0..size.people {
            let Some(person) = people::PEOPLE.get(n % people::PEOPLE.len()) else { break };
            let (given, surname, name, title, department, country, office) = *person;
            let round = n / people::PEOPLE.len();
            let (surname, name) = match round {
                0 => (surname.to_owned(), name.to_owned()),
                round => (format!("{surname} {}", round + 1), format!("{name}{}", round + 1)),
            };
            let id = add_user(&mut self.tenant, (given, &surname, &name, title, department, country, office), &created);
            self.users.push(id);
        }
        for n in 0..size.groups {
            let (name, nickname) = (format!("Team {}", n + 1), format!("team-{}", n + 1));
            // The first person is in every group, so that one sign-in shows everything.
            let others = (0..11).map(|at| 1 + (n * 11 + at) % size.people.saturating_sub(1).max(1));
            let members: Vec<String> =
                std::iter::once(0).chain(others).filter_map(|at| self.users.get(at).cloned()).collect();
            let owners: Vec<String> = members.iter().skip(1).take(1).cloned().collect();
            let group = add_group(&mut self.tenant, (&name, &nickname, "Made to size"), &created, &members, &owners);
            if n < size.plans {
                let Some(theme) = THEMES.get(n % THEMES.len()) else { break };
                let title = format!("{} {}", theme.title, n + 1);
                self.plan(theme, &title, size.tasks, &group, members);
            }
        }
        self.tenant.changes = 0;
        self.tenant
    }

    /// The chief operating officer leads everybody; every fifth person leads the four behind.
    fn managers(&mut self) {
        let Some(chief) = self.users.get(37).cloned() else {
            return;
        };
        for (n, user) in self.users.iter().enumerate() {
            let lead = self.users.get(n - n % 5).filter(|lead| *lead != user).unwrap_or(&chief);
            if *user != chief {
                self.tenant.managers.insert(user.clone(), lead.clone());
            }
        }
    }

    fn group(&mut self, n: usize, group: (&str, &str, &str), created: &str) -> (String, Vec<String>) {
        // The first person is in every group, so that one sign-in shows everything.
        let members: Vec<String> = self
            .users
            .iter()
            .enumerate()
            .filter(|(i, _)| *i == 0 || i % 5 == n || i % 7 == n)
            .map(|(_, u)| u.clone())
            .collect();
        let owners: Vec<String> = members.iter().skip(1).take(1).cloned().collect();
        (add_group(&mut self.tenant, group, created, &members, &owners), members)
    }

    fn plan(&mut self, theme: &Theme, title: &str, tasks: usize, group: &str, members: Vec<String>) {
        let plan = self.tenant.rng.planner_id();
        let by = self.by(members.first());
        let made =
            clock::ticks(self.now - TimeDelta::days(120) - TimeDelta::milliseconds(self.rng.below(9_000_000) as i64));
        self.tenant.create(self.now, Kind::Plan, &plan, group, &shape::plan(&plan, title, group, &made, by));
        let mut details = shape::plan_details(&plan);
        if let Some(Value::Object(names)) = details.get_mut("categoryDescriptions") {
            for (n, label) in theme.labels.iter().enumerate() {
                names.insert(format!("category{}", n + 1), (*label).into());
            }
        }
        self.tenant.create(self.now, Kind::PlanDetails, &plan, &plan, &details);
        let mut hint = String::new();
        let mut buckets = Vec::new();
        for name in theme.buckets {
            hint = order_hint::between(&hint, "");
            let id = self.tenant.rng.planner_id();
            self.tenant.create(self.now, Kind::Bucket, &id, &plan, &shape::bucket(&id, name, &plan, &hint));
            buckets.push(id);
        }
        let board = Board { theme, plan, buckets, members };
        for n in 0..tasks {
            self.task(&board, n);
        }
    }

    fn by(&self, user: Option<&String>) -> Value {
        json!({"user": {"displayName": null, "id": user}, "application": {"displayName": null, "id": "09abbdfd-ed23-44ee-a2d9-a627aa1c90f3"}})
    }

    /// Every combination of verb and thing once before any returns.
    fn title(&mut self, theme: &Theme, n: usize) -> String {
        let (verbs, things) = (theme.verbs.len(), theme.things.len());
        // A step that shares no factor with the number of combinations visits each of them.
        let all = verbs * things;
        let step = (all / 2 + 1..).find(|s| gcd(*s, all) == 1).unwrap_or(1);
        let at = n * step % all;
        let (verb, thing) = (theme.verbs.get(at % verbs).unwrap_or(&""), theme.things.get(at / verbs).unwrap_or(&""));
        if n >= all { format!("{verb} {thing} (round {})", n / all + 1) } else { format!("{verb} {thing}") }
    }

    fn task(&mut self, board: &Board<'_>, n: usize) {
        let theme = board.theme;
        let id = self.tenant.rng.planner_id();
        let age = TimeDelta::minutes(self.rng.below(90 * 24 * 60) as i64);
        let made = self.now - age;
        let author = self.rng.pick(&board.members).cloned();
        let by = self.by(author.as_ref());
        let mut task = shape::task(&id, &board.plan, &clock::ticks(made), by.clone());
        let title = self.title(theme, n);
        // Further right on the board means further done.
        let column = self.rng.below(board.buckets.len());
        let percent = match (column + 1, board.buckets.len()) {
            (last, count) if last == count => {
                if self.rng.chance(0.85) {
                    100
                } else {
                    50
                }
            }
            (1, _) => {
                if self.rng.chance(0.9) {
                    0
                } else {
                    50
                }
            }
            _ => self.rng.pick(&[0, 50, 50, 50, 100]).copied().unwrap_or(0),
        };
        let set = |task: &mut Object, name: &str, value: Value| {
            task.insert(name.to_owned(), value);
        };
        set(&mut task, "title", title.into());
        set(&mut task, "bucketId", board.buckets.get(column).cloned().into());
        set(&mut task, "orderHint", order_hint::newest(made.timestamp_millis(), n as u64).into());
        set(&mut task, "percentComplete", percent.into());
        set(&mut task, "priority", self.rng.pick(&[1, 3, 3, 5, 5, 5, 5, 9]).copied().unwrap_or(5).into());
        self.dates(&mut task, made);
        if percent == 100 {
            let done = made + (self.now - made) / 2;
            let who = self.rng.pick(&board.members).cloned();
            set(&mut task, "completedDateTime", clock::ticks(done).into());
            set(&mut task, "completedBy", self.by(who.as_ref()));
        }
        let labels: Map<String, Value> = (0..self.rng.below(3))
            .map(|_| (format!("category{}", self.rng.below(theme.labels.len()) + 1), Value::Bool(true)))
            .collect();
        set(&mut task, "appliedCategories", Value::Object(labels));
        let assignees = self.rng.pick(&[0, 1, 1, 1, 2, 2, 3]).copied().unwrap_or(1);
        let mut assignments = Map::new();
        for _ in 0..assignees {
            let Some(user) = self.rng.pick(&board.members).cloned() else {
                continue;
            };
            let entry = json!({"@odata.type": "#microsoft.graph.plannerAssignment", "assignedDateTime": clock::ticks(made), "orderHint": order_hint::newest(made.timestamp_millis(), n as u64), "assignedBy": by});
            assignments.insert(user, entry);
        }
        set(&mut task, "assignments", Value::Object(assignments));
        let details = self.details(&id, theme, made, &by, percent == 100);
        task.extend(shape::summary(&details));
        self.tenant.create(self.now, Kind::Task, &id, &board.plan, &task);
        self.tenant.create(self.now, Kind::TaskDetails, &id, "", &details);
    }

    /// Most tasks are due, from six weeks ago to ten weeks ahead; some have a start too.
    fn dates(&mut self, task: &mut Object, made: DateTime<Utc>) {
        if !self.rng.chance(0.75) {
            return;
        }
        let noon = |at: DateTime<Utc>| {
            at.with_hour(10)
                .and_then(|a| a.with_minute(0))
                .and_then(|a| a.with_second(0))
                .and_then(|a| a.with_nanosecond(0))
                .unwrap_or(at)
        };
        let due = noon((self.now + TimeDelta::days(self.rng.below(112) as i64 - 42)).max(made + TimeDelta::days(1)));
        task.insert("dueDateTime".to_owned(), clock::seconds(due).into());
        if self.rng.chance(0.4) {
            let start = noon(due - TimeDelta::days(1 + self.rng.below(20) as i64));
            task.insert("startDateTime".to_owned(), clock::seconds(start).into());
        }
    }

    fn details(&mut self, id: &str, theme: &Theme, made: DateTime<Utc>, by: &Value, done: bool) -> Object {
        let mut details = shape::task_details(id);
        let at = clock::ticks(made);
        if self.rng.chance(0.3) {
            let step = self.rng.pick(theme.steps).copied().unwrap_or_default();
            details.insert(
                "description".to_owned(),
                format!(
                    "Part of “{}”.\nFirst: {}. Please keep the checklist up to date.",
                    theme.title,
                    step.to_lowercase()
                )
                .into(),
            );
        }
        if self.rng.chance(0.3) {
            let count = 2 + self.rng.below(theme.steps.len() - 1);
            let mut items = Map::new();
            let mut hint = String::new();
            for (n, step) in theme.steps.iter().take(count).enumerate() {
                hint = order_hint::between(&hint, "");
                let checked = done || n < self.rng.below(count);
                items.insert(self.rng.guid(), json!({"@odata.type": "#microsoft.graph.plannerChecklistItem", "isChecked": checked, "title": step, "orderHint": hint, "lastModifiedDateTime": at, "lastModifiedBy": by}));
            }
            details.insert("checklist".to_owned(), Value::Object(items));
        }
        if self.rng.chance(0.12) {
            let key = theme
                .link
                .replace('%', "%25")
                .replace('.', "%2E")
                .replace(':', "%3A")
                .replace('@', "%40")
                .replace('#', "%23")
                .replace(' ', "%2520");
            let entry = json!({"@odata.type": "#microsoft.graph.plannerExternalReference", "alias": "Background", "type": "Other", "previewPriority": "8585775972", "lastModifiedDateTime": at, "lastModifiedBy": by});
            details.insert("references".to_owned(), json!({key: entry}));
        }
        details
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_tenant_has_its_documented_size() {
        let tenant = load(&Scenario::Demo, DateTime::from_timestamp(1_800_000_000, 0).unwrap()).unwrap();
        assert_eq!((tenant.users.len(), tenant.groups.len()), (40, 5));
        assert_eq!(tenant.planner(Kind::Plan).len(), 8);
        assert_eq!(tenant.planner(Kind::Task).len(), 1_200);
    }

    #[test]
    fn sized_tenant_has_the_requested_size() {
        let Ok(scenario) = "plans=3,tasks=7,groups=5,people=50".parse::<Scenario>();
        let tenant = load(&scenario, DateTime::from_timestamp(1_800_000_000, 0).unwrap()).unwrap();
        let count = |kind| tenant.planner(kind).len();
        assert_eq!((tenant.users.len(), tenant.groups.len(), count(Kind::Plan), count(Kind::Task)), (50, 5, 3, 21));
        assert_eq!("plans=3,tasks=x".parse(), Ok(Scenario::File("plans=3,tasks=x".into())));
    }

    #[test]
    fn snapshot_round_trips() {
        let tenant = load(&Scenario::Empty, DateTime::from_timestamp(1_800_000_000, 0).unwrap()).unwrap();
        let text = serde_json::to_string(&tenant).unwrap();
        assert_eq!(serde_json::to_string(&parse(&text).unwrap()).unwrap(), text);
    }
}
