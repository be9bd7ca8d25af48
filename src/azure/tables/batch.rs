//! An entity-group transaction on the wire: one multipart request, one multipart answer.
//!
//! The answer's status is 202 even when the transaction failed; then it has a single part, whose message starts with the
//! place of the operation at fault. The answer is taken apart by its boundaries: an error message may hold anything,
//! a status line included.

use http::StatusCode;

use super::entity;
use crate::azure::storage::Error;
use crate::rows::{Expect, RowVersion, Write};

/// Most bytes of a transaction's request (Learn: performing entity group transactions).
const MAX_BODY: usize = 4 * 1024 * 1024;

/// What the parts of a transaction have in common.
pub(super) struct Target<'a> {
    /// The service's address, without a query.
    pub(super) base: &'a str,
    /// The table.
    pub(super) table: &'a str,
    /// The partition.
    pub(super) partition: &'a str,
    /// The id every row is to carry.
    pub(super) operation: &'a str,
}

/// The request's boundary and body.
pub(super) fn request(target: &Target<'_>, writes: &[&Write]) -> Result<(String, String), Error> {
    let batch = format!("batch_{}", target.operation);
    let changes = format!("changeset_{}", target.operation);
    let mut body = format!("--{batch}\r\nContent-Type: multipart/mixed; boundary={changes}\r\n\r\n");
    for write in writes {
        body.push_str(&format!(
            "--{changes}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        ));
        body.push_str(&part(target, write)?);
        body.push_str("\r\n");
    }
    body.push_str(&format!("--{changes}--\r\n--{batch}--\r\n"));
    if body.len() > MAX_BODY {
        return Err(Error::TooLarge { bytes: body.len() });
    }
    Ok((batch, body))
}

fn part(target: &Target<'_>, write: &Write) -> Result<String, Error> {
    let Target { base, table, partition, operation } = target;
    let row = format!("{base}/{table}(PartitionKey='{}',RowKey='{}')", key(partition), key(&write.key));
    let condition = match (&write.expect, &write.json) {
        (Expect::Version(version), _) => format!("If-Match: {}\r\n", version.0),
        (_, None) => "If-Match: *\r\n".to_owned(),
        (_, Some(_)) => String::new(),
    };
    let common = "Accept: application/json;odata=minimalmetadata\r\nDataServiceVersion: 3.0;\r\n";
    let Some(json) = &write.json else {
        return Ok(format!("DELETE {row} HTTP/1.1\r\n{common}{condition}\r\n"));
    };
    let body = entity::body(partition, &write.key, operation, json)?;
    let (line, prefer) = match write.expect {
        Expect::Absent => (format!("POST {base}/{table}"), "Prefer: return-no-content\r\n"),
        Expect::Version(_) | Expect::Anything => (format!("PUT {row}"), ""),
    };
    Ok(format!("{line} HTTP/1.1\r\n{common}{condition}{prefer}Content-Type: application/json\r\n\r\n{body}"))
}

/// A key as a literal within a path: quotes doubled, then all of it percent-encoded.
fn key(text: &str) -> String {
    encoded(&text.replace('\'', "''"))
}

/// `text` percent-encoded for a path or a query; a space is `%20`, never `+`.
pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The version of each row, in order; `None` for a deleted one.
pub(super) fn answer(
    content_type: &str,
    body: &str,
    writes: &[&Write],
    secret: Option<&str>,
) -> Result<Vec<Option<RowVersion>>, Error> {
    let unreadable = || Error::Ambiguous("the answer to a transaction cannot be read".to_owned());
    let answers = parts_of(content_type, body).ok_or_else(unreadable)?;
    if let Some(failed) = answers.iter().find(|answer| !answer.status.is_success()) {
        return Err(match Error::read(failed.status, None, failed.body, secret) {
            Error::Refused { status, code, name, message, index: None } if writes.len() == 1 => {
                Error::Refused { status, code, name, message, index: Some(0) }
            }
            error => error,
        });
    }
    if answers.len() != writes.len() {
        return Err(unreadable());
    }
    let versions = answers.iter().zip(writes).map(|(answer, write)| match write.json {
        None => Some(None),
        Some(_) => answer.etag.map(|etag| Some(RowVersion(etag.into()))),
    });
    versions.collect::<Option<Vec<_>>>().ok_or_else(unreadable)
}

/// The answer to one operation.
#[derive(Debug, PartialEq)]
struct Part<'a> {
    status: StatusCode,
    etag: Option<&'a str>,
    body: &'a str,
}

/// The answers within a multipart body, however deep; `None` when it is not whole.
fn parts_of<'a>(content_type: &str, body: &'a str) -> Option<Vec<Part<'a>>> {
    let mut answers = Vec::new();
    for part in split(body, boundary(content_type)?)? {
        let (headers, content) = head(part)?;
        let content_type = header(headers, "content-type")?;
        if content_type.starts_with("multipart/") {
            answers.extend(parts_of(content_type, content)?);
        } else {
            let (line, rest) = content.split_once("\r\n")?;
            let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
            let (headers, body) = head(rest)?;
            answers.push(Part { status, etag: header(headers, "etag"), body });
        }
    }
    Some(answers)
}

fn boundary(content_type: &str) -> Option<&str> {
    let (_, rest) = content_type.split_once("boundary=")?;
    Some(rest.split(';').next()?.trim().trim_matches('"')).filter(|boundary| !boundary.is_empty())
}

/// Headers and what follows the blank line; either may be empty.
fn head(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix("\r\n") {
        Some(content) => Some(("", content)),
        None => text.split_once("\r\n\r\n"),
    }
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = headers.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The parts between the boundary's lines; `None` when the closing one is missing.
fn split<'a>(body: &'a str, boundary: &str) -> Option<Vec<&'a str>> {
    let dashed = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut open: Option<usize> = None; // where the part at hand begins
    let mut place = 0;
    for line in body.split_inclusive("\r\n") {
        if let Some(end) = line.strip_prefix(dashed.as_str()).map(str::trim_end)
            && matches!(end, "" | "--")
        {
            if let Some(begin) = open {
                let part = body.get(begin..place)?;
                parts.push(part.strip_suffix("\r\n").unwrap_or(part)); // that line break belongs to the boundary
            }
            if end == "--" {
                return Some(parts);
            }
            open = Some(place + line.len());
        }
        place += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::storage::Code;

    const TYPE: &str = "multipart/mixed; boundary=batchresponse_1";

    fn wrapped(parts: &[&str]) -> String {
        let part = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n";
        let parts: String = parts.iter().map(|text| format!("--changes_1\r\n{part}{text}\r\n")).collect();
        format!(
            "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=\"changes_1\"\r\n\r\n{parts}--changes_1--\r\n--batchresponse_1--\r\n"
        )
    }

    fn put(key: &str) -> Write {
        Write::upsert(key, &1).unwrap()
    }

    #[test]
    fn batch_answer_versions_are_in_row_order() {
        let gone = Write::delete("b", Expect::Anything);
        let (first, last) = (put("a"), put("c"));
        let body = wrapped(&[
            "HTTP/1.1 204 No Content\r\nETag: W/\"1\"\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nDataServiceVersion: 1.0;\r\n\r\n",
            "HTTP/1.1 204 No Content\r\netag: W/\"3\"\r\n\r\n",
        ]);
        let versions = answer(TYPE, &body, &[&first, &gone, &last], None).unwrap();
        let versions: Vec<_> = versions.iter().map(|version| version.as_ref().map(|version| &*version.0)).collect();
        assert_eq!(versions, [Some("W/\"1\""), None, Some("W/\"3\"")]);
    }

    #[test]
    fn batch_failure_names_its_operation_despite_http_like_text() {
        let message = r#"{"odata.error":{"code":"EntityAlreadyExists","message":{"value":"1:HTTP/1.1 204 No Content --changes_1--"}}}"#;
        let body = wrapped(&[&format!("HTTP/1.1 409 Conflict\r\nContent-ID: 2\r\n\r\n{message}")]);
        let error = answer(TYPE, &body, &[&put("a"), &put("b"), &put("c")], None).unwrap_err();
        assert!(matches!(error, Error::Refused { code: Code::RowExists, index: Some(1), .. }), "{error:?}");
    }

    #[test]
    fn truncated_batch_answer_is_an_unknown_outcome() {
        let body = wrapped(&["HTTP/1.1 204 No Content\r\nETag: W/\"1\"\r\n\r\n"]);
        for cut in [0, 40, body.len() - 25, body.len() - 4] {
            let error = answer(TYPE, &body[..cut], &[&put("a")], None).unwrap_err();
            assert!(matches!(error, Error::Ambiguous(_)), "{cut}: {error:?}");
        }
        let missing = answer(TYPE, &body, &[&put("a"), &put("b")], None).unwrap_err();
        assert!(matches!(missing, Error::Ambiguous(_)), "{missing:?}");
    }

    #[test]
    fn batch_request_has_one_part_per_row_and_no_secret() {
        let version = RowVersion("W/\"7\"".into());
        let (delete, replace) = (Write::delete("x", Expect::Anything), Write::replace("r", &version, &1).unwrap());
        let insert = Write::insert("o'brien %/你", &"\"\r\n--batch_op-1--").unwrap();
        let target = Target { base: "https://h", table: "t", partition: "a|b", operation: "op-1" };
        let (boundary, body) = request(&target, &[&insert, &replace, &delete]).unwrap();
        assert_eq!(boundary, "batch_op-1");
        let lines: Vec<&str> = body.split("\r\n").filter(|line| line.ends_with(" HTTP/1.1")).collect();
        assert_eq!(
            lines,
            [
                "POST https://h/t HTTP/1.1",
                "PUT https://h/t(PartitionKey='a%7Cb',RowKey='r') HTTP/1.1",
                "DELETE https://h/t(PartitionKey='a%7Cb',RowKey='x') HTTP/1.1"
            ]
        );
        assert_eq!(split(&body, &boundary).unwrap().len(), 1, "content cannot end a part");
        assert!(body.contains("If-Match: W/\"7\"\r\n") && body.contains("If-Match: *\r\n"));
        assert_eq!(key("o'brien %"), "o%27%27brien%20%25");
    }

    #[test]
    fn batch_request_over_4_mib_is_not_sent() {
        let text = "\"".repeat(200_000); // each quote is escaped twice
        let writes: Vec<Write> = (0..8).map(|n| Write::upsert(format!("{n}"), &text).unwrap()).collect();
        let target = Target { base: "https://h", table: "t", partition: "p", operation: "o" };
        let refused = request(&target, &writes.iter().collect::<Vec<_>>());
        assert!(matches!(refused, Err(Error::TooLarge { .. })));
    }
}
