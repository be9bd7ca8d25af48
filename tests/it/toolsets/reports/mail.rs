//! Mail with small and with large attachments, on the simulated tenant.

use chrono::Utc;
use graphgate::azure::{Credential, CredentialConfig, Loopback, Secret};
use graphgate::clock::Clock;
use graphgate::graph::Identity;
use graphgate::graph::mail::{Attachment, Message};
use graphgate::graph::{Call, Client};
use graphgate::http_client::HttpClient;
use graphgate::ids::Entropy;
use graphgate_sim as sim;
use serde_json::Value;

#[tokio::test]
async fn mail_attachments_over_3_mb_use_an_upload_session() {
    let config =
        sim::Config { port: 0, tls: None, scenario: sim::Scenario::Demo, request_log: crate::support::request_log() };
    let tenant = sim::start(config).await.unwrap();
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let http = HttpClient::new(clock.clone(), entropy.clone()).unwrap();
    let secret = CredentialConfig::ClientSecret {
        tenant: tenant.tenant_id.clone(),
        client_id: tenant.client_id.clone(),
        secret: Secret::new(&tenant.client_secret),
        authority: None,
    };
    let login = Loopback::one("login.microsoftonline.com", tenant.address.port());
    let credential = Credential::new(secret, &http, clock.clone(), entropy, Some(login)).unwrap();
    let graph = Client::new(http, credential, tenant.graph_url.clone(), clock);
    for (name, size) in [("small.pdf", 1000), ("limit.pdf", 3_000_000), ("large.pdf", 8_000_001)] {
        let message = Message {
            subject: format!("{name} at {}", Utc::now()),
            html: "<p>See the file.</p>".into(),
            to: vec![format!("AdeleV@{}", sim::DOMAIN)],
            attachments: vec![Attachment {
                name: name.into(),
                media_type: "application/pdf".into(),
                content: vec![7; size],
            }],
        };
        let sender = format!("ZoeM@{}", sim::DOMAIN);
        graph.send_mail(&Call::background(Identity::Application), &sender, &message).await.unwrap();
        let sent: Value = reqwest::get(format!("{}/mail", tenant.control_url)).await.unwrap().json().await.unwrap();
        assert_eq!(sent["sent"][0]["files"][0]["name"], name);
        assert_eq!(sent["sent"][0]["files"][0]["size"], size);
        // A small file beside a large one is not uploaded but added.
        let mut both = message.clone();
        both.attachments.push(Attachment {
            name: "note.txt".into(),
            media_type: "text/plain".into(),
            content: vec![7; 10],
        });
        graph.send_mail(&Call::background(Identity::Application), &sender, &both).await.unwrap();
        let twice: Value = reqwest::get(format!("{}/mail", tenant.control_url)).await.unwrap().json().await.unwrap();
        assert_eq!(
            (&twice["sent"][0]["files"][0]["size"], &twice["sent"][0]["files"][1]["size"]),
            (&size.into(), &10.into())
        );
        assert_eq!(sent["sent"][0]["toRecipients"][0]["emailAddress"]["address"], format!("AdeleV@{}", sim::DOMAIN));
    }
}
