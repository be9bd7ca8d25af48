//! How reports are made, kept and reached.

use std::path::PathBuf;

use url::Url;

use super::Reader;
use crate::services::reports::Settings;
use crate::services::reports::delivery;

/// Settings of the report service. `public_url` is where people reach the server, `zone` the one that tasks are in.
pub(super) fn settings(reader: &mut Reader<'_>, public_url: Option<&Url>, zone: chrono_tz::Tz) -> Settings {
    let fonts = reader.text("REPORT_FONT_DIR").map(PathBuf::from);
    if let Some(folder) = fonts.as_ref().filter(|folder| !folder.is_dir()) {
        reader.problems.push(format!("`REPORT_FONT_DIR` is `{}`: there is no such folder", folder.display()));
    }
    let keep = reader.number("REPORT_KEEP_DAYS").clamp(1, 3650);
    Settings {
        time_zone: reader.parsed("REPORT_TIME_ZONE", zone, |text| text.parse().ok(), "an IANA time zone"),
        keep: chrono::TimeDelta::days(i64::try_from(keep).unwrap_or(90)),
        public_url: public_url.map(Url::to_string),
        fonts,
        typesetter: None,
    }
}

/// Where reports may go.
pub(super) fn delivery(reader: &mut Reader<'_>) -> delivery::Config {
    let sender = reader.text("REPORT_SENDER");
    let is_name =
        |text: &String| text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.'));
    if let Some(wrong) = sender.as_ref().filter(|sender| !is_name(sender)) {
        reader
            .problems
            .push(format!("`REPORT_SENDER` is `{wrong}`: a sign-in name expected, as in `name@contoso.com`"));
    }
    let lower = |name: &str| reader.list(name).into_iter().map(|item| item.to_lowercase()).collect();
    delivery::Config {
        sender,
        domains: lower("REPORT_RECIPIENT_DOMAINS"),
        webhook_hosts: lower("REPORT_WEBHOOK_HOSTS"),
    }
}
