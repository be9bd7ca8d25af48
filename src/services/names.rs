//! Names of people, groups, plans and tasks: when two are the same, and which may have been meant.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// Text in Unicode's composed form (NFC): macOS and PDF files hold `ü` as `u` and a mark, people type one letter.
#[must_use]
pub fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Whether two names are the same to a person: neither letter case nor outer space counts, nor how a letter is encoded, nor
/// what nobody sees. So a name is found by what callers were shown of it.
#[must_use]
pub fn same_name(left: &str, right: &str) -> bool {
    let (left, right) = (crate::text::line(left), crate::text::line(right));
    let (left, right) = (left.trim(), right.trim());
    if left.is_ascii() && right.is_ascii() {
        return left.eq_ignore_ascii_case(right);
    }
    name_key(left) == name_key(right)
}

/// What all spellings of a name have in common that [`same_name`] takes for the same.
#[must_use]
pub fn name_key(name: &str) -> String {
    composed(&CaseMapper::new().fold_string(&composed(name.trim()))).into_owned()
}

/// Whether a name may be meant where nothing is called `text` exactly: accents, punctuation and the order of words do not
/// count, and a word may be cut short. Good for candidates, never for a decision.
#[must_use]
pub fn is_close(name: &str, text: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let plain = plain(text);
        let words = plain.split(|letter: char| !letter.is_alphanumeric());
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let (name, text) = (words(name), words(text));
    !text.is_empty() && text.iter().all(|word| name.iter().any(|known| known.starts_with(word.as_str())))
}

/// Text as it is searched: letter case, accents and what nobody sees do not count.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let shown = crate::text::shown(text);
    let text = &*shown;
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    let folded = CaseMapper::new().fold_string(text);
    let mut plain = String::with_capacity(text.len());
    for letter in DecomposingNormalizerBorrowed::new_nfkd().normalize(&folded).chars() {
        match letter {
            // Marks on Latin, Greek and Cyrillic letters; in other scripts they make another letter and stay.
            '\u{300}'..='\u{36f}' => {}
            'æ' => plain.push_str("ae"),
            'œ' => plain.push_str("oe"),
            'þ' => plain.push_str("th"),
            'ø' => plain.push('o'),
            'đ' | 'ð' => plain.push('d'),
            'ħ' => plain.push('h'),
            'ı' => plain.push('i'),
            'ł' => plain.push('l'),
            'ŧ' => plain.push('t'),
            '’' | '‘' | 'ʼ' => plain.push('\''),
            _ => plain.extend(letter.to_lowercase()),
        }
    }
    Cow::Owned(composed(&plain).into_owned())
}

/// The words of a search, each as [`plain`] has it.
#[must_use]
pub fn search_words(text: &str) -> Vec<String> {
    plain(text).split_whitespace().map(str::to_owned).collect()
}

/// Whether every word of a search is a word of the name, but for slips of the pen: one in a short word, two in a long one.
#[must_use]
pub fn is_slip(name: &str, search: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let plain = plain(text);
        let words = plain.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let (name, search) = (words(name), words(search));
    let near = |word: &String, known: &String| {
        let slips = if word.chars().count() < 6 { 1 } else { 2 };
        word.chars().count() > 2 && strsim::osa_distance(word, known) <= slips
    };
    !search.is_empty()
        && search.iter().all(|word| name.iter().any(|known| known.starts_with(word) || near(word, known)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn names_compare_in_composed_form_with_full_case_folding() {
        for (left, right) in [
            ("Müll", "Mu\u{308}ll"),
            (" MÜLL ", "mu\u{308}ll"),
            ("Straße", "STRASSE"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
        ] {
            assert!(same_name(left, right) && same_name(right, left), "{left} {right}");
        }
        for (left, right) in [("Müll", "Mull"), ("Müll", "Müllabfuhr"), ("が", "か"), ("O’Malley", "O'Malley")] {
            assert!(!same_name(left, right), "{left} {right}");
        }
    }

    #[test]
    fn close_names_ignore_accents_punctuation_and_the_order_of_words() {
        for (name, typed) in [
            ("José Núñez", "jose nunez"),
            ("Søren Kjærgaard", "Soren Kjaergaard"),
            ("Zoë Müller-Lüdenscheidt", "Zoe Muller-Ludenscheidt"),
            ("Adele Vance", "Vance, Adele"),
            ("Adele Vance", "Adel Vance"),
            ("Patrick O'Malley", "Patrick O’Malley"),
            ("`Überprüfung` (42)", "uberprufung"),
        ] {
            assert!(is_close(name, typed), "{name} {typed}");
        }
        for (name, typed) in [("Adele Vance", "Alex Vance"), ("Adele Vance", "…"), ("Adele Vance", "")] {
            assert!(!is_close(name, typed), "{name} {typed}");
        }
    }

    #[test]
    fn search_keeps_letters_that_a_mark_makes_different_in_other_scripts() {
        assert_eq!(plain("Überprüfung ÆØŁ ﬁne"), "uberprufung aeol fine");
        assert_ne!(plain("が"), plain("か"));
        assert_eq!(plain("각").chars().count(), 1);
        assert_eq!(search_words("  Cookie\t banner "), ["cookie", "banner"]);
    }

    #[test]
    fn small_typos_match_a_name_and_other_names_do_not() {
        for (name, typed) in
            [("Adele Vance", "Adle Vance"), ("Adele Vance", "vanec, adele"), ("Søren Kjærgaard", "Soren Kjergaard")]
        {
            assert!(is_slip(name, typed), "{name} {typed}");
        }
        for (name, typed) in [("Adele Vance", "Alex Wilber"), ("Bo Li", "Al Xu"), ("Adele Vance", "")] {
            assert!(!is_slip(name, typed), "{name} {typed}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4000))]

        #[test]
        fn name_matches_its_sanitized_form(name in text::tests::hostile()) {
            proptest::prop_assert!(same_name(&name, &text::shown(&name)));
            proptest::prop_assert!(same_name(&name, &text::line(&name)));
        }
    }
}
