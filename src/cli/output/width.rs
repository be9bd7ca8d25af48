//! How wide text is on a terminal.

use std::process::{Command, Stdio};

/// The columns of the terminal, if they can be found out.
///
/// Shells keep `COLUMNS` to themselves, so `stty` is asked; it reads the terminal behind stdin.
pub fn of_terminal() -> Option<usize> {
    let answer = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    text.split_whitespace().nth(1)?.parse().ok().filter(|columns| *columns > 0)
}

/// The cells the text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// Marks that join the character before and take no cell.
#[rustfmt::skip]
const JOINING: &[(u32, u32)] = &[
    (0x0300, 0x036f), (0x0483, 0x0489), (0x0591, 0x05bd), (0x064b, 0x065f), (0x1ab0, 0x1aff), (0x1dc0, 0x1dff),
    (0x200b, 0x200d), (0x2060, 0x2064), (0x20d0, 0x20ff), (0xfe00, 0xfe0f), (0xfe20, 0xfe2f), (0xfeff, 0xfeff),
    (0x1f3fb, 0x1f3ff), (0xe0020, 0xe01ef),
];

/// Ideographs and pictographs, which take two cells.
#[rustfmt::skip]
const WIDE: &[(u32, u32)] = &[
    (0x1100, 0x115f), (0x231a, 0x231b), (0x23e9, 0x23ec), (0x25fd, 0x25fe), (0x2614, 0x2615), (0x2648, 0x2653),
    (0x26aa, 0x26ab), (0x26bd, 0x26be), (0x26c4, 0x26c5), (0x26d4, 0x26d4), (0x26ea, 0x26ea), (0x26f2, 0x26f5),
    (0x26fd, 0x26fd), (0x2705, 0x2705), (0x270a, 0x270b), (0x2728, 0x2728), (0x274c, 0x274c), (0x2753, 0x2757),
    (0x2795, 0x2797), (0x2b1b, 0x2b1c), (0x2b50, 0x2b50), (0x2b55, 0x2b55), (0x2e80, 0x303e), (0x3041, 0xa4cf),
    (0xa960, 0xa97c), (0xac00, 0xd7a3), (0xf900, 0xfaff), (0xfe30, 0xfe6f), (0xff00, 0xff60), (0xffe0, 0xffe6),
    (0x1f004, 0x1f004), (0x1f0cf, 0x1f0cf), (0x1f18e, 0x1f19a), (0x1f200, 0x1f320), (0x1f32d, 0x1f64f),
    (0x1f680, 0x1f6ff), (0x1f7e0, 0x1f7eb), (0x1f900, 0x1faff), (0x20000, 0x3fffd),
];

/// The cells a character takes.
fn width_of(c: char) -> usize {
    let within = |ranges: &[(u32, u32)]| ranges.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c)));
    match c {
        ' '..='~' => 1,
        _ if within(JOINING) => 0,
        _ if within(WIDE) => 2,
        _ => 1,
    }
}

/// The text, cut to fit with `…` at its end.
pub fn cut(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut room = limit.saturating_sub(1);
    let fits = |c: &char| match room.checked_sub(width_of(*c)) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_counts_terminal_cells() {
        assert_eq!([width("abc"), width("日本"), width("e\u{301}"), width("🚀"), width("Łódź")], [3, 4, 1, 2, 4]);
    }

    #[test]
    fn truncation_never_exceeds_the_limit() {
        assert_eq!((cut("abcdef", 4), cut("日本語", 4), cut("abc", 3)), ("abc…".into(), "日…".into(), "abc".into()));
        assert_eq!(cut("abc", 1), "…");
    }
}
