//! Secrets in the wiring: settings that refer to one are filled in before the start, and looked up again while the
//! program runs, so that a rotated secret takes effect without a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::startup::Need;
use crate::auth::Gate;
use crate::azure::{Credential, Loopback, Secret, Vault};
use crate::clock::Clock;
use crate::config::{Bootstrap, Config, Listening, Lookup, Problems, Reference, filled};
use crate::http_client::HttpClient;
use crate::ids::Entropy;
use crate::keyring::{self, Keyring};
use crate::rows::{StoreError, TenantTables, Write};
use crate::store::secrets::{self, Cached, FolderSecrets, SecretError, Secrets};

/// The secret that holds the keyring.
pub const KEYRING: &str = "graphgate-keyring";
/// How often secrets in use are looked up again.
const EVERY: Duration = Duration::from_mins(6);

/// Reads all settings; those that refer to a secret get its value.
///
/// # Errors
/// When a setting cannot be used, or a secret is missing or cannot be had.
pub async fn settings(lookup: Lookup<'_>, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Config> {
    let bootstrap = Bootstrap::read(lookup)?;
    let mut known = BTreeMap::new();
    if let Some(place) = bootstrap.place.as_ref().filter(|_| !bootstrap.references.is_empty()) {
        let http = HttpClient::new(clock.clone(), entropy.clone())?;
        let credential = Credential::new(bootstrap.credential, &http, clock.clone(), entropy.clone(), None)?;
        let place = open(place, &http, &credential, None)?;
        let (mut problems, mut wrong) = (Vec::new(), Vec::new());
        for Reference { variable, secret } in &bootstrap.references {
            match place.get(secret).await {
                Ok(Some(value)) => drop(known.insert(*variable, value.expose().to_owned())),
                Ok(None) => {
                    problems.push(format!("`{variable}` refers to the secret `{secret}`, which does not exist"));
                }
                Err(error @ SecretError::Name(_)) => wrong.push(format!("`{variable}`: {error}")),
                Err(error) => problems.push(format!("`{variable}` refers to the secret `{secret}`: {error}")),
            }
        }
        if !wrong.is_empty() {
            return Err(Problems(wrong).into());
        }
        if !problems.is_empty() {
            return Err(anyhow::Error::from(Problems(problems)).context(Need::Secrets));
        }
    }
    let mut config = Config::read(&filled(&known, lookup)).map_err(|problems| without(problems, &known))?;
    config.references = bootstrap.references;
    Ok(config)
}

/// Where to listen. No secret is looked up for that; where no setting refers to one, all settings are checked.
///
/// # Errors
/// When a setting cannot be used.
pub fn listening(lookup: Lookup<'_>) -> Result<Listening, Problems> {
    if Bootstrap::read(lookup)?.references.is_empty() {
        Config::read(lookup)?;
    }
    Listening::read(lookup)
}

/// What is wrong with settings, without the values that came from where secrets are kept.
fn without(problems: Problems, secrets: &BTreeMap<&'static str, String>) -> Problems {
    let hide = |text: String| {
        let values = secrets.values().filter(|value| !value.is_empty());
        values.fold(text, |text, value| text.replace(value.as_str(), "(a secret)"))
    };
    Problems(problems.0.into_iter().map(hide).collect())
}

/// Opens the place where secrets are kept.
///
/// # Errors
/// When a vault's address cannot be one.
pub fn open(
    place: &secrets::Config,
    http: &HttpClient,
    credential: &Credential,
    loopback: Option<Loopback>,
) -> Result<Arc<dyn Secrets>, SecretError> {
    Ok(match place {
        secrets::Config::Vault(url) => Arc::new(Vault::new(url, http, credential.clone(), loopback)?),
        secrets::Config::Folder(folder) => Arc::new(FolderSecrets(folder.clone())),
    })
}

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum NoKeyring {
    /// The deployment has none.
    #[error("there is no keyring: the secret `{KEYRING}` does not exist; `graphgate keys init` makes it")]
    Missing,
    /// The place does not answer.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be used.
    #[error(transparent)]
    Unusable(#[from] keyring::KeyringError),
}

/// The deployment's keyring: from where secrets are kept, or, where they are kept nowhere, from the store, which gets
/// one at the first start.
///
/// # Errors
/// When there is none, or it cannot be read.
pub async fn keyring(place: Option<&Cached>, tables: &TenantTables, entropy: &Entropy) -> Result<Keyring, NoKeyring> {
    let tenant = tables.tenant();
    if let Some(place) = place {
        let ring = place.get(KEYRING).await?.ok_or(NoKeyring::Missing)?;
        return Ok(Keyring::parse(ring.expose(), tenant)?);
    }
    let (rows, row) = (tables.partition("keys"), "keyring");
    for _ in 0..3 {
        if let Some(found) = rows.get(row).await? {
            return Ok(Keyring::parse(&found.decode::<String>()?, tenant)?);
        }
        match rows.commit(vec![Write::insert(row, &keyring::generate(entropy))?]).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Unavailable { reason: "the keyring cannot be kept".into() }.into())
}

/// Everything that takes a rotated secret over while the program runs.
pub struct Rotation {
    /// Where secrets are kept.
    pub place: Arc<Cached>,
    /// The settings that refer to one.
    pub references: Vec<Reference>,
    /// Compares the deployment's key.
    pub gate: Arc<Gate>,
    /// Uses the application's secret.
    pub credential: Credential,
    /// Signs.
    pub keyring: Keyring,
    /// The program's clock.
    pub clock: Clock,
}

impl Rotation {
    /// Looks secrets up again, every so often, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(EVERY) => self.once().await,
            }
        }
    }

    /// Looks every secret in use up and hands it on.
    pub async fn once(&self) {
        for Reference { variable, secret } in &self.references {
            match self.place.get(secret).await {
                Ok(Some(value)) => self.take(variable, value),
                Ok(None) => {
                    tracing::warn!(variable, secret, "a secret in use does not exist any more; the last one holds");
                }
                Err(error) => {
                    tracing::warn!(variable, %error, "a secret in use cannot be looked up; the last one holds");
                }
            }
        }
        if let Ok(Some(ring)) = self.place.get(KEYRING).await
            && let Err(error) = self.keyring.replace(ring.expose())
        {
            tracing::error!(%error, "the keyring in use stays");
        }
    }

    fn take(&self, variable: &str, value: Secret) {
        match variable {
            "GRAPHGATE_API_KEY" => self.gate.rotate(value),
            "AZURE_CLIENT_SECRET" => self.credential.rotate(value),
            "SIGN_IN_CLIENT_SECRET" => {
                if let Some(server) = self.gate.server() {
                    server.accounts().microsoft().rotate(value);
                }
            }
            _ => {} // takes effect at the next start
        }
    }
}

/// Makes the keyring where secrets are kept; answers its version, and whether it was made just now.
///
/// # Errors
/// When secrets are kept nowhere, or the place refuses.
pub async fn init(lookup: Lookup<'_>, clock: &Clock, entropy: &Entropy) -> anyhow::Result<(keyring::Version, bool)> {
    let place = outside(lookup, clock, entropy)?;
    if let Some(ring) = place.get(KEYRING).await? {
        return Ok((keyring::version(ring.expose())?, false));
    }
    let ring = keyring::generate(entropy);
    place.set(KEYRING, &Secret::new(&ring)).await?;
    Ok((keyring::version(&ring)?, true))
}

/// Adds a version to the keyring where secrets are kept; answers it.
///
/// # Errors
/// When there is no keyring, or the place refuses.
pub async fn rotate(lookup: Lookup<'_>, clock: &Clock, entropy: &Entropy) -> anyhow::Result<keyring::Version> {
    let place = outside(lookup, clock, entropy)?;
    let ring = place.get(KEYRING).await?.ok_or(NoKeyring::Missing)?;
    let ring = keyring::rotate(ring.expose(), entropy)?;
    place.set(KEYRING, &Secret::new(&ring)).await?;
    Ok(keyring::version(&ring)?)
}

fn outside(lookup: Lookup<'_>, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Arc<dyn Secrets>> {
    let bootstrap = Bootstrap::read(lookup)?;
    let place = bootstrap.place.context("neither `KEY_VAULT_URL` nor `SECRETS_DIR` says where secrets are kept")?;
    let http = HttpClient::new(clock.clone(), entropy.clone())?;
    let credential = Credential::new(bootstrap.credential, &http, clock.clone(), entropy.clone(), None)?;
    Ok(open(&place, &http, &credential, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_errors_contain_no_vault_value() {
        let secrets = BTreeMap::from([("PORT", "CANARYvalue".to_owned()), ("REDIS_URL", String::new())]);
        let shown = Problems(vec!["`PORT` is `CANARYvalue`: a number expected".into(), "`ROLES` is missing".into()]);
        let shown = without(shown, &secrets).0;
        assert_eq!(shown, ["`PORT` is `(a secret)`: a number expected", "`ROLES` is missing"]);
    }
}
