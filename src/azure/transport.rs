//! How the SDK sends requests: through our pool, or, for a simulated tenant, through a loopback map.

use std::fmt;
use std::sync::Arc;

use azure_core::error::{Error, ErrorKind};
use azure_core::http::{
    AsyncRawResponse, ClientOptions, ExponentialRetryOptions, HttpClient as SdkHttpClient, Request, RetryOptions,
    Transport, Url,
};
use azure_core::time::Duration;

use crate::http_client::HttpClient;

/// A map from https hosts to servers on this machine, for a simulated tenant. Any other host is refused, so that a
/// program set up for the simulation cannot call the real Microsoft 365.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loopback {
    /// Host and the port on 127.0.0.1 that plays it, as in `("login.microsoftonline.com", 4001)`.
    pub hosts: Vec<(String, u16)>,
}

impl Loopback {
    /// Plays one host on a port of 127.0.0.1.
    #[must_use]
    pub fn one(host: &str, port: u16) -> Self {
        Self { hosts: vec![(host.to_owned(), port)] }
    }

    fn rewrite(&self, url: &Url) -> Option<Url> {
        let host = url.host_str()?;
        let (_, port) = self.hosts.iter().find(|(known, _)| known.eq_ignore_ascii_case(host))?;
        let mut url = url.clone();
        url.set_scheme("http").ok()?;
        url.set_host(Some("127.0.0.1")).ok()?;
        url.set_port(Some(*port)).ok()?;
        Some(url)
    }
}

/// The SDK options every client of ours uses: our pool, and two repetitions of what failed for the moment: asking for a
/// token or a secret twice is harmless, and a start must not fail because one answer did. The caller sets the limit.
pub(super) fn options(http: &HttpClient, loopback: Option<Loopback>) -> ClientOptions {
    let retry = ExponentialRetryOptions {
        initial_delay: Duration::milliseconds(300),
        max_retries: 2,
        max_total_elapsed: Duration::seconds(10),
        ..ExponentialRetryOptions::default()
    };
    ClientOptions {
        retry: RetryOptions::exponential(retry),
        transport: Some(Transport::new(Arc::new(Pool { http: http.clone(), loopback }))),
        ..ClientOptions::default()
    }
}

struct Pool {
    http: HttpClient,
    loopback: Option<Loopback>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("loopback", &self.loopback).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl SdkHttpClient for Pool {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let Some(loopback) = &self.loopback else {
            return self.http.reqwest_client(request.url()).execute_request(request).await;
        };
        let Some(url) = loopback.rewrite(request.url()) else {
            let host = request.url().host_str().unwrap_or_default();
            return Err(Error::with_message(ErrorKind::Other, format!("`{host}` is not part of the simulated tenant")));
        };
        let mut request = request.clone();
        *request.url_mut() = url;
        self.http.reqwest_client(request.url()).execute_request(&request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_maps_known_hosts_and_refuses_others() {
        let loopback = Loopback::one("login.microsoftonline.com", 4001);
        let known = Url::parse("https://login.microsoftonline.com/t/oauth2/v2.0/token").unwrap();
        assert_eq!(loopback.rewrite(&known).unwrap().as_str(), "http://127.0.0.1:4001/t/oauth2/v2.0/token");
        assert_eq!(loopback.rewrite(&Url::parse("https://graph.microsoft.com/v1.0").unwrap()), None);
    }
}
