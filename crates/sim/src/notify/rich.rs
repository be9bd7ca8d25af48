//! Content of notifications, sealed for the certificate of a subscription, and the proof that Graph sends it.

use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::simulator::Simulator;
use super::super::state::Object;

/// The application that sends change notifications.
const PUBLISHER: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";

/// The public key within a certificate: DER of its SubjectPublicKeyInfo.
pub fn public_key(certificate: &str) -> Option<Vec<u8>> {
    let der = BASE64.decode(certificate.trim()).ok()?;
    let (certificate, _) = element(&der)?;
    let (signed, _) = element(certificate.content)?;
    let mut inner = signed.content;
    // Version, where there is one, then serial number, algorithm, issuer, validity, subject.
    let (first, after) = element(inner)?;
    if first.tag == 0xa0 {
        inner = after;
    }
    for _ in 0..5 {
        (_, inner) = element(inner)?;
    }
    let (key, _) = element(inner)?;
    PublicEncryptingKey::from_der(key.whole).ok()?;
    Some(key.whole.to_vec())
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// The DER element in front, and what follows it.
fn element(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&short, mut rest) = rest.split_first()?;
    let mut length = usize::from(short);
    if short >= 0x80 {
        let (bytes, after) = rest.split_at_checked(usize::from(short & 0x7f))?;
        length = bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    let whole = der.get(..der.len() - after.len())?;
    Some((Element { tag, content, whole }, after))
}

/// Adds sealed content and proof to a body.
pub async fn enclose(
    simulator: &Simulator,
    body: &mut Value,
    subscription: &Object,
    (id, key): &(String, Vec<u8>),
    content: Option<&Value>,
) -> Result<(), String> {
    let content = content.cloned().unwrap_or_else(|| json!({ "id": subscription.get("id") }));
    let sealed = seal(id, key, content.to_string()).ok_or("the content cannot be sealed")?;
    let now = simulator.clock.now().timestamp();
    let tenant = simulator.read(|t| t.tenant_id.clone());
    let claims = json!({
        "aud": subscription.get("applicationId"), "iss": format!("https://sts.windows.net/{tenant}/"), "tid": tenant,
        "appid": PUBLISHER, "ver": "1.0", "iat": now, "nbf": now - 300, "exp": now + 3600, "sub": PUBLISHER,
    });
    let keys = simulator.entra.keys().await.map_err(|error| error.to_string())?;
    let token = keys.sign(&claims).map_err(|error| error.to_string())?;
    if let Some(item) = body.pointer_mut("/value/0").and_then(Value::as_object_mut) {
        item.insert("encryptedContent".into(), sealed);
    }
    if let Value::Object(body) = body {
        body.insert("validationTokens".into(), json!([token]));
    }
    Ok(())
}

fn seal(id: &str, key: &[u8], text: String) -> Option<Value> {
    let mut data_key = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut data_key).ok()?;
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &data_key).ok()?).ok()?;
    let vector: [u8; 16] = data_key.get(..16)?.try_into().ok()?;
    let mut data = text.into_bytes();
    cipher.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(vector))).ok()?;
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &data_key), &data);
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(key).ok()?).ok()?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(&OAEP_SHA1_MGF1SHA1, &data_key, &mut wrapped, None).ok()?;
    Some(json!({
        "data": BASE64.encode(&data), "dataSignature": BASE64.encode(signature), "dataKey": BASE64.encode(wrapped),
        "encryptionCertificateId": id, "encryptionCertificateThumbprint": "",
    }))
}
