//! Licences: two products with a number of units, assigned to users who have a usage location.

use serde_json::{Value, json};

use super::super::state::{Object, Tenant};
use super::call::{Answer, Call, Outcome};
use super::directory::{DENIED, USER_DEFAULT};
use super::error::GraphError;
use super::odata;

const ASSIGN: &[&str] = &["LicenseAssignment.ReadWrite.All", "User.ReadWrite.All", "Directory.ReadWrite.All"];

/// Product id, part number, units bought. "Business Standard" and "Business Premium" in the price list.
const PRODUCTS: [(&str, &str, usize); 2] = [
    ("f245ecc8-75af-4f8e-b61f-27d8114de5f3", "O365_BUSINESS_PREMIUM", 50),
    ("cbdc14ab-d96c-4c30-b9f4-6ada7cdc1d46", "SPB", 10),
];

/// Refuses tokens that may not assign licences.
pub fn may_assign(call: &Call) -> Result<(), GraphError> {
    call.require(DENIED, ASSIGN, ASSIGN)
}

/// The products of the tenant with their used units.
pub fn skus(tenant: &Tenant) -> Vec<Value> {
    let users: Vec<Object> = tenant.users.all().into_iter().map(|(_, u)| u.object()).collect();
    let sku = |(id, name, units): &(&str, &str, usize)| {
        let used = users.iter().filter(|u| held(u).iter().any(|l| l["skuId"] == **id)).count();
        json!({
            "id": format!("{}_{id}", tenant.tenant_id), "accountId": tenant.tenant_id, "accountName": tenant.display_name,
            "appliesTo": "User", "capabilityStatus": "Enabled", "consumedUnits": used, "skuId": id, "skuPartNumber": name,
            "subscriptionIds": [], "prepaidUnits": {"enabled": units, "suspended": 0, "warning": 0, "lockedOut": 0}, "servicePlans": [],
        })
    };
    PRODUCTS.iter().map(sku).collect()
}

fn held(user: &Object) -> Vec<Value> {
    user.get("assignedLicenses").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// GET /users/{id}/licenseDetails
pub fn details(call: &Call, id: &str, user: &Object) -> Outcome {
    let held = held(user);
    let mine = PRODUCTS.iter().filter(|(sku, ..)| held.iter().any(|l| l["skuId"] == *sku));
    let value: Vec<Value> = mine
        .map(|(sku, name, _)| json!({"id": sku, "skuId": sku, "skuPartNumber": name, "servicePlans": []}))
        .collect();
    Ok(Answer::json(
        200,
        &json!({"@odata.context": call.context(&format!("users('{id}')/licenseDetails")), "value": value}),
    ))
}

/// POST /users/{id}/assignLicense: both lists are required, a usage location has to be set first, and units must
/// be free.
pub fn assign(call: &Call, tenant: &mut Tenant, id: &str, mut user: Object) -> Outcome {
    let body = call.object()?;
    let (Some(Value::Array(add)), Some(Value::Array(remove))) = (body.get("addLicenses"), body.get("removeLicenses"))
    else {
        return Err(GraphError::bad_request("Both addLicenses and removeLicenses are required."));
    };
    if !add.is_empty() && user.get("usageLocation").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(GraphError::bad_request("License assignment cannot be done for user with invalid usage location."));
    }
    let mut held = held(&user);
    held.retain(|licence| !remove.contains(&licence["skuId"]));
    let stock = skus(tenant);
    for wanted in add {
        let Some(sku) = stock.iter().find(|s| s["skuId"] == wanted["skuId"]) else {
            return Err(GraphError::bad_request(format!(
                "License {} does not correspond to a valid company License.",
                wanted["skuId"]
            )));
        };
        if held.iter().any(|l| l["skuId"] == wanted["skuId"]) {
            continue;
        }
        if sku["consumedUnits"].as_u64() >= sku.pointer("/prepaidUnits/enabled").and_then(Value::as_u64) {
            return Err(GraphError::bad_request(format!(
                "Subscription with SKU {} does not have any available licenses.",
                wanted["skuId"]
            )));
        }
        held.push(json!({"skuId": wanted["skuId"], "disabledPlans": wanted.get("disabledPlans").cloned().unwrap_or_else(|| json!([]))}));
    }
    user.insert("assignedLicenses".to_owned(), held.into());
    tenant.replace(|t| &mut t.users, id, &user);
    let mut shown = Object::new();
    shown.insert("@odata.context".to_owned(), call.context("users/$entity").into());
    shown.extend(odata::select_or(&user, None, USER_DEFAULT));
    shown.insert("assignedLicenses".to_owned(), user.get("assignedLicenses").cloned().unwrap_or_default());
    Ok(Answer::json(200, &shown))
}
