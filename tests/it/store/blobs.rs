//! One suite, every backend for files.

use std::sync::Arc;

use graphgate::azure::blobs::Config;
use graphgate::blobs::Blobs;
use graphgate::rows::StoreError;
use graphgate::store::{AzureBlobs, FolderBlobs, MemoryBlobs};

use crate::support::azurite::{self, Azurite};

async fn suite(blobs: &dyn Blobs) {
    assert_eq!(blobs.get("reports/t/none.json").await.unwrap(), None);
    assert_eq!(blobs.list("reports/").await.unwrap(), Vec::<String>::new());
    blobs.delete("reports/t/none.json").await.unwrap();
    // Any bytes come back as they were, none at all too; the last writer wins.
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    for content in [Vec::new(), b"first".to_vec(), large, vec![0, 255, 10, 13]] {
        blobs.put("reports/t/b.pdf", content.clone(), "application/pdf").await.unwrap();
        assert!(blobs.get("reports/t/b.pdf").await.unwrap().as_ref() == Some(&content), "{} bytes", content.len());
    }
    for name in ["reports/t/a.json", "reports/other/c.json", "elsewhere"] {
        blobs.put(name, name.into(), "application/json").await.unwrap();
    }
    assert_eq!(blobs.list("reports/t/").await.unwrap(), ["reports/t/a.json", "reports/t/b.pdf"]);
    assert_eq!(blobs.list("").await.unwrap().len(), 4);
    blobs.delete("reports/t/b.pdf").await.unwrap();
    assert_eq!(blobs.get("reports/t/b.pdf").await.unwrap(), None);
    for name in ["../etc/passwd", "/etc/passwd", "a/../../b", "", "A", "a\\b"] {
        assert!(matches!(blobs.put(name, Vec::new(), "x/y").await, Err(StoreError::InvalidKey { .. })), "{name}");
        assert!(blobs.get(name).await.is_err() && blobs.delete(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn memory_blobs_pass_the_blob_suite() {
    suite(&MemoryBlobs::default()).await;
}

#[tokio::test]
async fn folder_blobs_pass_the_blob_suite_and_keep_files() {
    let folder = std::env::temp_dir().join(format!("graphgate-files-{}", uuid::Uuid::new_v4()));
    suite(&FolderBlobs::new(folder.clone())).await;
    assert_eq!(FolderBlobs::new(folder.clone()).get("elsewhere").await.unwrap(), Some(b"elsewhere".to_vec()));
    // What is being written is no file yet.
    std::fs::write(folder.join(".half.part"), "half").unwrap();
    assert_eq!(FolderBlobs::new(folder.clone()).list("").await.unwrap().len(), 3);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn azurite_blobs_pass_the_blob_suite() {
    let azurite = Azurite::start();
    let open = |container: &str| Arc::new(AzureBlobs::new(azurite.blobs(container), azurite::connector()));
    suite(open("graphgate").as_ref()).await;
    assert_eq!(open("graphgate").list("reports/").await.unwrap().len(), 2, "a second instance finds the container");
    // More names than the service lists at once.
    let many = open("many");
    for chunk in 0..52 {
        let writes = (0..100).map(|n| {
            let (many, name) = (many.clone(), format!("n/{:05}", chunk * 100 + n));
            async move { many.put(&name, Vec::new(), "text/plain").await.unwrap() }
        });
        futures::future::join_all(writes).await;
    }
    let names = many.list("n/").await.unwrap();
    assert!(names.len() == 5200 && names.is_sorted(), "{}", names.len());
    let forged = format!(
        "{}?{}f0rged",
        azurite.blobs("graphgate").endpoint.url,
        azurite.blobs("graphgate").endpoint.sas.unwrap().expose()
    );
    let forged = AzureBlobs::new(Config::from_endpoint(&forged, "graphgate").unwrap(), azurite::connector());
    let refused = forged.get("elsewhere").await.unwrap_err().to_string();
    assert!(refused.contains("Storage Blob Data Contributor") && !refused.contains("f0rged"), "{refused}");
}
