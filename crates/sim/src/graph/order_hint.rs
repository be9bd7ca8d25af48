//! Planner's order hints. A client sends `"<previous> <next>!"` with a missing neighbour left empty; the service
//! answers a value of its own that sorts between them (characters 32 to 126, ordinal order). A service-made
//! value must not be sent back. A neighbour may itself be a hint that has not been sent yet.

/// The digits of generated values: below them are only the separators.
const LOW: u8 = b'0';
const HIGH: u8 = b'z';
/// How many digits count when a value is made before the first or after the last item.
const WIDTH: usize = 12;
/// Nesting of hints in hints; deeper ones are refused.
const DEPTH: usize = 24;

/// Turns a client's hint into the value the service stores; `None` if the format is wrong.
pub fn place(hint: &str) -> Option<String> {
    evaluate(hint, DEPTH)
}

fn evaluate(hint: &str, depth: usize) -> Option<String> {
    if !hint.bytes().all(|b| (32..=126).contains(&b)) {
        return None;
    }
    let body = hint.strip_suffix('!')?;
    let depth = depth.checked_sub(1)?;
    body.match_indices(' ').find_map(|(at, _)| {
        let (previous, next) = (&body[..at], &body[at + 1..]);
        Some(between(&neighbour(previous, depth)?, &neighbour(next, depth)?))
    })
}

fn neighbour(text: &str, depth: usize) -> Option<String> {
    if text.contains([' ', '!']) { evaluate(text, depth) } else { Some(text.to_owned()) }
}

/// The value of an item without a hint: the newest first, as Planner sorts new tasks.
pub fn newest(moment: i64, order: u64) -> String {
    let ticks = i64::MAX - moment.saturating_mul(10_000) - (order % 10_000) as i64;
    format!("{ticks:019}Pj")
}

/// Makes a value that sorts after `previous` and before `next`; an empty neighbour is no neighbour.
pub fn between(previous: &str, next: &str) -> String {
    match (previous, next) {
        ("", "") => "8585775972".to_owned(),
        (_, "") => step(previous, Direction::After),
        ("", _) => step(next, Direction::Before),
        _ if previous >= next => step(previous, Direction::After),
        _ => middle(previous.as_bytes(), next.as_bytes()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Before,
    After,
}

/// Counts one up or down in the first digits, so that long queues of appended items keep short values.
fn step(value: &str, direction: Direction) -> String {
    let mut digits: Vec<u8> = value.bytes().take(WIDTH).map(|b| b.clamp(LOW, HIGH)).collect();
    digits.resize(WIDTH, LOW);
    for digit in digits.iter_mut().rev() {
        match direction {
            Direction::After if *digit < HIGH => {
                *digit += 1;
                break;
            }
            Direction::After => *digit = LOW,
            Direction::Before if *digit > LOW => {
                *digit -= 1;
                break;
            }
            Direction::Before => *digit = HIGH,
        }
    }
    let made = String::from_utf8_lossy(&digits).into_owned();
    match direction {
        Direction::After if made.as_str() <= value => format!("{value}U"),
        Direction::Before if made.as_str() >= value => "/".to_owned(),
        _ => made,
    }
}

fn middle(previous: &[u8], next: &[u8]) -> String {
    let mut made = Vec::new();
    let mut bounded = true;
    for i in 0..previous.len().max(next.len()) + 2 {
        let low = previous.get(i).copied().unwrap_or(LOW - 1);
        let high = if bounded { next.get(i).copied().unwrap_or(LOW) } else { HIGH + 1 };
        if high > low + 1 {
            made.push(low + (high - low) / 2);
            break;
        }
        made.push(low);
        bounded = bounded && high == low;
    }
    String::from_utf8_lossy(&made).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_order_hints_are_accepted() {
        for hint in [" !", "A6673H Ejkl!", "  !!", "8585775972 !", " 8585775972!"] {
            assert!(place(hint).is_some(), "{hint}");
        }
    }

    #[test]
    fn order_hint_refuses_service_values_and_other_text() {
        for hint in ["85752723360752+", "", "!", "abc", "a b", "a b!\u{e9}"] {
            assert_eq!(place(hint), None, "{hint}");
        }
    }

    #[test]
    fn generated_order_hint_sorts_between_its_neighbours() {
        let (a, b) = ("8585775972", "8585775973");
        let mut low = a.to_owned();
        for _ in 0..40 {
            let mid = between(&low, b);
            assert!(low.as_str() < mid.as_str() && mid.as_str() < b, "{low} {mid} {b}");
            low = mid;
        }
        assert!(between("", a).as_str() < a && between(a, "").as_str() > a);
        assert!(place("A6673H Ejkl!").is_some_and(|v| "A6673H" < v.as_str() && v.as_str() < "Ejkl"));
    }

    #[test]
    fn appending_ten_thousand_items_keeps_order_hints_short() {
        let mut last = between("", "");
        for _ in 0..10_000 {
            let next = between(&last, "");
            assert!(next > last && next.len() <= WIDTH);
            last = next;
        }
    }
}
