//! A client such as a language model makes, with names as people write them, floats for whole numbers, nulls, dates with
//! offsets and lists it read a while ago, on a plan in which a colleague edits as well. After every call the tenant is
//! read past the program: what was answered is what is there, a call changes the fields it names and no other, and what
//! the colleague wrote is where it was or in the conflict log.
//!
//! `GRAPHGATE_CALLS` says how many calls are made (5000), `GRAPHGATE_CALLS_SEED` where chance begins.

use std::collections::{BTreeMap, BTreeSet};

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use serde_json::{Value, json};

use crate::support::{PLAN, World, token};

/// Chance that is the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What Planner has of a task, in the words of the tools.
#[derive(Clone, Debug, PartialEq)]
struct Facts(BTreeMap<&'static str, Value>);

/// The tenant, read past the program.
struct Truth {
    http: reqwest::Client,
    root: String,
    token: String,
    /// Display names by id.
    people: BTreeMap<String, String>,
    plan: String,
    buckets: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

impl Truth {
    async fn of(world: &World) -> Self {
        let tenant = &world.tenant;
        let http = reqwest::Client::new();
        let mut truth = Self {
            http,
            root: tenant.graph_url.to_string(),
            token: token(tenant, &tenant.client_id, &tenant.client_secret).await,
            people: BTreeMap::new(),
            plan: world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned(),
            buckets: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        let named = |list: Vec<Value>, name: &str| -> BTreeMap<String, String> {
            let text = |of: &Value, name: &str| of[name].as_str().unwrap().to_owned();
            list.iter().map(|one| (text(one, "id"), text(one, name))).collect()
        };
        truth.people = named(truth.list("users?$select=id,displayName&$top=999").await, "displayName");
        truth.buckets = named(truth.list(&format!("planner/plans/{}/buckets", truth.plan)).await, "name");
        let details = truth.get(&format!("planner/plans/{}/details", truth.plan)).await.unwrap();
        for (category, name) in details["categoryDescriptions"].as_object().unwrap() {
            if let Some(name) = name.as_str() {
                truth.labels.insert(category.clone(), name.to_owned());
            }
        }
        truth
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}/{path}", self.root) };
        let answer = self.http.get(url).bearer_auth(&self.token).send().await.unwrap();
        if answer.status() == 404 { None } else { Some(answer.json().await.unwrap()) }
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.get(&path).await.expect("a list");
            all.extend(page["value"].as_array().unwrap_or_else(|| panic!("{path}: {page}")).clone());
            next = page["@odata.nextLink"].as_str().map(str::to_owned);
        }
        all
    }

    /// A task with its details; `None` where Planner has no such task.
    async fn task(&self, id: &str) -> Option<Facts> {
        let task = self.get(&format!("planner/tasks/{id}")).await?;
        let details = self.get(&format!("planner/tasks/{id}/details")).await?;
        Some(self.facts(&task, &details))
    }

    fn facts(&self, task: &Value, details: &Value) -> Facts {
        let keys =
            |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        let day = |name: &str| task[name].as_str().map_or(Value::Null, |at| at[..10].into());
        let people: BTreeSet<&String> =
            task["assignments"].as_object().unwrap().keys().map(|id| &self.people[id]).collect();
        let labels: BTreeSet<&String> =
            keys(&task["appliedCategories"]).iter().map(|name| &self.labels[name]).collect();
        let mut items: Vec<&Value> = details["checklist"].as_object().unwrap().values().collect();
        items.sort_by_key(|item| std::cmp::Reverse(item["orderHint"].as_str().unwrap_or_default().to_owned()));
        let mut items: Vec<Value> = items.iter().map(|item| json!([item["title"], item["isChecked"]])).collect();
        items.reverse();
        Facts(BTreeMap::from([
            ("title", task["title"].clone()),
            ("percent_complete", task["percentComplete"].clone()),
            ("bucket", task["bucketId"].as_str().map_or(Value::Null, |id| self.buckets[id].as_str().into())),
            ("priority", word(task["priority"].as_u64().unwrap()).into()),
            ("start_date", day("startDateTime")),
            ("due_date", day("dueDateTime")),
            ("assignees", json!(people)),
            ("categories", json!(labels)),
            ("description", details["description"].as_str().unwrap_or_default().into()),
            ("checklist", json!(items)),
            ("references", json!(keys(&details["references"]).iter().map(|url| decoded(url)).collect::<BTreeSet<_>>())),
        ]))
    }
}

/// Planner's word for a priority.
fn word(priority: u64) -> &'static str {
    match priority {
        0..=1 => "urgent",
        2..=4 => "important",
        5..=7 => "medium",
        _ => "low",
    }
}

/// A reference's key is its address with the characters escaped that a property name cannot have.
fn decoded(key: &str) -> String {
    let plain = |text: &str, (escape, letter): (&str, &str)| text.replace(escape, letter);
    [("%2E", "."), ("%3A", ":"), ("%40", "@"), ("%23", "#"), ("%25", "%")]
        .into_iter()
        .fold(key.to_owned(), |t, e| plain(&t, e))
}

/// The same facts as `get_task` tells them.
fn told(view: &Value) -> Facts {
    let set = |name: &str, of: &str| -> BTreeSet<String> {
        let text = |one: &Value| if of.is_empty() { one.as_str() } else { one[of].as_str() }.unwrap().to_owned();
        view[name].as_array().into_iter().flatten().map(text).collect()
    };
    let items: Vec<Value> = view["checklist"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| json!([item["title"], item["checked"].as_bool().unwrap_or_default()]))
        .collect();
    let day = |name: &str| view[name].as_str().map_or(Value::Null, |at| at[..10].into());
    Facts(BTreeMap::from([
        ("title", view["title"].clone()),
        ("percent_complete", view["percent_complete"].as_u64().unwrap_or_default().into()),
        ("bucket", view["bucket"].clone()),
        ("priority", view["priority"].clone()),
        ("start_date", day("start_date")),
        ("due_date", day("due_date")),
        ("assignees", json!(set("assignees", ""))),
        ("categories", json!(set("categories", ""))),
        ("description", view["description"].as_str().unwrap_or_default().into()),
        ("checklist", json!(items)),
        ("references", json!(set("references", "url"))),
    ]))
}

impl Facts {
    fn differences(&self, other: &Self) -> BTreeSet<&'static str> {
        self.0.iter().filter(|(name, value)| other.0[*name] != **value).map(|(name, _)| *name).collect()
    }
}

/// A task the client knows of: our id, Planner's, and what it read when it last read.
#[derive(Clone)]
struct Known {
    id: String,
    planner: String,
    read: Option<Value>,
}

struct Client {
    world: World,
    truth: Truth,
    chance: Chance,
    tasks: Vec<Known>,
    made: usize,
    counts: BTreeMap<&'static str, usize>,
}

const TITLES: &[&str] = &["Überprüfung", "Call José back", "日本語のタスク", "Plan \"Q4\" & more", "naïve café ☕"];
const DAYS: &[&str] = &["2026-11-30", "2026-12-24", "2027-02-28", "2028-02-29"];

impl Client {
    async fn start(seed: u64) -> Self {
        let world = World::start().await;
        let truth = Truth::of(&world).await;
        let mut client =
            Self { world, truth, chance: Chance(seed), tasks: Vec::new(), made: 0, counts: BTreeMap::new() };
        for _ in 0..20 {
            client.create().await;
        }
        client
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A text as one client or another writes it: decomposed letters, as file systems and some keyboards give them.
    fn spelt(&mut self, text: &str) -> String {
        if self.chance.one_in(3) { decomposed(text) } else { text.to_owned() }
    }

    fn title(&mut self) -> String {
        let title = *self.chance.pick(TITLES);
        format!("{title} {}", self.chance.below(1000))
    }

    async fn create(&mut self) {
        let title = self.title();
        let bucket = self.chance.pick(&self.truth.buckets.values().cloned().collect::<Vec<_>>()).clone();
        let (bucket, day) = (self.spelt(&bucket).to_uppercase(), *self.chance.pick(DAYS));
        let mut arguments = json!({"plan_id": PLAN, "title": title, "bucket_id": bucket, "due_date": day,
            "checklist": ["one", "two", "three"], "start_date": null, "idempotency_key": null});
        if self.chance.one_in(2) {
            arguments["checklist"] = json!(["{\"title\":\"one\",\"checked\":true}", {"title": "two"}, "three"]);
        }
        let made = self.world.ok("create_task", arguments.clone()).await;
        assert_eq!(made["sync"], "synced", "{arguments}: {made}");
        let known = Known { id: text(&made["id"]), planner: text(&made["planner_id"]), read: None };
        let facts = self.truth.task(&known.planner).await.expect("the task is there");
        let ticked = arguments["checklist"][0].as_str().unwrap().starts_with('{');
        assert_eq!((&facts.0["title"], &facts.0["due_date"]), (&arguments["title"], &json!(day)), "{arguments}");
        assert_eq!(
            facts.0["bucket"].as_str().unwrap().to_uppercase(),
            &*ComposingNormalizerBorrowed::new_nfc().normalize(&bucket),
            "{arguments}"
        );
        assert_eq!(facts.0["checklist"], json!([["one", ticked], ["two", false], ["three", false]]), "{arguments}");
        self.tasks.push(known);
        self.made += 1;
        self.count("creates");
    }

    /// A person edits one of the tasks in Planner.
    async fn colleague(&mut self) {
        let known = self.chance.pick(&self.tasks).clone();
        let guid = uuid::Uuid::from_u128((u128::from(self.chance.next()) << 64) | u128::from(self.chance.next()));
        let title = self.title();
        let bucket = self.chance.pick(&self.truth.buckets.keys().cloned().collect::<Vec<_>>()).clone();
        let details =
            self.truth.get(&format!("planner/tasks/{}/details", known.planner)).await.expect("the task is there");
        let hints = details["checklist"].as_object().unwrap().values().filter_map(|item| item["orderHint"].as_str());
        // Equal hints have no order.
        let below = format!("{} !", hints.max().unwrap_or_default());
        let mut edit = match self.chance.below(6) {
            0 => json!({"set": {"title": title}}),
            1 => json!({"set": {"percentComplete": self.chance.pick(&[0, 25, 50, 75, 100])}}),
            2 => json!({"set": {"bucketId": bucket}}),
            3 => json!({"set": {"dueDateTime": format!("{}T10:00:00Z", self.chance.pick(DAYS))}}),
            4 => json!({"details": {"description": format!("Written by a person: {title}")}}),
            _ => json!({"details": {"checklist": {guid.to_string(): {
                "@odata.type": "microsoft.graph.plannerChecklistItem", "title": format!("by a person {}", self.chance.below(1000)),
                "isChecked": false, "orderHint": below}}}}),
        };
        edit["task_id"] = json!(known.planner);
        self.world.colleague(edit).await;
        self.count("edits of the colleague");
    }

    /// What is shown is what is there.
    async fn look(&mut self) {
        let place = self.chance.below(self.tasks.len());
        let known = self.tasks[place].clone();
        let view = self.world.ok("get_task", json!({"task_id": known.id, "fresh": true})).await;
        let there = self.truth.task(&known.planner).await.expect("the task is there");
        assert_eq!(told(&view), there, "get_task: {view}");
        self.tasks[place].read = Some(view);
        self.count("tasks read");
    }

    /// A list has what is there and nothing else.
    async fn find(&mut self) {
        let listed = self.truth.list(&format!("planner/plans/{}/tasks", self.truth.plan)).await;
        let word = *self.chance.pick(&["überprüfung", "JOSE", "日本語", "cafe", "nothing that is there"]);
        // Combining marks are what is left of an accent.
        let plain = |text: &str| -> String {
            decomposed(text).chars().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect::<String>().to_lowercase()
        };
        let (arguments, wanted) = match self.chance.below(4) {
            0 => {
                let wanted = listed.iter().filter(|task| task["percentComplete"] == 100).count();
                (json!({"status": "completed"}), wanted)
            }
            1 => {
                let day = *self.chance.pick(DAYS);
                let due = |task: &&Value| task["dueDateTime"].as_str().is_some_and(|due| &due[..10] < day);
                (json!({"due_before": day}), listed.iter().filter(due).count())
            }
            2 => {
                let names: Vec<(String, String)> = self.truth.buckets.clone().into_iter().collect();
                let (id, name) = self.chance.pick(&names).clone();
                (json!({"bucket": self.spelt(&name)}), listed.iter().filter(|task| task["bucketId"] == id).count())
            }
            _ => {
                let mut wanted = 0;
                for task in &listed {
                    let path = format!("planner/tasks/{}/details", text(&task["id"]));
                    let details = self.truth.get(&path).await.unwrap();
                    let mut texts =
                        vec![text(&task["title"]), details["description"].as_str().unwrap_or_default().into()];
                    texts.extend(details["checklist"].as_object().unwrap().values().map(|item| text(&item["title"])));
                    wanted += usize::from(plain(&texts.join("\n")).contains(&plain(word)));
                }
                (json!({"text": self.spelt(word)}), wanted)
            }
        };
        let mut arguments = arguments;
        arguments["plan_id"] = self.spelt(PLAN).into();
        arguments["fresh"] = true.into();
        arguments["limit"] = json!(3.0);
        arguments["assignee"] = Value::Null;
        let page = self.world.ok("query_tasks", arguments.clone()).await;
        assert_eq!(page["total"].as_u64(), Some(wanted as u64), "{arguments}: {page}");
        self.count("queries");
    }

    /// Changes some fields of a task, and checks that these and no others have changed.
    async fn change(&mut self) {
        let place = self.chance.below(self.tasks.len());
        let known = self.tasks[place].clone();
        let before = self.truth.task(&known.planner).await.expect("the task is there");
        let (arguments, wanted) = self.edit(&known, &before);
        let answer = self.world.call("update_task", arguments.clone()).await;
        let after = self.truth.task(&known.planner).await.expect("the task is there");
        let receipt = match answer {
            Ok(receipt) => receipt,
            Err(error) => panic!("{arguments}: {error}"),
        };
        let mut expected = before.clone();
        expected.0.extend(wanted.clone());
        match receipt["sync"].as_str() {
            Some("synced") => assert_eq!(after, expected, "{arguments} on {before:?}: {receipt}"),
            Some("conflict") => {
                let lost = after.differences(&expected);
                assert!(!lost.is_empty() && lost.iter().all(|name| wanted.contains_key(name)), "{arguments}: {lost:?}");
                assert!(
                    lost.iter().all(|name| after.0[name] == before.0[name]),
                    "the colleague's value holds: {lost:?}"
                );
                let status = self.world.ok("sync_status", json!({"plan_id": PLAN, "conflicts": true})).await;
                let noted = status["conflicts"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one.to_string().contains(&known.id)));
                assert!(noted, "the conflict is not listed: {arguments} {status}");
                self.count("conflicts");
            }
            _ => panic!("{arguments}: {receipt}"),
        }
        self.tasks[place].read = None;
        self.count("changes");
    }

    /// Arguments for a change, and the values that Planner must have for it.
    fn edit(&mut self, known: &Known, before: &Facts) -> (Value, BTreeMap<&'static str, Value>) {
        let mut arguments = json!({"task_id": if self.chance.one_in(2) { &known.id } else { &known.planner }});
        let mut wanted: BTreeMap<&'static str, Value> = BTreeMap::new();
        let items = |facts: &Facts| facts.0["checklist"].as_array().unwrap().clone();
        match self.chance.below(10) {
            0 => {
                let title = self.title();
                arguments["title"] = json!(title);
                wanted.insert("title", json!(title));
            }
            1 => {
                let percent = *self.chance.pick(&[0.0, 10.0, 50.0, 100.0]);
                arguments["percent_complete"] = json!(percent);
                #[allow(clippy::cast_possible_truncation)]
                wanted.insert("percent_complete", json!(percent as i64));
            }
            2 => {
                let status = *self.chance.pick(&["not_started", "in_progress", "completed"]);
                let percent = before.0["percent_complete"].as_i64().unwrap();
                let percent = match status {
                    "not_started" => 0,
                    "completed" => 100,
                    _ if (1..100).contains(&percent) => percent,
                    _ => 50,
                };
                arguments["status"] = json!(status);
                wanted.insert("percent_complete", json!(percent));
            }
            3 => {
                let day = *self.chance.pick(DAYS);
                let offset = *self.chance.pick(&["", "T00:00:00+09:00", "T23:59:00-08:00", "T10:00:00Z"]);
                arguments["due_date"] = json!(format!("{day}{offset}"));
                wanted.insert("due_date", json!(day));
            }
            4 => {
                arguments["clear"] = json!(["due_date"]);
                wanted.insert("due_date", Value::Null);
            }
            5 => {
                let names: Vec<String> = self.truth.buckets.values().cloned().collect();
                let name = self.chance.pick(&names).clone();
                arguments["bucket_id"] = json!(self.spelt(&name));
                wanted.insert("bucket", json!(name));
            }
            6 => {
                let title = format!("added {}", self.chance.below(100_000));
                arguments["add_checklist"] = json!([title]);
                let mut list = items(before);
                list.push(json!([title, false]));
                wanted.insert("checklist", json!(list));
            }
            7 => {
                let mut list = items(before);
                let unique = |list: &[Value], at: usize| list.iter().filter(|item| item[0] == list[at][0]).count() == 1;
                let places: Vec<usize> = (0..list.len()).filter(|at| unique(&list, *at)).collect();
                if places.is_empty() {
                    return (
                        json!({"task_id": known.id, "priority": "LOW"}),
                        BTreeMap::from([("priority", json!("low"))]),
                    );
                }
                let at = *self.chance.pick(&places);
                let title = text(&list[at][0]);
                let spelt = self.spelt(&title);
                match self.chance.below(3) {
                    0 => {
                        arguments["tick_checklist"] = json!([spelt]);
                        list[at][1] = json!(true);
                    }
                    1 => {
                        arguments["untick_checklist"] = json!([spelt]);
                        list[at][1] = json!(false);
                    }
                    _ => {
                        arguments["remove_checklist"] = json!([spelt]);
                        list.remove(at);
                    }
                }
                wanted.insert("checklist", json!(list));
            }
            8 => {
                // The list as it was read, with one item more: what a person added since stays.
                let Some(read) = known.read.clone().filter(|read| read["version"].is_string()) else {
                    return (
                        json!({"task_id": known.id, "priority": 1}),
                        BTreeMap::from([("priority", json!("urgent"))]),
                    );
                };
                let title = format!("appended {}", self.chance.below(100_000));
                let mut list: Vec<Value> = read["checklist"].as_array().cloned().unwrap_or_default();
                let known_then: Vec<Value> = told(&read).0["checklist"].as_array().unwrap().clone();
                list.push(json!({"title": title}));
                arguments["checklist"] = json!(list);
                arguments["version"] = read["version"].clone();
                // Nothing else in this proof takes items away between reading and writing but removals of our own,
                // after which the client reads again.
                let mut merged = items(before);
                let news = merged.iter().filter(|item| !known_then.contains(item)).count();
                if news == 0 {
                    merged.push(json!([title, false]));
                    wanted.insert("checklist", json!(merged));
                } else {
                    return (json!({"task_id": known.id, "add_checklist": [title]}), {
                        merged.push(json!([title, false]));
                        BTreeMap::from([("checklist", json!(merged))])
                    });
                }
            }
            _ => {
                let people: Vec<String> = self.truth.people.values().cloned().collect();
                let mut all: BTreeSet<String> = before.0["assignees"].as_array().unwrap().iter().map(text).collect();
                let name = self.chance.pick(&people).clone();
                let unique = people.iter().filter(|other| **other == name).count() == 1;
                if !unique || all.len() > 8 {
                    arguments["clear"] = json!(["assignee_ids"]);
                    all.clear();
                } else if all.remove(&name) {
                    arguments["remove_assignees"] = json!([self.spelt(&name)]);
                } else {
                    arguments["add_assignees"] = json!([self.spelt(&name)]);
                    all.insert(name);
                }
                wanted.insert("assignees", json!(all));
            }
        }
        (arguments, wanted)
    }

    /// What cannot be meant is refused with a reason and changes nothing.
    async fn wrong(&mut self) {
        let known = self.chance.pick(&self.tasks).clone();
        let before = self.truth.task(&known.planner).await.expect("the task is there");
        let mut arguments = self
            .chance
            .pick(&[
                json!({}),
                json!({"due_date": null}),
                json!({"percent_complete": "3"}),
                json!({"percent_complete": 101}),
                json!({"percent_complete": 2.5}),
                json!({"bucket_id": "No such bucket"}),
                json!({"add_assignees": ["Nobody Atall"]}),
                json!({"add_categories": ["no such label"]}),
                json!({"tick_checklist": ["no such item"]}),
                json!({"checklist": ["{\"title\": 5}"]}),
                json!({"start_date": "2030-01-01", "due_date": "2029-01-01"}),
                json!({"title": "   "}),
                json!({"colour": "red"}),
                json!({"due_date": "tomorrow-ish"}),
            ])
            .clone();
        arguments["task_id"] = json!(known.id);
        let error = match self.world.call("update_task", arguments.clone()).await {
            Err(error) => error,
            Ok(receipt) => panic!("{arguments} was taken: {receipt}"),
        };
        let message = text(&error["message"]);
        let rust = ["u8", "u32", "usize", "struct ", "sequence", "variant", "expected a map", "Option"];
        assert!(!message.is_empty() && rust.iter().all(|word| !message.contains(word)), "{arguments}: {error}");
        assert_eq!(self.truth.task(&known.planner).await, Some(before), "{arguments} changed something: {error}");
        self.count("refusals");
    }

    async fn delete(&mut self) {
        let known = self.tasks.swap_remove(self.chance.below(self.tasks.len()));
        self.world.ok("delete_task", json!({"task_id": known.id})).await;
        assert_eq!(self.truth.task(&known.planner).await, None, "the task is gone");
        let error = self.world.call("get_task", json!({"task_id": known.id})).await.expect_err("it is gone");
        assert_eq!(error["code"], "TASK_001", "{error}");
        self.count("deletes");
    }
}

/// The same letters, accents apart.
fn decomposed(text: &str) -> String {
    DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test]
async fn random_tool_calls_agree_with_the_tenant() {
    let (calls, seed) = (number("GRAPHGATE_CALLS", 5000), number("GRAPHGATE_CALLS_SEED", 1));
    let mut client = Client::start(seed).await;
    for _ in 0..calls {
        match client.chance.below(100) {
            0..30 => client.colleague().await,
            30..45 => client.look().await,
            45..50 => client.find().await,
            50..85 => client.change().await,
            85..95 => client.wrong().await,
            95..98 => client.create().await,
            _ if client.tasks.len() > 15 => client.delete().await,
            _ => client.create().await,
        }
    }
    println!("{calls} calls from seed {seed}: {:?}", client.counts);
}
