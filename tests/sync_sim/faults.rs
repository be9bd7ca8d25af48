//! What goes wrong in a history: each seed switches families of faults on or off and picks their rates.

use super::exec::Rng;

#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Percent of remote calls that fail in each way.
    pub lost_with_effect: u64,
    pub lost_without_effect: u64,
    pub not_now: u64,
    pub stale: u64,
    pub forbidden_with_effect: u64,
    pub forbidden_without_effect: u64,
    /// Percent of calls whose answer is lost and which the layer below sends once more.
    pub repeated: u64,
    /// Percent of the pauses Planner asks for that last for days.
    pub endless: u64,
    pub listing_fails: u64,
    pub listing_repeats: u64,
    /// How old reads may be, in ms, and how often they are.
    pub lag: i64,
    pub lagging: u64,
    /// Percent of store calls that fail before and after their effect.
    pub store_before: u64,
    pub store_after: u64,
    pub store_lies: u64,
    /// Percent of calls that take seconds.
    pub slow: u64,
    /// Percent of requests whose caller goes away.
    pub cancelled: u64,
    /// Percent of the agent's titles that Planner refuses.
    pub refused: u64,
    pub crashes: u64,
    /// How often an instance stands still for 10 to 60 s.
    pub stalls: u64,
    /// How often the plan cannot be read for a while.
    pub denials: u64,
    /// How often the plan's group is deleted, and restored after a while.
    pub deletions: u64,
    /// How often nothing can be written for a while.
    pub revocations: u64,
    /// An instance starts again with another clock.
    pub jumps: bool,
}

/// What kind of history a seed makes.
#[derive(Debug, Clone)]
pub struct Shape {
    pub faults: Faults,
    /// Values collide often.
    pub small_values: bool,
    /// An edit of the details changes the task's ETag too.
    pub details_touch_task: bool,
    /// Planner's clock against ours, in ms.
    pub skew: i64,
    /// Each instance's clock against the true one, in ms.
    pub skews: [i64; 3],
    pub tasks: u64,
    pub agent_ops: u64,
    pub human_ops: u64,
    /// Longest pause between two operations of an actor, in ms.
    pub pace: i64,
    pub interval: i64,
    pub instances: usize,
    /// One agent edits one field, or one list, again and again, and no person does.
    pub insistent: bool,
    /// An operator ends the pauses when the trouble is over.
    pub operator: bool,
    /// A person removes nearly every task at once, or touches every one.
    pub sweep: Option<Sweep>,
}

/// What somebody does to a whole plan at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    Deletes,
    Edits,
}

impl Shape {
    pub fn draw(rng: &mut Rng) -> Self {
        let family = |rng: &mut Rng, most: u64| if rng.chance(45) { 1 + rng.below(most) } else { 0 };
        let faults = Faults {
            lost_with_effect: family(rng, 30),
            lost_without_effect: family(rng, 25),
            not_now: family(rng, 20),
            stale: family(rng, 20),
            forbidden_with_effect: family(rng, 20),
            forbidden_without_effect: family(rng, 10),
            repeated: family(rng, 25),
            endless: if rng.chance(10) { 20 } else { 0 },
            listing_fails: family(rng, 25),
            listing_repeats: family(rng, 20),
            lag: family(rng, 20) as i64 * 1000,
            lagging: 10 + family(rng, 80),
            store_before: family(rng, 8),
            store_after: family(rng, 10),
            store_lies: family(rng, 6),
            slow: family(rng, 12),
            cancelled: family(rng, 20),
            refused: family(rng, 12),
            crashes: family(rng, 3),
            stalls: family(rng, 3),
            denials: if rng.chance(8) { 1 } else { 0 },
            deletions: if rng.chance(6) { 1 } else { 0 },
            revocations: if rng.chance(8) { 1 } else { 0 },
            jumps: rng.chance(10),
        };
        let skewed = |rng: &mut Rng| if rng.chance(50) { rng.below(18_001) as i64 - 9_000 } else { 0 };
        let skew = if rng.chance(8) { rng.below(14_400_001) as i64 - 7_200_000 } else { skewed(rng) };
        let sweep = match rng.below(100) {
            0..2 => Some(Sweep::Deletes),
            2 => Some(Sweep::Edits),
            _ => None,
        };
        let insistent = sweep.is_none() && rng.chance(12);
        let tasks = match sweep {
            Some(Sweep::Deletes) => 7 + rng.below(3),
            Some(Sweep::Edits) => 20,
            None => 1 + rng.below(3),
        };
        Self {
            faults,
            sweep,
            small_values: rng.chance(50),
            details_touch_task: rng.chance(50),
            skew,
            skews: [skewed(rng), skewed(rng), skewed(rng)],
            tasks,
            agent_ops: 2 + rng.below(10),
            human_ops: if insistent { 0 } else { 1 + rng.below(8) },
            pace: if insistent { 1_500 } else { *rng.pick(&[300, 2_000, 8_000, 25_000]) },
            insistent,
            operator: rng.chance(50),
            interval: *rng.pick(&[3_000, 10_000, 30_000]),
            instances: 1,
        }
    }
}
