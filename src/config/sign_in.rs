//! Settings of signing people in.

use chrono::TimeDelta;
use url::Url;
use uuid::Uuid;

use super::{CredentialConfig, Reader, SignIn, SignInProof, is_safe};
use crate::azure::{Secret, credential};

/// The longest an access token may live, in seconds: what is revoked ends within seconds, but not if the store is away.
const LONGEST_TOKEN: u64 = 3600;

/// Reads them; `None` where nobody signs in.
pub(super) fn read(reader: &mut Reader<'_>, credential: &CredentialConfig, public_url: Option<&Url>) -> Option<SignIn> {
    let client_id = reader.text("SIGN_IN_CLIENT_ID");
    let secret = reader.text("SIGN_IN_CLIENT_SECRET").map(|text| Secret::new(&text));
    let lives = |text: &str| text.parse().ok().filter(|seconds| (5..=LONGEST_TOKEN).contains(seconds));
    let default = super::default_of("ACCESS_TOKEN_SECONDS").parse().unwrap_or_default();
    let life = reader.parsed("ACCESS_TOKEN_SECONDS", default, lives, "seconds, 5 to 3600");
    let days = |text: &str| text.parse().ok().filter(|days| (1..=3650).contains(days));
    let default = super::default_of("ACCOUNT_DAYS").parse().unwrap_or_default();
    let idle = reader.parsed("ACCOUNT_DAYS", default, days, "days, 1 to 3650");
    let Some(client_id) = client_id else {
        if secret.is_some() {
            reader.problems.push("`SIGN_IN_CLIENT_SECRET` is set without `SIGN_IN_CLIENT_ID`".into());
        }
        return None;
    };
    if Uuid::try_parse(&client_id).is_err() {
        reader.problems.push(format!(
            "`SIGN_IN_CLIENT_ID` is `{client_id}`: the id of an application expected, as in its overview page"
        ));
    }
    let Some(public_url) = public_url else {
        reader.problems.push(
            "`PUBLIC_URL` is not set: people are sent back to it after they have signed in with Microsoft".into(),
        );
        return None;
    };
    if public_url.path() != "/" {
        reader
            .problems
            .push(format!("`PUBLIC_URL` is `{public_url}`: with sign-in an address without a path is expected"));
    }
    let proof = proof(reader, &client_id, secret, credential)?;
    let authority = reader.text("AZURE_AUTHORITY_HOST").unwrap_or_else(|| credential::PUBLIC_AUTHORITY.to_owned());
    let authority = Url::parse(&authority).ok().filter(is_safe)?; // what is wrong with it is told with the tokens
    let (access_life, idle) = (TimeDelta::seconds(life.cast_signed()), TimeDelta::days(i64::from(idle)));
    Some(SignIn {
        public_url: public_url.clone(),
        client_id,
        proof,
        authority,
        access_life,
        idle,
        admitted: Vec::new(),
    })
}

/// What proves the application: a secret of its own, what proves the same application elsewhere, or the managed identity
/// that it trusts.
fn proof(
    reader: &mut Reader<'_>,
    client_id: &str,
    secret: Option<Secret>,
    credential: &CredentialConfig,
) -> Option<SignInProof> {
    if let Some(secret) = secret {
        return Some(SignInProof::Secret(secret));
    }
    match credential {
        CredentialConfig::ClientSecret { client_id: own, secret, .. } if own.eq_ignore_ascii_case(client_id) => {
            Some(SignInProof::Secret(secret.clone()))
        }
        CredentialConfig::Certificate { client_id: own, pem, .. } if own.eq_ignore_ascii_case(client_id) => {
            Some(SignInProof::Certificate(pem.clone()))
        }
        CredentialConfig::ManagedIdentity { .. } => Some(SignInProof::ManagedIdentity),
        _ => {
            reader.problems.push(
                "nothing proves the application `SIGN_IN_CLIENT_ID`: set `SIGN_IN_CLIENT_SECRET`, or have it trust the managed identity"
                    .into(),
            );
            None
        }
    }
}
