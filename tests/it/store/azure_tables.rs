//! Azure Table Storage: what needs a stand-in, because the emulator never does it.

use graphgate::azure::tables;
use graphgate::clock::Clock;
use graphgate::rows::{StoreError, Tables, Write};
use graphgate::store::AzureTables;
use serde_json::json;
use wiremock::matchers::{method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::azurite::{connector, open};

/// A stand-in for the service, with the table there.
async fn stand_in() -> (MockServer, tables::Config) {
    let server = MockServer::start().await;
    let config = tables::Config::from_endpoint(&format!("{}/acc?sv=1&sig=hu5h", server.uri()), "graphgate").unwrap();
    (server, config)
}

fn page(keys: &[&str]) -> ResponseTemplate {
    let row = |key: &&str| json!({"odata.etag": format!("W/\"{key}\""), "PartitionKey": "p", "RowKey": key, "op": "o", "j0": "1"});
    ResponseTemplate::new(200).set_body_json(json!({"value": keys.iter().map(row).collect::<Vec<_>>()}))
}

fn error(status: u16, code: &str) -> ResponseTemplate {
    let message = format!("{code} at http://h/acc?sv=1&sig=hu5h: hu5h");
    ResponseTemplate::new(status)
        .set_body_json(json!({"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}}))
}

#[tokio::test]
async fn empty_table_page_with_continuation_is_followed() {
    let (server, config) = stand_in().await;
    let next = |partition: &str, row: Option<&str>, template: ResponseTemplate| {
        let template = template.insert_header("x-ms-continuation-NextPartitionKey", partition);
        row.map_or(template.clone(), |row| template.clone().insert_header("x-ms-continuation-NextRowKey", row))
    };
    let query = || Mock::given(method("GET")).and(path("/acc/graphgate()")).and(query_param("sig", "hu5h"));
    let first = query().and(query_param_is_missing("NextPartitionKey"));
    first.respond_with(next("1!4!cA--", Some("1!4!YQ--+/="), page(&[]))).mount(&server).await;
    let second = query().and(query_param("NextPartitionKey", "1!4!cA--")).and(query_param("NextRowKey", "1!4!YQ--+/="));
    second.respond_with(next("only partition", None, page(&["a", "b"]))).mount(&server).await;
    let third = query().and(query_param("NextPartitionKey", "only partition"));
    third.and(query_param_is_missing("NextRowKey")).respond_with(page(&["c"])).mount(&server).await;
    let tables = open(config).await;
    let all = tables.scan("p", "a", "z", 10).await.unwrap();
    assert_eq!(all.rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(all.next, None);
    let two = tables.scan("p", "a", "z", 2).await.unwrap();
    assert_eq!((two.rows.len(), two.next.as_deref()), (2, Some("c")));
}

#[tokio::test]
async fn table_being_deleted_is_not_treated_as_existing() {
    let (server, config) = stand_in().await;
    Mock::given(method("GET")).respond_with(error(404, "TableNotFound")).mount(&server).await;
    let creating = Mock::given(method("POST")).and(path("/acc/Tables")).respond_with(error(409, "TableBeingDeleted"));
    creating.expect(1).mount(&server).await;
    let refused = AzureTables::open(config, connector()).await.unwrap_err().to_string();
    assert!(refused.contains("TableBeingDeleted") && !refused.contains("hu5h"), "{refused}");
}

#[tokio::test]
async fn server_busy_write_is_sent_once_and_errors_hide_the_sas() {
    for (status, code, expected) in [(503, "ServerBusy", "ServerBusy"), (500, "OperationTimedOut", "OperationTimedOut")]
    {
        let (server, config) = stand_in().await;
        Mock::given(method("GET")).respond_with(page(&[])).mount(&server).await;
        let batch = Mock::given(method("POST")).and(path("/acc/$batch")).respond_with(error(status, code));
        batch.expect(1).mount(&server).await;
        let tables = open(config).await;
        let failed = tables.commit("p", vec![Write::insert("a", &1).unwrap()]).await.unwrap_err();
        let StoreError::Unavailable { reason } = &failed else { panic!("{failed:?}") };
        assert!(reason.contains(expected), "{reason}");
        assert!(!format!("{failed} {failed:?} {tables:?}").contains("hu5h"), "{failed:?} {tables:?}");
    }
}

#[tokio::test]
async fn bearer_token_is_refused_over_plain_http() {
    let (server, mut config) = stand_in().await;
    config.sas = None;
    let refused = AzureTables::open(config, connector()).await.unwrap_err().to_string();
    assert!(refused.contains("https only"), "{refused}");
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn unreachable_table_service_is_reported_without_the_sas() {
    let (_held, refusing) = crate::support::refusing_address();
    let config = tables::Config::from_endpoint(&format!("http://{refusing}/acc?sv=1&sig=hu5h"), "graphgate");
    let began = Clock::system().now();
    let failed = AzureTables::open(config.unwrap(), connector()).await.unwrap_err();
    assert!(matches!(&failed, StoreError::Unavailable { .. }) && !format!("{failed:?}").contains("hu5h"), "{failed:?}");
    assert!(Clock::system().now() - began < chrono::TimeDelta::seconds(20));
}
