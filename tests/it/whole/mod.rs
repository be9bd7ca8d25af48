//! Journeys through the whole program, from an agent's call to Planner and back.

mod bad_days;
mod bad_input;
mod faults;
mod hostile_text;
mod hung;
mod journeys;
mod lists;
mod lost_answers;
mod memory;
mod moves;
mod names;
mod narrowed;
mod once;
mod people;
mod places;
mod promises;
mod random_calls;
mod reads;
mod search_mode;
mod undo;
