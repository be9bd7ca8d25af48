//! The check of the checks: every seeded bug must be caught, alone or in a pair where another rule masks it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use graphgate::ids::{PlanId, PlanKey, PlannerTaskId, TaskId};
use graphgate::sync::absorb::{after_create, after_read};
use graphgate::sync::import::import;
use graphgate::sync::journal::{self, Edit};
use graphgate::sync::model::{Attempt, FieldChange, FieldEdit, FieldValue, Sent, TaskFacts, TaskFields};
use graphgate::sync::mutant::{ALL, Mutant, switch};
use graphgate::sync::plan::{Action, Doubt, sent_by};
use graphgate::sync::ports::RemoteTask;

use super::exec::instant;
use super::history;

/// Bugs that another rule masks: alone they cost time and calls, not data; with it off they are caught.
const PAIRS: [[Mutant; 2]; 4] = [
    [Mutant::NoSettling, Mutant::CopiesStay],
    [Mutant::NoFence, Mutant::NoVersionCheck],
    [Mutant::EchoNotRecognised, Mutant::OnlyLastAttempt],
    [Mutant::NothingResumed, Mutant::NoRetry],
];
/// Of these the ones that no history shows alone, however many are played: they are hunted in their pair.
const MASKED: [Mutant; 1] = [Mutant::NoSettling];
/// Bugs too rare for random histories, each with the scenario that shows it.
const DIRECTED: [(Mutant, fn() -> bool); 2] = [
    (Mutant::NoStrays, a_stray_under_a_newer_edit_is_known_as_ours),
    (Mutant::RandomImportId, a_task_has_one_id_whoever_sees_it_first),
];

/// Runs histories with each bug until one shows it, at most `most`; the exit code.
pub fn run(first: u64, most: u64) -> i32 {
    let mut survivors = 0;
    let single = ALL.iter().filter(|mutant| !MASKED.contains(mutant)).map(|mutant| vec![*mutant]);
    for bugs in single.chain(PAIRS.iter().map(|pair| pair.to_vec())) {
        if let Some((_, scenario)) = DIRECTED.iter().find(|(bug, _)| bugs == [*bug]) {
            let holds = [Vec::new(), bugs.clone()].map(|bugs| {
                switch(&bugs);
                scenario()
            });
            switch(&[]);
            survivors += i32::from(holds != [true, false]);
            println!("directed  {bugs:?} (holds without it, with it: {holds:?})");
            continue;
        }
        let (histories, breach) = hunt(&bugs, first, most);
        match breach {
            Some((seed, breach)) => println!("{histories:>8}  {bugs:?} (seed {seed}: {breach})"),
            None => {
                survivors += 1;
                println!("{histories:>8}  {bugs:?} SURVIVES");
            }
        }
    }
    println!("{} seeded bugs and {} pairs, {survivors} not caught", ALL.len(), PAIRS.len());
    i32::from(survivors > 0)
}

/// An attempt was given up, the agent has written a newer value since, and what turns up on Planner is the old attempt: the
/// newer value stays, and the log has both.
fn a_stray_under_a_newer_edit_is_known_as_ours() -> bool {
    let plan = PlanKey::derive(&PlanId::parse("plan000000000000000000000000").unwrap(), 0);
    let at = |second: i64| instant(second * 1000);
    let edit = |second: i64| Edit { operation: "op".into(), at: at(second), by: "agent".into(), rows: Vec::new() };
    let titled = |title: &str| TaskFields { title: title.into(), ..TaskFields::blank() };
    let title = |text: &str| FieldValue::Title(text.to_owned());
    let remote = |version: u64, title: &str| RemoteTask {
        id: PlannerTaskId::parse("0000000000000000000000000001").unwrap(),
        etag: format!("W/\"{version:012}\""),
        fields: titled(title),
        facts: TaskFacts::default(),
    };
    let created = journal::create(TaskId::keyed(&plan, "agent", "k"), titled("first"), edit(0)).put.remove(0);
    let sent = sent_by(&created, &Action::Create);
    let mut task = after_create(&created, &sent, &remote(1, "first"), at(1)).put.remove(0);
    task = journal::update(&task, &[FieldEdit::Set(title("second"))], edit(2)).unwrap().put.remove(0);
    task.attempts.push(Attempt { at: at(3), sent: Sent::from([FieldChange::Set(title("second"))]) });
    task = after_read(&task, &remote(1, "first"), at(60), Doubt::Settled).put.remove(0); // given up
    task = journal::update(&task, &[FieldEdit::Set(title("third"))], edit(61)).unwrap().put.remove(0);
    let step = after_read(&task, &remote(2, "second"), at(62), Doubt::Settled);
    step.put[0].fields.title == "third" && step.conflicts.len() == 1
}

/// Two instances that meet a task of a person's at different times give it the same id.
fn a_task_has_one_id_whoever_sees_it_first() -> bool {
    let plan = PlanKey::derive(&PlanId::parse("plan000000000000000000000000").unwrap(), 0);
    let task = RemoteTask {
        id: PlannerTaskId::parse("0000000000000000000000000001").unwrap(),
        etag: "W/\"000000000001\"".to_owned(),
        fields: TaskFields::blank(),
        facts: TaskFacts::default(),
    };
    import(&plan, &task, instant(1_000)).id == import(&plan, &task, instant(2_000)).id
}

fn hunt(bugs: &[Mutant], first: u64, most: u64) -> (u64, Option<(u64, String)>) {
    let next = AtomicU64::new(first);
    let caught = AtomicBool::new(false);
    let found = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                switch(bugs);
                while !caught.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + most {
                        return;
                    }
                    // A bug may make the engine stop on an assertion of its own: that is being caught, too.
                    let ran = std::panic::catch_unwind(|| history::run(seed, 1 + (seed % 2) as usize, false));
                    let breach = match ran {
                        Ok(report) => report.breaches.into_iter().next(),
                        Err(_) => Some("the engine panicked".to_owned()),
                    };
                    if let Some(breach) = breach {
                        caught.store(true, Ordering::Relaxed);
                        found.lock().unwrap().get_or_insert((seed, breach));
                    }
                }
            });
        }
    });
    (next.load(Ordering::Relaxed) - first, found.into_inner().unwrap())
}
