//! Planner's ETags. The service promises that of two ETags of one resource the ordinally greater string is the
//! newer one, so the version is written in characters whose base64 form keeps the order of the numbers.

use base64::{Engine, engine::general_purpose::STANDARD};

/// The kinds of Planner resource; each has ETags of its own, useless on any other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Plan,
    PlanDetails,
    Bucket,
    Task,
    TaskDetails,
    AssignedBoard,
    BucketBoard,
    ProgressBoard,
}

impl Kind {
    /// The readable head of an ETag. A multiple of three bytes, so that the version starts a base64 group.
    fn head(self) -> &'static str {
        match self {
            Kind::Plan => "'1-Plan  ",
            Kind::PlanDetails => "'1-PlanDetails ",
            Kind::Bucket => "'1-Bucket",
            Kind::Task => "'1-Task  ",
            Kind::TaskDetails => "'1-TaskDetails ",
            Kind::AssignedBoard => "'1-AssignedToBoard  @@@@",
            Kind::BucketBoard => "'1-BucketBoard @@@@@@",
            Kind::ProgressBoard => "'1-ProgressBoard @@@@",
        }
    }
}

/// Digits of a version: A to Z and a to z are neighbours both in base64 and in ASCII.
const BASE: u32 = 52;

/// Writes the ETag of a resource's version, for example `W/"JzEtVGFzayAgQEBAQEBAQEBAQEBAQEBAQCc="`.
pub fn write(kind: Kind, version: u32) -> String {
    let mut bytes = kind.head().as_bytes().to_vec();
    for place in (0..6).rev() {
        let digit = u64::from(version) / u64::from(BASE).pow(place) % u64::from(BASE);
        bytes.extend_from_slice(b"@@");
        bytes.push(b'@' + digit as u8);
    }
    bytes.push(b'\'');
    format!("W/\"{}\"", STANDARD.encode(bytes))
}

/// Reads an ETag of `kind`; `None` if it is malformed or belongs to another kind of resource.
pub fn read(kind: Kind, etag: &str) -> Option<u32> {
    let text = etag.trim().strip_prefix("W/\"")?.strip_suffix('"')?;
    let bytes = STANDARD.decode(text).ok()?;
    let digits = bytes.strip_prefix(kind.head().as_bytes())?.strip_suffix(b"'")?;
    if digits.len() != 18 {
        return None;
    }
    let mut version = 0u64;
    for group in digits.chunks(3) {
        let [b'@', b'@', digit] = *group else { return None };
        let digit = u32::from(digit.checked_sub(b'@')?);
        if digit >= BASE {
            return None;
        }
        version = version * u64::from(BASE) + u64::from(digit);
    }
    u32::try_from(version).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_the_ordinally_greater_string() {
        let mut before = write(Kind::Task, 0);
        for version in [1, 2, 25, 26, 27, 51, 52, 53, 2_703, 2_704, 140_608, 4_000_000_000] {
            let next = write(Kind::Task, version);
            assert!(next > before, "{next} {before}");
            before = next;
        }
    }

    #[test]
    fn etag_of_another_kind_is_refused() {
        let etag = write(Kind::Task, 4711);
        assert!(etag.starts_with("W/\"JzEtVGFzayAg"), "{etag}");
        assert_eq!(read(Kind::Task, &etag), Some(4711));
        assert_eq!(read(Kind::TaskDetails, &etag), None);
        assert_eq!(read(Kind::Task, "*"), None);
        assert_eq!(read(Kind::Task, "\"abc\""), None);
    }
}
