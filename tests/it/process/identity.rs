//! Who the program is towards Microsoft, without a secret: an identity of Azure's, one of Kubernetes', a certificate.

use std::process::Command;

use serde_json::{Value, json};

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::GRAPHGATE;

/// Starts a server that has no secret, and has a task made with its identity.
async fn works(deployment: &mut Deployment, kind: &str, title: &str, change: impl FnOnce(&mut Command)) {
    let secretless = |command: &mut Command| {
        command.env_remove("AZURE_CLIENT_SECRET");
        change(command);
    };
    assert!(deployment.serve_as(0, Command::new(GRAPHGATE), secretless).await, "{kind}");
    let made = deployment.call("create_task", json!({"plan_id": PLAN, "title": title})).await.unwrap();
    assert_eq!(made["sync"], "synced", "{made}");
    assert_eq!(deployment.tasks().await[title].len(), 1);
    let status = deployment.server(0).text("mcp_url").replace("/mcp", "/api/tokens/status");
    let status: Value = deployment.http.get(status).send().await.unwrap().json().await.unwrap();
    assert_eq!(status["identity"], kind, "{status:#}");
}

#[tokio::test]
async fn managed_identity_alone_is_enough() {
    let mut deployment = Deployment::tenant_alone("identity").await;
    let endpoint = deployment.tenant.text("identity_endpoint").to_owned();
    let header = deployment.tenant.text("identity_header").to_owned();
    // The Function App's own, and one that was assigned to it.
    for assigned in [false, true] {
        works(&mut deployment, "managed_identity", &format!("assigned: {assigned}"), |command| {
            command.env("IDENTITY_ENDPOINT", &endpoint).env("IDENTITY_HEADER", &header);
            if !assigned {
                command.env_remove("AZURE_CLIENT_ID");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn workload_identity_alone_is_enough_in_every_cloud() {
    let mut deployment = Deployment::tenant_alone("identity").await;
    let endpoint = deployment.tenant.text("identity_endpoint");
    let request = format!("{endpoint}?resource=api://AzureADTokenExchange&api-version=2019-08-01");
    let request = deployment.http.get(request);
    let request = request.header("x-identity-header", deployment.tenant.text("identity_header"));
    let token: Value = request.send().await.unwrap().json().await.unwrap();
    let file = deployment.folder.0.join("service-account-token");
    std::fs::write(&file, token["access_token"].as_str().unwrap()).unwrap();
    works(&mut deployment, "workload_identity", "mounted", |command| {
        command.env("AZURE_FEDERATED_TOKEN_FILE", &file);
    })
    .await;
}

#[tokio::test]
async fn client_certificate_alone_is_enough() {
    let mut deployment = Deployment::tenant_alone("identity").await;
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let file = deployment.folder.0.join("application.pem");
    std::fs::write(&file, format!("{}{}", key.serialize_pem(), certificate.pem())).unwrap();
    works(&mut deployment, "certificate", "signed", |command| {
        command.env("AZURE_CLIENT_CERTIFICATE_PATH", &file);
    })
    .await;
}
