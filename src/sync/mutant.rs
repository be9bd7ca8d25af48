//! Seeded bugs, for the simulation to catch: a check of the checks. Without the feature `mutants` every switch is off at
//! compile time and nothing of this is left.

macro_rules! mutants {
    ($($name:ident,)*) => {
        /// A bug that can be switched on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)] // the names say it
        pub enum Mutant {
            $($name,)*
        }

        /// All of them.
        #[cfg(feature = "mutants")]
        pub const ALL: [Mutant; 42] = [$(Mutant::$name,)*];
    };
}

mutants! {
    NoConflictLog,
    NoLogWherePlannerWins,
    AbsenceIsDeletion,
    PostAgainWithoutResolving,
    DeniedPostIsFinal,
    BaseBeforePatch,
    YoungIsGone,
    PatchWithoutIfMatch,
    DeleteWithoutIfMatch,
    NoSettling,
    NoVersionCheck,
    EchoNotRecognised,
    ResurrectionNotLogged,
    StaleReadsApplied,
    CopiesStay,
    NoTombstones,
    NoFence,
    BaseFromRowAtAdoption,
    OnlyLastAttempt,
    NoStrays,
    RandomImportId,
    LostReplyIsArrival,
    NoJournalRow,
    NothingResumed,
    NoRetry,
    GoneNotLogged,
    NoMassChangeGuard,
    NoEvents,
    WholeTaskMerge,
    OneEtagForBoth,
    FinishedTooEarly,
    RetryAfterIgnored,
    AmbiguousIsStale,
    LaterPushTellsAll,
    DeniedIsRefused,
    GoneWithThePlan,
    RefusalTakesAll,
    PlannersClockIgnored,
    RetryAfterForEver,
    OwnValueIsConflict,
    DetailsNotFollowed,
    CountsIgnored,
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static ON: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Switches these bugs on, and all others off, for this thread.
#[cfg(feature = "mutants")]
pub fn switch(mutants: &[Mutant]) {
    ON.set(mutants.iter().fold(0, |mask, mutant| mask | 1 << *mutant as u8));
}

/// Whether a bug is switched on.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_on(mutant: Mutant) -> bool {
    ON.get() & (1 << mutant as u8) != 0
}

/// Whether a bug is switched on: never.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is_on(_: Mutant) -> bool {
    false
}
