//! The guard for addresses that strangers name: documents of clients, manifests, templates.
//!
//! Such a document is fetched over https from the public internet alone. Names are resolved here, and the connection goes
//! to the addresses that were checked, so that a name which changes its mind between the check and the call gains
//! nothing. There are no redirects, no proxy, no credentials, and an end to time and size (threat T-14; OWASP, *Server
//! Side Request Forgery Prevention*). Long because the forms it refuses are listed beside it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::StreamExt;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::{BuildError, redact};

/// The longest a fetch may take, with everything.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest address that is called.
const MAX_URL: usize = 2048;

/// Networks that are no part of the public internet (IANA, *IPv4 and IPv6 Special-Purpose Address Registries*), and
/// addresses of the platform that look as if they were.
const CLOSED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32", // Azure's platform: public by its range alone
    "2001::/23",        // protocol assignments, Teredo among them
    "2001:db8::/32",
    "2002::/16", // 6to4: carries any IPv4 address
    "3fff::/20",
];

static CLOSED_NETWORKS: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| CLOSED.iter().filter_map(|network| network.parse().ok()).collect());

/// Whether an address is one of the public internet, as far as its form tells.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical(); // an IPv4 address in the clothes of IPv6
    let unicast = match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => address.segments().first().is_some_and(|first| first & 0xe000 == 0x2000), // 2000::/3
    };
    unicast && !CLOSED_NETWORKS.iter().any(|network| network.contains(&address))
}

/// Why nothing was fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address is none that is called.
    #[error("the address is not called: {0}")]
    Address(&'static str),
    /// What answered did not answer as asked.
    #[error("{0}")]
    Answer(String),
}

/// Fetches documents at addresses that strangers name.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: reqwest::Client,
    admitted: Arc<[String]>,
}

/// A document that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub body: Vec<u8>,
    /// For how long its server lets it be kept (`Cache-Control: max-age`), if it says so.
    pub max_age: Option<Duration>,
}

impl Outbound {
    /// A guard that admits, beside the public internet, what is listed as `host:port`, over http too: for tests and a
    /// simulated tenant on this machine.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(admitted: Vec<String>) -> Result<Self, BuildError> {
        let admitted: Arc<[String]> = admitted.into();
        let resolver = PublicNames { admitted: admitted.clone(), system: Arc::new(look_up) };
        Self::resolving(resolver, admitted)
    }

    fn resolving(resolver: PublicNames, admitted: Arc<[String]>) -> Result<Self, BuildError> {
        let client = super::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(LIMIT)
            .referer(false)
            .dns_resolver(Arc::new(resolver))
            .build()?;
        Ok(Self { client, admitted })
    }

    /// Whether an address may be called, as far as it tells by itself: names are judged again by what they resolve to.
    ///
    /// # Errors
    /// With the reason, when it may not.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let refused = |why| Err(Refused::Address(why));
        if url.as_str().len() > MAX_URL {
            return refused("it is too long");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("it holds a name or a password");
        }
        if self.admits(url) {
            return Ok(());
        }
        if url.scheme() != "https" {
            return refused("https is expected");
        }
        if url.port().is_some() {
            return refused("it names a port");
        }
        match url.host() {
            Some(Host::Ipv4(address)) if is_public(address.into()) => Ok(()),
            Some(Host::Ipv6(address)) if is_public(address.into()) => Ok(()),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => refused("it is no address of the public internet"),
            Some(Host::Domain(name)) if is_public_name(name) => Ok(()),
            _ => refused("its host is no name of the public internet"),
        }
    }

    fn admits(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        matches!(url.scheme(), "http" | "https") && self.admitted.iter().any(|known| *known == format!("{host}:{port}"))
    }

    /// Fetches a document of at most `most` bytes.
    ///
    /// # Errors
    /// When the address is none that is called, or its server does not answer with such a document.
    pub async fn get(&self, url: &Url, most: usize) -> Result<Document, Refused> {
        self.check(url)?;
        let shown = redact::url(url);
        let failed = |what: &str| Refused::Answer(format!("`{shown}` {what}"));
        let asked = self.client.get(url.clone()).header(http::header::ACCEPT, "application/json");
        let answer = asked.send().await.map_err(|error| failed(&unreached(&error)))?;
        if answer.status() != http::StatusCode::OK {
            return Err(failed(&format!("answered {}", answer.status().as_u16())));
        }
        let max_age = answer.headers().get(http::header::CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let (mut body, mut chunks) = (Vec::new(), answer.bytes_stream());
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|_| failed("broke off its answer"))?);
            if body.len() > most {
                return Err(failed(&format!("answered more than {most} bytes")));
            }
        }
        Ok(Document { body, max_age })
    }
}

/// What kept a request from its answer. A resolver's refusal is told as such.
fn unreached(error: &reqwest::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<NotPublic>() {
            return inner.to_string();
        }
        cause = inner.source();
    }
    if error.is_timeout() { "did not answer in time".to_owned() } else { "cannot be reached".to_owned() }
}

fn max_age(directives: &str) -> Option<Duration> {
    let mut parts = directives.split(',').map(str::trim);
    if parts.clone().any(|part| part.eq_ignore_ascii_case("no-store")) {
        return Some(Duration::ZERO);
    }
    parts.find_map(|part| part.strip_prefix("max-age=")?.parse().ok().map(Duration::from_secs))
}

/// Whether a name can belong to the public internet: it has a domain that is not set aside (RFC 6761, RFC 9476, and the
/// names of clouds' own services).
fn is_public_name(name: &str) -> bool {
    const SET_ASIDE: &[&str] = &[
        "alt",
        "arpa",
        "corp",
        "example",
        "home",
        "internal",
        "invalid",
        "lan",
        "local",
        "localhost",
        "onion",
        "test",
    ];
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.rsplit_once('.') {
        Some((rest, last)) => !rest.is_empty() && !SET_ASIDE.iter().any(|kept| kept.eq_ignore_ascii_case(last)),
        None => false,
    }
}

/// A name leads to an address that is not called.
#[derive(Debug, thiserror::Error)]
#[error("is not called: its name leads to an address that is not of the public internet")]
struct NotPublic;

type Found = std::io::Result<Vec<SocketAddr>>;
type LookUp = dyn Fn(String) -> futures::future::BoxFuture<'static, Found> + Send + Sync;

/// Resolves names; a name with any closed address is refused as a whole.
#[derive(Clone)]
struct PublicNames {
    admitted: Arc<[String]>,
    system: Arc<LookUp>,
}

fn look_up(name: String) -> futures::future::BoxFuture<'static, Found> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
}

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (name, system) = (name.as_str().to_owned(), self.system.clone());
        let is_admitted =
            self.admitted.iter().any(|known| known.rsplit_once(':').is_some_and(|(host, _)| host == name));
        Box::pin(async move {
            let found = system(name).await?;
            if is_admitted || found.iter().all(|address| is_public(address.ip())) {
                Ok(Box::new(found.into_iter()) as Addrs)
            } else {
                Err(NotPublic.into())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Addresses that lead, or could lead, into a network that is not public, each in a form of its own.
    const FORMS: &[&str] = &[
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://127.255.255.254/",
        "https://0.0.0.0/",
        "https://0/",
        "https://10.0.0.1/",
        "https://10.255.255.255/",
        "https://172.16.0.1/",
        "https://172.31.255.255/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2852039166/",
        "https://0xa9fea9fe/",
        "https://0251.0376.0251.0376/",
        "https://168.63.129.16/",
        "https://0xa83f8110/",
        "https://100.64.0.1/",
        "https://100.127.255.255/",
        "https://192.0.0.1/",
        "https://192.0.2.1/",
        "https://192.88.99.1/",
        "https://198.18.0.1/",
        "https://198.51.100.1/",
        "https://203.0.113.1/",
        "https://224.0.0.1/",
        "https://239.255.255.255/",
        "https://240.0.0.1/",
        "https://255.255.255.255/",
        "https://[::]/",
        "https://[::1]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:0:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[64:ff9b:1::1]/",
        "https://[100::1]/",
        "https://[2001::1]/",
        "https://[2001:db8::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2002:a9fe:a9fe::]/",
        "https://[3fff::1]/",
        "https://[fc00::1]/",
        "https://[fd00:ec2::254]/",
        "https://[fd12:3456:789a::1]/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
        "https://[ff02::1]/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://localhost./",
        "https://a.localhost/",
        "https://metadata/",
        "https://metadata.google.internal/",
        "https://metadata.google.internal./",
        "https://printer.local/",
        "https://router.lan/",
        "https://gate.test/",
        "https://nas.home/",
        "https://1.0.0.127.in-addr.arpa/",
        "https://①②⑦.⓪.⓪.①/",
        "https://ｌｏｃａｌｈｏｓｔ/",
        "https://example.com@127.0.0.1/",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://127.0.0.1:443/",
        "https://example.com:8443/",
        "https://example.com:22/",
        "https://example.com:6379/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "data:application/json,{}",
        "ws://example.com/",
    ];

    #[tokio::test]
    async fn address_of_a_closed_network_is_never_called() {
        assert!(FORMS.len() >= 80, "{}", FORMS.len());
        let lookups = Arc::new(AtomicUsize::new(0));
        let outbound = over(&lookups, |_| vec!["127.0.0.1:0"]);
        for form in FORMS {
            let url = Url::parse(form).unwrap();
            let refused = outbound.get(&url, 1000).await.unwrap_err();
            assert!(matches!(refused, Refused::Address(_)), "{form}: {refused}");
        }
        assert_eq!(lookups.load(Ordering::Relaxed), 0, "not even a name was resolved");
        for form in ["https://example.com/client.json", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert_eq!(outbound.check(&Url::parse(form).unwrap()), Ok(()), "{form}");
        }
    }

    #[tokio::test]
    async fn name_that_leads_inside_is_not_called() {
        for addresses in [
            &["127.0.0.1:0"][..],
            &["93.184.216.34:0", "10.0.0.1:0"],
            &["[::1]:0"],
            &["[fd00::1]:0", "93.184.216.34:0"],
            &["169.254.169.254:0"],
            &["[::ffff:192.168.1.1]:0"],
        ] {
            let lookups = Arc::new(AtomicUsize::new(0));
            let outbound = over(&lookups, move |_| addresses.to_vec());
            let refused = outbound.get(&Url::parse("https://rebind.example.com/").unwrap(), 1000).await.unwrap_err();
            assert!(refused.to_string().contains("is not called"), "{addresses:?}: {refused}");
            assert_eq!(lookups.load(Ordering::Relaxed), 1);
        }
    }

    /// A listener that counts who comes, and answers with a redirect to itself.
    async fn listener(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, calls) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = calls.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (address, calls)
    }

    #[tokio::test]
    async fn redirects_and_large_answers_are_refused_on_an_admitted_address() {
        let (address, calls) = listener(
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        )
        .await;
        let outbound = Outbound::new(vec![address.to_string()]).unwrap();
        let url = Url::parse(&format!("http://{address}/")).unwrap();
        assert!(outbound.get(&url, 1000).await.unwrap_err().to_string().ends_with("answered 302"));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let (address, _) =
            listener("HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n[1,2,3,4,5]").await;
        let outbound = Outbound::new(vec![address.to_string()]).unwrap();
        let url = Url::parse(&format!("http://{address}/")).unwrap();
        assert!(outbound.get(&url, 10).await.unwrap_err().to_string().contains("more than 10 bytes"));
        assert_eq!(outbound.get(&url, 11).await.unwrap().body, b"[1,2,3,4,5]");
    }

    fn over(
        lookups: &Arc<AtomicUsize>,
        answers: impl Fn(&str) -> Vec<&'static str> + Send + Sync + 'static,
    ) -> Outbound {
        let counted = lookups.clone();
        let system: Arc<LookUp> = Arc::new(move |name| {
            counted.fetch_add(1, Ordering::Relaxed);
            let found = answers(&name).iter().map(|address| address.parse().unwrap()).collect();
            Box::pin(std::future::ready(Ok(found)))
        });
        let admitted: Arc<[String]> = Arc::default();
        Outbound::resolving(PublicNames { admitted: admitted.clone(), system }, admitted).unwrap()
    }
}
