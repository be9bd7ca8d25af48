//! Where a storage service is and what opens it: an endpoint, or a connection string as the Functions host has it.
//!
//! A connection string's key is used once, to sign a SAS for that service alone; what is kept and sent is that SAS. Without
//! a SAS the program's identity opens the service, over https only.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use url::Url;

use crate::azure::Secret;

/// The account every storage emulator has, and its published key (Learn: connect to Azurite).
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The version of the SAS format that is signed.
const SAS_VERSION: &str = "2018-11-09";

/// A service of a storage account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Blobs.
    Blobs,
    /// Queues.
    Queues,
    /// Tables.
    Tables,
}

impl Service {
    /// Its name within an account's addresses and in connection strings: `https://{account}.table.…`, `TableEndpoint`.
    const fn name(self) -> &'static str {
        match self {
            Self::Blobs => "blob",
            Self::Queues => "queue",
            Self::Tables => "table",
        }
    }

    /// Its letter in a SAS (`ss`).
    const fn letter(self) -> &'static str {
        match self {
            Self::Blobs => "b",
            Self::Queues => "q",
            Self::Tables => "t",
        }
    }

    /// The port an emulator has it on unless the endpoint names one.
    const fn emulator_port(self) -> u16 {
        match self {
            Self::Blobs => 10_000,
            Self::Queues => 10_001,
            Self::Tables => 10_002,
        }
    }
}

/// A service's address and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, without a query.
    pub url: Url,
    /// A shared access signature; without one, the program's identity is used.
    pub sas: Option<Secret>,
}

/// A connection that cannot work. The text never repeats what was configured: it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(in crate::azure) &'static str);

impl Endpoint {
    /// Reads an address: `https://{account}.table.core.windows.net`, to be opened with the program's identity, or any
    /// with a SAS as its query. Plain http is for this machine only.
    ///
    /// # Errors
    /// When it is no such address.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut url = Url::parse(text)
            .map_err(|_| ConfigError("an address expected, as in `https://…table.core.windows.net`"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(ConfigError("an address without a user and without `#` expected"));
        }
        let sas = url.query().filter(|query| !query.is_empty()).map(Secret::new);
        url.set_query(None);
        match &sas {
            Some(sas) if !signed(sas.expose()) => {
                return Err(ConfigError("what follows the `?` is no shared access signature (`sig` is missing)"));
            }
            _ => {}
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) && sas.is_some() => {}
            "http" if is_loopback(&url) => {
                return Err(ConfigError(
                    "over http there must be a shared access signature: no token is sent that way",
                ));
            }
            _ => return Err(ConfigError("an https address expected (http only on this machine)")),
        }
        Ok(Self { url, sas })
    }

    /// Reads a connection string: with an account's key, with a SAS, or `UseDevelopmentStorage=true`.
    ///
    /// # Errors
    /// When a part is missing or malformed.
    pub fn from_connection_string(text: &str, service: Service) -> Result<Self, ConfigError> {
        let malformed = ConfigError("a connection string expected, as in `AccountName=…;AccountKey=…`");
        let mut parts = BTreeMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(malformed.clone())?;
            parts.insert(name.trim().to_ascii_lowercase(), value.trim());
        }
        let part = |name: &str| parts.get(name).copied().filter(|value| !value.is_empty());
        if part("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            let sas = account_sas(EMULATOR_ACCOUNT, EMULATOR_KEY, service)?;
            return Self::parse(&format!("http://127.0.0.1:{}/{EMULATOR_ACCOUNT}?{sas}", service.emulator_port()));
        }
        let name = service.name();
        let endpoint = match (part(&format!("{name}endpoint")), part("accountname")) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(account)) => {
                let scheme = part("defaultendpointsprotocol").unwrap_or("https");
                format!("{scheme}://{account}.{name}.{}", part("endpointsuffix").unwrap_or("core.windows.net"))
            }
            (None, None) => return Err(malformed),
        };
        let sas = match (part("sharedaccesssignature"), part("accountname"), part("accountkey")) {
            (Some(sas), ..) => sas.trim_start_matches('?').to_owned(),
            (None, Some(account), Some(key)) => account_sas(account, key, service)?,
            _ => {
                return Err(ConfigError("neither `AccountName` and `AccountKey` nor `SharedAccessSignature` is there"));
            }
        };
        Self::parse(&format!("{}?{sas}", endpoint.trim_end_matches('/')))
    }

    /// The address as text, without a slash at its end.
    #[must_use]
    pub(in crate::azure) fn base(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }
}

/// A SAS for one service alone, signed with the account's key. It has no near end because the key behind it has none.
fn account_sas(account: &str, key: &str, service: Service) -> Result<String, ConfigError> {
    let key = BASE64.decode(key).map_err(|_| ConfigError("`AccountKey` is no base64 text"))?;
    let fields = [
        ("sp", "rwdlacup"),
        ("ss", service.letter()),
        ("srt", "sco"),
        ("se", "2100-01-01T00:00:00Z"),
        ("spr", "https,http"),
        ("sv", SAS_VERSION),
    ];
    let [permissions, services, types, end, protocols, version] = fields.map(|(_, value)| value);
    // The empty lines are for a start and for addresses.
    let text = format!("{account}\n{permissions}\n{services}\n{types}\n\n{end}\n\n{protocols}\n{version}\n");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    let signature = BASE64.encode(aws_lc_rs::hmac::sign(&key, text.as_bytes()));
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    Ok(query.extend_pairs(fields).append_pair("sig", &signature).finish())
}

fn signed(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "sig" && !value.is_empty())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<Endpoint, ConfigError> {
        Endpoint::parse(text)
    }

    fn connection(text: &str) -> Result<Endpoint, ConfigError> {
        Endpoint::from_connection_string(text, Service::Tables)
    }

    #[test]
    fn identity_requires_https_and_sas_is_removed_from_the_address() {
        let identity = endpoint("https://a.table.core.windows.net/").unwrap();
        assert_eq!((identity.url.as_str(), identity.sas), ("https://a.table.core.windows.net/", None));
        let sas = endpoint("http://127.0.0.1:10002/devstoreaccount1?sv=1&sig=hush").unwrap();
        assert_eq!(sas.url.as_str(), "http://127.0.0.1:10002/devstoreaccount1");
        assert_eq!(sas.sas.unwrap().expose(), "sv=1&sig=hush");
    }

    #[test]
    fn invalid_connection_string_is_refused_without_being_quoted() {
        for text in [
            "nowhere",
            "http://example.com?sig=hush",
            "http://127.0.0.1:10002/devstoreaccount1",
            "https://h?hush=1",
            "https://me:hush@h",
            "ftp://h?sig=hush",
        ] {
            let error = endpoint(text).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        for text in ["hush", "AccountName=a", "AccountName=a;AccountKey=hush!", "AccountKey=aHVzaA=="] {
            let error = connection(text).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn connection_string_of_account_or_emulator_parses() {
        let emulator = connection("UseDevelopmentStorage=true").unwrap();
        assert_eq!(emulator.url.as_str(), "http://127.0.0.1:10002/devstoreaccount1");
        let full = format!(
            "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={EMULATOR_KEY};EndpointSuffix=core.chinacloudapi.cn"
        );
        let account = connection(&full).unwrap();
        assert_eq!(account.url.as_str(), "https://acc.table.core.chinacloudapi.cn/");
        assert!(account.sas.unwrap().expose().contains("&sig="));
        let sas = connection("TableEndpoint=https://acc.table.core.windows.net/;SharedAccessSignature=?sv=1&sig=x%3D")
            .unwrap();
        assert_eq!(sas.sas.unwrap().expose(), "sv=1&sig=x%3D");
        assert!(connection("DefaultEndpointsProtocol=http;AccountName=acc;AccountKey=aHVzaA==").is_err());
    }

    #[test]
    fn connection_string_gives_an_endpoint_per_service() {
        let account = format!("AccountName=acc;AccountKey={EMULATOR_KEY};BlobEndpoint=https://b.example/acc/");
        let address = |service| Endpoint::from_connection_string(&account, service).unwrap().url.to_string();
        assert_eq!(address(Service::Queues), "https://acc.queue.core.windows.net/");
        assert_eq!(address(Service::Blobs), "https://b.example/acc");
        let emulator = Endpoint::from_connection_string("UseDevelopmentStorage=true", Service::Queues).unwrap();
        assert_eq!(emulator.url.port(), Some(10_001));
        assert!(emulator.sas.unwrap().expose().contains("ss=q&"));
    }

    #[test]
    fn debug_output_contains_no_sas_signature() {
        assert!(!format!("{:?}", endpoint("https://h?sv=1&sig=hush").unwrap()).contains("hush"));
    }
}
