//! Settings that refer to a secret, `@keyvault:NAME`, and where secrets are kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use url::Url;

use super::{Lookup, Problems, Reader, VARIABLES, identity, is_safe};
use crate::azure::CredentialConfig;
use crate::store::secrets;

const MARK: &str = "@keyvault:";

/// A setting that refers to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The setting.
    pub variable: &'static str,
    /// The secret's name.
    pub secret: String,
}

/// What is needed before the other settings can be read: where secrets are, and who asks for them.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Where secrets are kept; `None` nowhere.
    pub place: Option<secrets::Config>,
    /// Who the program is, for a vault.
    pub credential: CredentialConfig,
    /// The settings that refer to secrets.
    pub references: Vec<Reference>,
}

impl Bootstrap {
    /// Reads it.
    ///
    /// # Errors
    /// When a setting refers to a secret and none can be had.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, Problems> {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let place = place(&mut reader);
        let references: Vec<Reference> = VARIABLES
            .iter()
            .filter_map(|variable| {
                let text = lookup(variable.name)?;
                let secret = text.trim().strip_prefix(MARK)?.trim().to_owned();
                Some(Reference { variable: variable.name, secret })
            })
            .collect();
        if place.is_none()
            && let Some(reference) = references.first()
        {
            reader.problems.push(format!(
                "`{}` refers to a secret, and neither `KEY_VAULT_URL` nor `SECRETS_DIR` says where secrets are",
                reference.variable
            ));
        }
        let opens = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "KEY_VAULT_URL", "SECRETS_DIR"];
        let needs_itself = |reference: &&Reference| {
            opens.contains(&reference.variable)
                && (reference.variable.ends_with("_DIR")
                    || reference.variable.ends_with("_URL")
                    || matches!(place, Some(secrets::Config::Vault(_))))
        };
        if let Some(reference) = references.iter().find(needs_itself) {
            reader.problems.push(format!("`{}` cannot be a secret of the vault that it opens", reference.variable));
        }
        // The identity's own settings may be references to files; they are filled in before anything uses them.
        let tenant = reader.text("AZURE_TENANT_ID").unwrap_or_default();
        let credential = identity::credential(&mut reader, &tenant);
        if reader.problems.is_empty() {
            Ok(Self { place, credential, references })
        } else {
            Err(Problems(reader.problems))
        }
    }
}

/// Looks settings up among those whose secrets are known, then where they came from.
pub fn filled<'a>(
    known: &'a BTreeMap<&'static str, String>,
    lookup: Lookup<'a>,
) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| known.get(name).cloned().or_else(|| lookup(name))
}

pub(super) fn place(reader: &mut Reader<'_>) -> Option<secrets::Config> {
    if let Some(text) = reader.text("KEY_VAULT_URL") {
        let url = Url::parse(&text).ok().filter(is_safe).filter(|url| url.scheme() == "https" && url.query().is_none());
        if url.is_none() {
            reader.problems.push(format!(
                "`KEY_VAULT_URL` is `{text}`: an address expected, as in `https://NAME.vault.azure.net`"
            ));
        }
        return url.map(secrets::Config::Vault);
    }
    reader.text("SECRETS_DIR").map(|folder| secrets::Config::Folder(PathBuf::from(folder)))
}
