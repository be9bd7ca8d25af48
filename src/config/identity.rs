//! Who the program is towards Microsoft: the first of the ways that is configured.

use super::Reader;
use crate::azure::{CredentialConfig, Secret};

pub(super) fn credential(reader: &mut Reader<'_>, tenant: &str) -> CredentialConfig {
    let authority = reader.text("AZURE_AUTHORITY_HOST");
    let client_id = reader.text("AZURE_CLIENT_ID");
    let named = |reader: &mut Reader<'_>| {
        client_id.clone().unwrap_or_else(|| {
            reader.problems.push("`AZURE_CLIENT_ID` is not set: the application id".into());
            String::new()
        })
    };
    if let Some(secret) = reader.text("AZURE_CLIENT_SECRET") {
        let client_id = named(reader);
        return CredentialConfig::ClientSecret {
            tenant: tenant.to_owned(),
            client_id,
            secret: Secret::new(&secret),
            authority,
        };
    }
    if let Some(path) = reader.text("AZURE_CLIENT_CERTIFICATE_PATH") {
        let client_id = named(reader);
        let pem = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            reader.problems.push(format!("`AZURE_CLIENT_CERTIFICATE_PATH`: `{path}` cannot be read: {error}"));
            String::new()
        });
        return CredentialConfig::Certificate {
            tenant: tenant.to_owned(),
            client_id,
            pem: Secret::new(&pem),
            authority,
        };
    }
    if let Some(path) = reader.text("AZURE_FEDERATED_TOKEN_FILE") {
        let client_id = named(reader);
        return CredentialConfig::WorkloadIdentity {
            tenant: tenant.to_owned(),
            client_id,
            token_file: path.into(),
            authority,
        };
    }
    if reader.text("IDENTITY_ENDPOINT").is_some() {
        return CredentialConfig::ManagedIdentity { client_id };
    }
    CredentialConfig::DeveloperTools
}
