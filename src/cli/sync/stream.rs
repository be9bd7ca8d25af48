//! Server-sent events, read from chunks as they come (HTML standard, section 9.2.6).

/// An event as it came over the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its kind.
    pub event: String,
    /// The listener's cursor after it.
    pub id: Option<String>,
    /// What it says.
    pub data: String,
}

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub struct Reader {
    unread: Vec<u8>,
    heard: Heard,
}

impl Reader {
    /// Takes a chunk; answers the events it completed.
    pub fn take(&mut self, chunk: &[u8]) -> Vec<Heard> {
        self.unread.extend_from_slice(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if !line.is_empty() {
                self.note(line);
            } else if !self.heard.event.is_empty() {
                events.push(std::mem::take(&mut self.heard));
            }
        }
        events
    }

    fn note(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.heard.event),
            "id" => self.heard.id = Some(value.to_owned()),
            "data" => {
                if !self.heard.data.is_empty() {
                    self.heard.data.push('\n');
                }
                self.heard.data.push_str(value);
            }
            _ => {} // a comment, or when to come back
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sse_events_parse_across_chunk_boundaries() {
        let text = ": still here\n\nevent: hello\r\nid: c4tz1\r\nretry: 1000\r\ndata: {}\r\n\r\nevent: updated\ndata: {\"a\":\ndata: \"ü\"}\n\n";
        let wanted = [
            Heard { event: "hello".into(), id: Some("c4tz1".into()), data: "{}".into() },
            Heard { event: "updated".into(), id: None, data: "{\"a\":\n\"ü\"}".into() },
        ];
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let heard: Vec<Heard> = text.as_bytes().chunks(size).flat_map(|chunk| reader.take(chunk)).collect();
            assert_eq!(heard, wanted, "in pieces of {size}");
        }
    }
}
