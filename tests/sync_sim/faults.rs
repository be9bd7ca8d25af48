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
    pub tasks: u64,
    pub agent_ops: u64,
    pub human_ops: u64,
    /// Longest pause between two operations of an actor, in ms.
    pub pace: i64,
    pub interval: i64,
    pub instances: usize,
}

impl Shape {
    pub fn draw(rng: &mut Rng) -> Self {
        let mut family = |most: u64| if rng.chance(45) { 1 + rng.below(most) } else { 0 };
        let faults = Faults {
            lost_with_effect: family(30),
            lost_without_effect: family(25),
            not_now: family(20),
            stale: family(20),
            forbidden_with_effect: family(20),
            forbidden_without_effect: family(10),
            listing_fails: family(25),
            listing_repeats: family(20),
            lag: family(20) as i64 * 1000,
            lagging: 10 + family(80),
            store_before: family(8),
            store_after: family(10),
            store_lies: family(6),
            slow: family(12),
            cancelled: family(20),
            refused: family(12),
            crashes: family(3),
        };
        let skew = if rng.chance(50) { rng.below(18_001) as i64 - 9_000 } else { 0 };
        Self {
            faults,
            small_values: rng.chance(50),
            details_touch_task: rng.chance(50),
            skew,
            tasks: 1 + rng.below(3),
            agent_ops: 2 + rng.below(10),
            human_ops: 1 + rng.below(8),
            pace: *rng.pick(&[300, 2_000, 8_000, 25_000]),
            interval: *rng.pick(&[3_000, 10_000, 30_000]),
            instances: 1,
        }
    }
}
