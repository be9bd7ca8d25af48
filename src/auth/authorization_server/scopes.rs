//! Scopes: `planner.read` and `planner.write`, and so for every toolset. Writing includes reading.

use std::collections::BTreeSet;

use crate::auth::Mode;

/// Scopes of OpenID Connect that clients ask for out of habit. They mean nothing here and are left out silently.
const OF_OTHERS: &[&str] = &["openid", "profile", "email", "offline_access"];

/// A set of scopes, in the order of their names.
pub type Scopes = BTreeSet<String>;

/// The scope that opens a toolset up to a mode.
#[must_use]
pub fn scope(toolset: &str, mode: Mode) -> String {
    let ending = match mode {
        Mode::Read => "read",
        Mode::Write => "write",
    };
    format!("{toolset}.{ending}")
}

/// The scopes of toolsets, each with whether it can write.
#[must_use]
pub fn of_toolsets<'a>(toolsets: impl IntoIterator<Item = (&'a str, bool)>) -> Scopes {
    let both = |(name, writes): (&str, bool)| {
        let write = writes.then(|| scope(name, Mode::Write));
        write.into_iter().chain([scope(name, Mode::Read)])
    };
    toolsets.into_iter().flat_map(both).collect()
}

/// The toolset and the mode of a scope.
#[must_use]
pub fn parse(scope: &str) -> Option<(&str, Mode)> {
    let (toolset, ending) = scope.rsplit_once('.')?;
    match ending {
        "read" => Some((toolset, Mode::Read)),
        "write" => Some((toolset, Mode::Write)),
        _ => None,
    }
}

/// Scopes in the words of roles: `planner.write` is what the role `planner.ReadWrite` grants.
#[must_use]
pub fn as_roles(scopes: &Scopes) -> Vec<String> {
    let role = |(toolset, mode)| match mode {
        Mode::Read => format!("{toolset}.Read"),
        Mode::Write => format!("{toolset}.ReadWrite"),
    };
    scopes.iter().filter_map(|scope| parse(scope)).map(role).collect()
}

/// The scopes a client asks for among those that are offered; the defaults where it asks for none.
///
/// # Errors
/// With the first scope that is not offered.
pub fn requested(text: Option<&str>, offered: &Scopes, default: &Scopes) -> Result<Scopes, String> {
    let mut scopes = Scopes::new();
    for scope in text.unwrap_or_default().split_whitespace().filter(|scope| !OF_OTHERS.contains(scope)) {
        if !offered.contains(scope) {
            return Err(scope.chars().take(100).collect());
        }
        scopes.insert(scope.to_owned());
    }
    Ok(if scopes.is_empty() { default.clone() } else { scopes })
}

/// Scopes with reading beside every writing, which includes it: a person is asked about both.
#[must_use]
pub fn with_reading(mut scopes: Scopes) -> Scopes {
    let writing = scopes.iter().filter_map(|scope| parse(scope)).filter(|(_, mode)| *mode == Mode::Write);
    let reading: Vec<String> = writing.map(|(toolset, _)| scope(toolset, Mode::Read)).collect();
    scopes.extend(reading);
    scopes
}

/// Scopes as OAuth writes them: separated by spaces.
#[must_use]
pub fn joined(scopes: &Scopes) -> String {
    scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_outside_the_offer_are_refused_and_none_means_the_defaults() {
        let (offered, default) =
            (of_toolsets([("planner", true), ("mail", true), ("directory", false)]), of_toolsets([("planner", true)]));
        let asked = |text| requested(text, &offered, &default).map(|scopes| joined(&scopes));
        assert_eq!(asked(None).as_deref(), Ok("planner.read planner.write"));
        assert_eq!(asked(Some("openid offline_access")).as_deref(), Ok("planner.read planner.write"));
        assert_eq!(asked(Some("mail.read  profile")).as_deref(), Ok("mail.read"));
        assert_eq!(asked(Some("planner.read files.read")), Err("files.read".to_owned()));
        assert_eq!(asked(Some("Planner.Read")), Err("Planner.Read".to_owned()));
        assert_eq!(asked(Some("directory.write")), Err("directory.write".to_owned()), "nothing is written with it");
        assert_eq!(as_roles(&requested(Some("mail.write"), &offered, &default).unwrap()), ["mail.ReadWrite"]);
    }
}
