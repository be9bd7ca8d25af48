//! A storage emulator for one test, on free ports, gone with the test.
//!
//! `AZURITE` names its executable; without it the tests that need one say so and pass.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use graphgate::azure::tables::{self, Connector};
use graphgate::azure::{Credential, CredentialConfig, Loopback, Secret};
use graphgate::azure::{blobs, queues};
use graphgate::clock::Clock;
use graphgate::http_client::HttpClient;
use graphgate::ids::Entropy;
use graphgate::store::AzureTables;

/// The account's published key.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The directory tokens are asked for in.
pub const TENANT: &str = "11111111-1111-1111-1111-111111111111";

/// A running emulator.
pub struct Azurite {
    process: Child,
    /// The port of its table service.
    pub port: u16,
    /// The port of its queue service.
    pub queue_port: u16,
    /// The port of its blob service.
    pub blob_port: u16,
}

impl Azurite {
    /// Starts one; `None`, with a word, where there is none.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with further arguments.
    #[allow(clippy::print_stdout)] // a reader of the run should know what was not tried
    pub fn start_with(arguments: &[&OsStr]) -> Option<Self> {
        let Some(program) = std::env::var_os("AZURITE") else {
            println!("skipped: `AZURITE` does not name the storage emulator's executable");
            return None;
        };
        let mut process = Command::new(program)
            .args(["--inMemoryPersistence", "--disableTelemetry", "--silent"])
            .args(["--blobPort", "0", "--queuePort", "0", "--tablePort", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the storage emulator starts");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut ports = (None, None);
        let mut blob_port = None;
        for line in lines {
            let port = || line.rsplit_once(':')?.1.trim().parse().ok();
            if line.contains("Blob service is successfully listening") {
                blob_port = port();
            } else if line.contains("Queue service is successfully listening") {
                ports.0 = port();
            } else if line.contains("Table service is successfully listening") {
                ports.1 = port();
                break; // the last of the three
            }
        }
        let ((Some(queue_port), Some(port)), Some(blob_port)) = (ports, blob_port) else {
            let _ = (process.kill(), process.wait());
            panic!("the storage emulator does not tell its ports");
        };
        Some(Self { process, port, queue_port, blob_port })
    }

    /// The connection string of a deployment on it.
    pub fn connection_string(&self) -> String {
        let endpoint = |port| format!("http://127.0.0.1:{port}/devstoreaccount1");
        format!(
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint={};TableEndpoint={};QueueEndpoint={}",
            endpoint(self.blob_port),
            endpoint(self.port),
            endpoint(self.queue_port)
        )
    }

    /// Settings for its table service, or for something else on `port` that passes everything on to it.
    pub fn config(port: u16, table: &str) -> tables::Config {
        let endpoint = format!("http://127.0.0.1:{port}/devstoreaccount1");
        let account = format!("AccountName=devstoreaccount1;AccountKey={KEY};TableEndpoint={endpoint}");
        tables::Config::from_connection_string(&account, table).expect("a usable connection")
    }

    /// Settings for its queue service.
    pub fn queues(port: u16) -> queues::Config {
        let endpoint = format!("http://127.0.0.1:{port}/devstoreaccount1");
        let account = format!("AccountName=devstoreaccount1;AccountKey={KEY};QueueEndpoint={endpoint}");
        queues::Config::from_connection_string(&account).expect("a usable connection")
    }

    /// Settings for a container of its blob service.
    pub fn blobs(&self, container: &str) -> blobs::Config {
        let endpoint = format!("http://127.0.0.1:{}/devstoreaccount1", self.blob_port);
        let account = format!("AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint={endpoint}");
        blobs::Config::from_connection_string(&account, container).expect("a usable connection")
    }

    /// The table `graphgate`, opened.
    pub async fn tables(&self) -> AzureTables {
        open(Self::config(self.port, "graphgate")).await
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the client needs of the program. There is a SAS, so nobody is asked for a token.
pub fn connector() -> Connector {
    connector_to(None)
}

/// As [`connector`], with a stand-in for the sign-in service.
pub fn connector_to(loopback: Option<Loopback>) -> Connector {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let http = HttpClient::new(clock.clone(), entropy.clone()).unwrap();
    let config = CredentialConfig::ClientSecret {
        tenant: TENANT.into(),
        client_id: "22222222-2222-2222-2222-222222222222".into(),
        secret: Secret::new("unused"),
        authority: None,
    };
    let credential = Credential::new(config, &http, clock, entropy.clone(), loopback).unwrap();
    Connector { http, credential, entropy }
}

/// Opens a table.
pub async fn open(config: tables::Config) -> AzureTables {
    AzureTables::open(config, connector()).await.expect("the table opens")
}
