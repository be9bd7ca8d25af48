//! Taking a report to people: by mail through Graph, or as a card posted to the address of a Teams workflow.
//!
//! Both leave the building, so both are narrow: mail goes to the domains that are configured, a card to the hosts that
//! are, over https. An application may not post into a Teams channel by Graph; a workflow's address or the channel's
//! mail address does it.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use url::Url;

use super::model::{Body, Report};
use super::request::Format;
use super::service::File;
use crate::error::ErrorCode;
use crate::graph::mail::{Attachment, Message};
use crate::graph::{self, Call, Identity};
use crate::ids::digest;
use crate::services::Error;
use crate::services::graph_error;
use crate::text;

/// Where reports may go.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The mailbox that sends: sign-in name or id.
    pub sender: Option<String>,
    /// Domains mail may go to; the sender's if empty.
    pub domains: Vec<String>,
    /// Hosts of workflows, as `name`, `*.name` or, on this machine, `name:port`.
    pub webhook_hosts: Vec<String>,
}

/// Posts JSON to an address; the error is for people.
pub type Post = Arc<dyn Fn(Url, Value) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Delivers.
pub struct ReportSender {
    /// Where reports may go.
    pub config: Config,
    /// Microsoft Graph, for mail.
    pub graph: graph::Client,
    /// The way to other addresses.
    pub post: Post,
}

/// What is delivered.
pub struct OutgoingReport {
    /// The report.
    pub report: Report,
    /// It in files.
    pub files: Vec<File>,
    /// The addresses of its files.
    pub links: Vec<(Format, String)>,
}

/// One way to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// One mail to all recipients.
    Mail(Vec<String>),
    /// A card to a workflow.
    Card(String),
}

impl Delivery {
    /// What names it in stored rows: its kind, and a digest of who gets it.
    #[must_use]
    pub fn id(&self) -> String {
        let (kind, to) = match self {
            Self::Mail(to) => ("mail", to.iter().map(|address| address.to_lowercase()).collect()),
            Self::Card(url) => ("card", vec![url.clone()]),
        };
        let parts: Vec<&str> = std::iter::once(kind).chain(to.iter().map(String::as_str)).collect();
        format!("{kind}-{:016x}", digest(&parts) >> 64)
    }
}

/// A delivery in words, for people alone: nothing is recognised by it.
impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mail(to) => write!(f, "mail to {} recipient(s)", to.len()),
            Self::Card(_) => f.write_str("card to the workflow"),
        }
    }
}

impl ReportSender {
    /// The deliveries of a definition.
    #[must_use]
    pub fn deliveries(&self, mail_to: &[String], webhook: Option<&str>) -> Vec<Delivery> {
        let mail = (!mail_to.is_empty()).then(|| Delivery::Mail(mail_to.to_vec()));
        mail.into_iter().chain(webhook.map(|url| Delivery::Card(url.to_owned()))).collect()
    }

    /// Refuses what cannot be delivered.
    ///
    /// # Errors
    /// When no sender is configured, an address is none, or lies where reports must not go.
    pub fn check(&self, mail_to: &[String], webhook: Option<&str>) -> Result<(), Error> {
        if !mail_to.is_empty() {
            self.sender()?;
        }
        for address in mail_to {
            self.check_recipient(address)?;
        }
        webhook.map_or(Ok(()), |url| self.check_webhook(url).map(drop))
    }

    fn sender(&self) -> Result<&str, Error> {
        self.config.sender.as_deref().ok_or_else(|| {
            Error::invalid("no mailbox is configured to send reports from")
                .hint("set `REPORT_SENDER` to a mailbox, and grant the application `Mail.Send` for it")
        })
    }

    fn check_recipient(&self, address: &str) -> Result<(), Error> {
        let Some((name, domain)) =
            address.split_once('@').filter(|(name, domain)| plain(name) && plain(domain) && domain.contains('.'))
        else {
            return Err(Error::invalid("a recipient is no mail address"));
        };
        let own = self.config.sender.as_deref().and_then(|sender| sender.split_once('@')).map(|(_, domain)| domain);
        let allowed =
            self.config.domains.iter().map(String::as_str).chain(own.filter(|_| self.config.domains.is_empty()));
        if name.len() <= 64 && allowed.into_iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(domain))
        {
            return Ok(());
        }
        Err(Error::invalid(format!("reports may not be mailed to `{domain}`"))
            .hint("an operator adds the domain to `REPORT_RECIPIENT_DOMAINS`"))
    }

    /// The address of a workflow, if a card may be posted there.
    fn check_webhook(&self, text: &str) -> Result<Url, Error> {
        let refuse = |why: &str| Error::invalid(why);
        let url = Url::parse(text).map_err(|_| refuse("`webhook_url` is no address"))?;
        let host = url.host_str().unwrap_or_default().to_lowercase();
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        let fits = |allowed: &String| match allowed.strip_prefix("*.") {
            Some(parent) => host.strip_suffix(parent).is_some_and(|name| name.len() > 1 && name.ends_with('.')),
            None => *allowed == host,
        };
        let https = url.scheme() == "https" && url.port().is_none() && self.config.webhook_hosts.iter().any(fits);
        // On this machine, named with its port, for the simulated tenant.
        let local = url.scheme() == "http"
            && matches!(url.host(), Some(url::Host::Ipv4(ip)) if ip.is_loopback())
            && with_port.is_some_and(|name| self.config.webhook_hosts.contains(&name));
        if url.username().is_empty() && url.password().is_none() && (https || local) {
            return Ok(url);
        }
        Err(refuse(&format!("no card may be posted to `{host}`"))
            .hint("an operator adds the host of the workflow's https address to `REPORT_WEBHOOK_HOSTS`"))
    }

    /// Whether the deployment is read-only, so that nothing may leave it.
    #[must_use]
    pub fn may_not_deliver(&self) -> bool {
        self.graph.access() == graph::Access::ReadOnly
    }

    /// Delivers.
    ///
    /// # Errors
    /// When the way is closed or the other side refuses.
    pub async fn deliver(&self, delivery: &Delivery, outgoing: &OutgoingReport) -> Result<(), Error> {
        match delivery {
            Delivery::Mail(to) => {
                self.check(to, None)?;
                let sender = self.sender()?;
                self.graph
                    .send_mail(&Call::background(Identity::Application), sender, &mail(to, outgoing))
                    .await
                    .map_err(graph_error)
            }
            Delivery::Card(url) => {
                let url = self.check_webhook(url)?;
                if self.may_not_deliver() {
                    let message = "the deployment is read-only (`READ_ONLY`): nothing was sent";
                    return Err(Error::new(ErrorCode::ReadOnly, message));
                }
                let failed =
                    |why| Error::new(ErrorCode::GraphFailed, format!("the workflow did not take the card: {why}"));
                (self.post)(url, card(outgoing)).await.map_err(failed)
            }
        }
    }
}

impl ReportSender {
    /// Writes the mail into the sender's drafts; answers what [`Self::send`] and [`Self::is_sent`] name it by.
    ///
    /// # Errors
    /// When an address lies where reports must not go, or Graph refuses.
    pub async fn draft(&self, to: &[String], outgoing: &OutgoingReport) -> Result<String, Error> {
        self.check(to, None)?;
        let (sender, mail) = (self.sender()?, mail(to, outgoing));
        self.graph.create_draft(&Call::background(Identity::Application), sender, &mail).await.map_err(graph_error)
    }

    /// Sends a draft.
    ///
    /// # Errors
    /// When Graph refuses; it may have been sent all the same, which [`Self::is_sent`] tells.
    pub async fn send(&self, draft: &str) -> Result<(), Error> {
        self.graph
            .send_draft(&Call::background(Identity::Application), self.sender()?, draft)
            .await
            .map_err(graph_error)
    }

    /// Whether a draft was sent; `None` when the mailbox has it no more.
    ///
    /// # Errors
    /// When Graph cannot be asked.
    pub async fn is_sent(&self, draft: &str) -> Result<Option<bool>, Error> {
        self.graph.is_sent(&Call::background(Identity::Application), self.sender()?, draft).await.map_err(graph_error)
    }
}

fn plain(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte))
}

/// A mail: the sentences, the figures and the links; the files are attached.
fn mail(to: &[String], outgoing: &OutgoingReport) -> Message {
    let report = &outgoing.report;
    let figures: String = figures(report)
        .iter()
        .map(|(label, value)| {
            format!(
                "<td style=\"padding:8px 16px 8px 0\"><b style=\"font-size:20px\">{}</b><br>{}</td>",
                text::html(value),
                text::html(label)
            )
        })
        .collect();
    let links: Vec<String> = outgoing
        .links
        .iter()
        .map(|(format, url)| format!("<a href=\"{}\">{}</a>", text::html(url), format.word().to_uppercase()))
        .collect();
    let html = format!(
        "<div style=\"font-family:Segoe UI,Arial,sans-serif;color:#14202b\"><h2>{}</h2><p>{}</p><table role=\"presentation\"><tr>{figures}</tr></table><p>{}</p></div>",
        text::html(&report.title),
        text::html(&report.summary),
        links.join(" · ")
    );
    let attach = |file: &File| Attachment {
        name: file.name.clone(),
        media_type: file.format.media_type().to_owned(),
        content: file.content.clone(),
    };
    Message {
        subject: text::line(&report.title).split_whitespace().collect::<Vec<_>>().join(" "),
        html,
        to: to.to_vec(),
        attachments: outgoing.files.iter().map(attach).collect(),
    }
}

fn figures(report: &Report) -> Vec<(String, String)> {
    let figures = report.sections.iter().find_map(|section| match &section.body {
        Body::Figures { figures } => Some(figures),
        _ => None,
    });
    let shown = |figure: &super::model::Figure| (figure.label.clone(), format!("{}{}", figure.value, figure.unit));
    figures.map(|figures| figures.iter().map(shown).collect()).unwrap_or_default()
}

/// A message with an adaptive card, as the template "post to a channel when a webhook request is received" takes it.
fn card(outgoing: &OutgoingReport) -> Value {
    let report = &outgoing.report;
    let facts: Vec<Value> = figures(report)
        .iter()
        .map(|(title, value)| json!({ "title": text::card(title), "value": text::card(value) }))
        .collect();
    let actions: Vec<Value> = outgoing
        .links
        .iter()
        .map(|(format, url)| json!({ "type": "Action.OpenUrl", "title": format.word().to_uppercase(), "url": url }))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [
                    { "type": "TextBlock", "size": "Large", "weight": "Bolder", "wrap": true, "text": text::card(&report.title) },
                    { "type": "TextBlock", "wrap": true, "text": text::card(&report.summary) },
                    { "type": "FactSet", "facts": facts },
                ],
                "actions": actions,
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::services::reports::build::build;
    use crate::services::reports::request::ReportRequest;
    use crate::services::reports::sample;

    #[test]
    fn a_delivery_is_named_by_kind_and_recipients() {
        let mail = |to: &[&str]| Delivery::Mail(to.iter().map(|&to| to.to_owned()).collect());
        let (ada, bob) = (mail(&["ada@example.com"]), mail(&["bob@example.com"]));
        assert_eq!(ada.to_string(), bob.to_string(), "the same words");
        assert_ne!(ada.id(), bob.id());
        assert_eq!(ada.id(), mail(&["Ada@Example.com"]).id());
        assert_ne!(ada.id(), Delivery::Card("ada@example.com".into()).id());
        assert_ne!(mail(&["a@example.com", "b@example.com"]).id(), mail(&["a@example.comb@example.com"]).id());
        assert_eq!(ada.id(), "mail-d8cc2c433d389513", "stored rows hold it");
    }

    fn acts(c: char) -> bool {
        c.is_control()
            || matches!(u32::from(c), 0x200b | 0x200e | 0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe0100..=0xe0fff)
    }

    proptest! {
        #[test]
        fn report_mails_and_cards_contain_no_invisible_text(
            title in "[\\x00-\\x1f\\x7f-\\x9f\u{200b}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{e0020}-\u{e007f}\u{feff}<>\"&\\[\\]()!a-z:/. ]{0,40}",
            label in any::<String>(),
        ) {
            let mut plan = sample::plan(3, sample::today());
            plan.title = title;
            let options = ReportRequest::default().understand(sample::now(), chrono_tz::Tz::UTC).unwrap();
            let mut report = build("r".into(), &options, &[plan], &[]);
            for section in &mut report.sections {
                if let Body::Figures { figures } = &mut section.body {
                    for figure in figures {
                        figure.label.clone_from(&label);
                    }
                }
            }
            let outgoing = OutgoingReport { report, files: Vec::new(), links: vec![(Format::Html, "https://gate.example/a?b&c".into())] };
            let message = mail(&["ada@example.com".into()], &outgoing);
            prop_assert!(!message.subject.chars().any(acts), "{:?}", message.subject);
            prop_assert!(!message.html.chars().any(acts), "{:?}", message.html);
            let ours = ["</", "<div ", "<h2>", "<p>", "<table ", "<tr>", "<td ", "<b ", "<br>", "<a "];
            let known: usize = ours.iter().map(|tag| message.html.matches(tag).count()).sum();
            prop_assert_eq!(message.html.matches('<').count(), known, "only tags of ours in {}", message.html);
            let card = card(&outgoing);
            let mut texts = Vec::new();
            let mut left = vec![&card];
            while let Some(value) = left.pop() {
                match value {
                    Value::String(text) => texts.push(text),
                    Value::Array(items) => left.extend(items),
                    Value::Object(members) => left.extend(members.values()),
                    _ => {}
                }
            }
            for text in texts {
                prop_assert!(!text.chars().any(acts) && !text.contains(['[', ']', '`']), "{text:?}");
            }
        }
    }
}
