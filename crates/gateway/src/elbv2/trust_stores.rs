//! Trust stores: authorities whose client certificates listeners take, and what those have revoked.
//!
//! Bundles and revocation lists are read once, from the operator's object store, and become part of
//! the record.

use super::validation;
use super::{changed, error, find, limits, names, page, put, refuse, remove, tags, unsupported};
use crate::app::App;
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_model::load_balancing::{Listener, TrustStore};
use wharf_model::{RecordKey, Transaction};
use wharf_scheduler::load_balancing::is_listener_live;
use wharf_wire::elbv2::{ErrorCode, operation, types};
use wharf_wire::{Document, OperationShape as _};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

/// A trust store is one record, which has a limit of its own.
const MAX_BYTES: usize = 96 * 1024;

/// The operator's object, as text.
async fn object(
    app: &App,
    source: &Document,
    members: [&str; 3],
    missing: ErrorCode,
) -> Result<String, ApiError> {
    let [bucket, key, version] = members.map(|m| source.get(m).and_then(Document::as_str));
    refuse(members[2], version.is_some())?;
    let (bucket, key) = (bucket.unwrap_or_default(), key.unwrap_or_default());
    let Some(objects) = app.objects() else {
        return Err(unsupported(
            "Reading from S3 without an object store: start the server with --s3-endpoint. It",
        ));
    };
    let failed = |why: String| error(missing, format!("s3://{bucket}/{key} can't be read: {why}"));
    let bytes = objects.read(bucket, key).await.map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        let why = format!("it has {} bytes, the limit is {MAX_BYTES}", bytes.len());
        return Err(failed(why));
    }
    String::from_utf8(bytes).map_err(|_| failed("it is no text, but a PEM file is".to_owned()))
}

/// The PEM blocks of this kind; every block must be one.
fn blocks(text: &str, label: &str) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for pem in Pem::iter_from_buffer(text.as_bytes()) {
        let pem = pem.ok().filter(|pem| pem.label == label)?;
        found.push(pem.contents);
    }
    (!found.is_empty()).then_some(found)
}

/// A bundle of certificates.
fn check_bundle(text: String) -> Result<String, ApiError> {
    let certificates = blocks(&text, "CERTIFICATE").filter(|all| {
        all.iter().all(|der| x509_parser::certificate::X509Certificate::from_der(der).is_ok())
    });
    match certificates {
        Some(_) => Ok(text),
        None => Err(error(
            ErrorCode::InvalidCaCertificatesBundleException,
            "The bundle must consist of certificates in PEM",
        )),
    }
}

/// Entries of a revocation list.
fn entries(text: &str) -> Option<usize> {
    let lists = blocks(text, "X509 CRL")?;
    let count = |der: &Vec<u8>| {
        let (_, list) = CertificateRevocationList::from_der(der).ok()?;
        Some(list.iter_revoked_certificates().count())
    };
    lists.iter().map(count).sum()
}

const BUNDLE: [&str; 3] = [
    "CaCertificatesBundleS3Bucket",
    "CaCertificatesBundleS3Key",
    "CaCertificatesBundleS3ObjectVersion",
];

pub(super) async fn create(call: Call<'_>) -> Encoded {
    let missing = ErrorCode::CaCertificatesBundleNotFoundException;
    let bundle = object(call.app, &call.input, BUNDLE, missing).await.and_then(check_bundle);
    call.run::<operation::CreateTrustStore>(move |context, input| {
        create_from(context, input, bundle.clone()?)
    })
    .await
}

fn create_from(
    context: &Context<'_>,
    input: &types::CreateTrustStoreInput,
    bundle: String,
) -> OperationResult<types::CreateTrustStoreOutput> {
    let name = input.name.clone().unwrap_or_default();
    names::check("Trust store", &name)?;
    if context.snapshot.trust_stores().any(|store| store.name == name) {
        return Err(error(
            ErrorCode::DuplicateTrustStoreNameException,
            format!("A trust store with the same name '{name}' exists"),
        ));
    }
    if context.snapshot.trust_stores().count() >= limits::TRUST_STORES {
        return Err(error(
            ErrorCode::TooManyTrustStoresException,
            "The maximum number of trust stores has been reached",
        ));
    }
    let mut transaction = Transaction::new();
    names::claim(context, &mut transaction, operation::CreateTrustStore::NAME, &name);
    let store = TrustStore {
        name,
        id: context.ids().hex32()[..16].to_owned(),
        bundle,
        revocations: Vec::new(),
        created_at: context.now,
        tags: tags::added(&[], input.tags.as_ref())?,
    };
    let output = types::CreateTrustStoreOutput { trust_stores: Some(vec![view(context, &store)]) };
    put(context, &mut transaction, store);
    Ok(Outcome::write(output, transaction))
}

pub(super) async fn modify(call: Call<'_>) -> Encoded {
    let missing = ErrorCode::CaCertificatesBundleNotFoundException;
    let bundle = object(call.app, &call.input, BUNDLE, missing).await.and_then(check_bundle);
    call.run::<operation::ModifyTrustStore>(move |context, input| {
        let found = find::trust_store(context, input.trust_store_arn.as_ref())?;
        let store = TrustStore { bundle: bundle.clone()?, ..TrustStore::clone(found) };
        let shown = Some(vec![view(context, &store)]);
        let output = types::ModifyTrustStoreOutput { trust_stores: shown };
        Ok(Outcome::write(output, changed(context, store)))
    })
    .await
}

pub(super) async fn add_revocations(call: Call<'_>) -> Encoded {
    let lists = revocations(call.app, &call.input).await;
    call.run::<operation::AddTrustStoreRevocations>(move |context, input| {
        let found = find::trust_store(context, input.trust_store_arn.as_ref())?;
        let mut store = TrustStore::clone(found);
        let next = store.revocations.iter().map(|(id, _)| id + 1).max().unwrap_or(1);
        let mut added = Vec::new();
        for (next, text) in (next..).zip(lists.clone()?) {
            added.push(shown_revocation(context, &store, next, &text));
            store.revocations.push((next, text));
        }
        let bytes: usize = store.revocations.iter().map(|(_, text)| text.len()).sum();
        if bytes + store.bundle.len() > MAX_BYTES {
            return Err(error(
                ErrorCode::TooManyTrustStoreRevocationEntriesException,
                format!(
                    "Bundle and revocation lists of a trust store have at most {MAX_BYTES} bytes"
                ),
            ));
        }
        let added = added
            .into_iter()
            .map(|shown| types::TrustStoreRevocation {
                trust_store_arn: shown.trust_store_arn,
                revocation_id: shown.revocation_id,
                revocation_type: shown.revocation_type,
                number_of_revoked_entries: shown.number_of_revoked_entries,
            })
            .collect();
        let output = types::AddTrustStoreRevocationsOutput { trust_store_revocations: Some(added) };
        Ok(Outcome::write(output, changed(context, store)))
    })
    .await
}

/// The texts of the revocation lists that a request names.
async fn revocations(app: &App, input: &Document) -> Result<Vec<String>, ApiError> {
    const MEMBERS: [&str; 3] = ["S3Bucket", "S3Key", "S3ObjectVersion"];
    let Some(Document::List(contents)) = input.get("RevocationContents") else {
        return Err(validation("At least one revocation content must be specified"));
    };
    let mut lists = Vec::new();
    for content in contents {
        let missing = ErrorCode::RevocationContentNotFoundException;
        let text = object(app, content, MEMBERS, missing).await?;
        if entries(&text).is_none() {
            return Err(error(
                ErrorCode::InvalidRevocationContentException,
                "The revocation content must consist of X.509 revocation lists in PEM",
            ));
        }
        lists.push(text);
    }
    Ok(lists)
}

pub(super) fn remove_revocations(
    context: &Context<'_>,
    input: &types::RemoveTrustStoreRevocationsInput,
) -> OperationResult<types::RemoveTrustStoreRevocationsOutput> {
    let found = find::trust_store(context, input.trust_store_arn.as_ref())?;
    let mut store = TrustStore::clone(found);
    for id in input.revocation_ids.iter().flatten() {
        let at = store.revocations.iter().position(|(known, _)| i64::try_from(*known) == Ok(*id));
        let at = at.ok_or_else(|| no_revocation(*id))?;
        store.revocations.remove(at);
    }
    let output = types::RemoveTrustStoreRevocationsOutput {};
    Ok(Outcome::write(output, changed(context, store)))
}

fn no_revocation(id: i64) -> ApiError {
    error(ErrorCode::RevocationIdNotFoundException, format!("Revocation ID '{id}' not found"))
}

/// Listeners that hold clients' certificates against a store.
fn users<'a>(
    context: &Context<'a>,
    store: &TrustStore,
) -> impl Iterator<Item = &'a Listener> + use<'a> {
    let (snapshot, path) = (context.snapshot, store.path());
    let listeners = snapshot.listeners().map(|listener| &**listener);
    listeners.filter(move |listener| {
        let mutual = listener.mutual_authentication.as_ref();
        mutual.is_some_and(|mutual| mutual.trust_store.as_ref() == Some(&path))
            && is_listener_live(snapshot, listener)
    })
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteTrustStoreInput,
) -> OperationResult<types::DeleteTrustStoreOutput> {
    let found = find::trust_store(context, input.trust_store_arn.as_ref())?;
    if users(context, found).next().is_some() {
        return Err(error(
            ErrorCode::TrustStoreInUseException,
            format!(
                "Trust store '{}' is currently in use by a listener",
                context.arns.trust_store(&found.path())
            ),
        ));
    }
    let mut transaction = Transaction::new();
    remove(context, &mut transaction, RecordKey::TrustStore(found.path()));
    Ok(Outcome::write(types::DeleteTrustStoreOutput {}, transaction))
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeTrustStoresInput,
) -> OperationResult<types::DescribeTrustStoresOutput> {
    let arns = input.trust_store_arns.as_deref().unwrap_or_default();
    let names = input.names.as_deref().unwrap_or_default();
    let mut all = Vec::new();
    for arn in arns {
        all.push(find::trust_store(context, Some(arn))?);
    }
    for name in names {
        let found = context.snapshot.trust_stores().find(|store| store.name == *name);
        all.push(found.ok_or_else(find::no_trust_store)?);
    }
    if arns.is_empty() && names.is_empty() {
        all.extend(context.snapshot.trust_stores());
    }
    all.sort_by_key(|store| store.path());
    all.dedup();
    let (page, next_marker) =
        page::page(all, |s| s.path(), input.marker.as_ref(), input.page_size)?;
    Ok(Outcome::read(types::DescribeTrustStoresOutput {
        trust_stores: Some(page.into_iter().map(|store| view(context, store)).collect()),
        next_marker,
    }))
}

pub(super) fn describe_revocations(
    context: &Context<'_>,
    input: &types::DescribeTrustStoreRevocationsInput,
) -> OperationResult<types::DescribeTrustStoreRevocationsOutput> {
    let store = find::trust_store(context, input.trust_store_arn.as_ref())?;
    let ids = input.revocation_ids.as_deref().unwrap_or_default();
    let known = |id: &i64| store.revocations.iter().any(|(k, _)| i64::try_from(*k) == Ok(*id));
    if let Some(unknown) = ids.iter().find(|id| !known(id)) {
        return Err(no_revocation(*unknown));
    }
    let wanted = |id: u64| ids.is_empty() || ids.iter().any(|i| u64::try_from(*i) == Ok(id));
    let all = store.revocations.iter().filter(|(id, _)| wanted(*id));
    let (page, next_marker) =
        page::page(all, |(id, _)| format!("{id:020}"), input.marker.as_ref(), input.page_size)?;
    let shown = page.into_iter().map(|(id, text)| shown_revocation(context, store, *id, text));
    Ok(Outcome::read(types::DescribeTrustStoreRevocationsOutput {
        trust_store_revocations: Some(shown.collect()),
        next_marker,
    }))
}

pub(super) fn describe_associations(
    context: &Context<'_>,
    input: &types::DescribeTrustStoreAssociationsInput,
) -> OperationResult<types::DescribeTrustStoreAssociationsOutput> {
    let store = find::trust_store(context, input.trust_store_arn.as_ref())?;
    let all = users(context, store).map(|listener| context.arns.listener(&listener.path()));
    let (page, next_marker) =
        page::page(all, String::clone, input.marker.as_ref(), input.page_size)?;
    let shown = |arn| types::TrustStoreAssociation { resource_arn: Some(arn) };
    Ok(Outcome::read(types::DescribeTrustStoreAssociationsOutput {
        trust_store_associations: Some(page.into_iter().map(shown).collect()),
        next_marker,
    }))
}

fn number(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

fn shown_revocation(
    context: &Context<'_>,
    store: &TrustStore,
    id: u64,
    text: &str,
) -> types::DescribeTrustStoreRevocation {
    types::DescribeTrustStoreRevocation {
        trust_store_arn: Some(context.arns.trust_store(&store.path())),
        revocation_id: i64::try_from(id).ok(),
        revocation_type: Some("CRL".into()),
        number_of_revoked_entries: entries(text).and_then(number),
    }
}

/// A trust store as the API shows it.
fn view(context: &Context<'_>, store: &TrustStore) -> types::TrustStore {
    let certificates = blocks(&store.bundle, "CERTIFICATE").map_or(0, |all| all.len());
    let revoked = store.revocations.iter().filter_map(|(_, text)| entries(text)).sum();
    types::TrustStore {
        name: Some(store.name.clone()),
        trust_store_arn: Some(context.arns.trust_store(&store.path())),
        status: Some("ACTIVE".into()),
        number_of_ca_certificates: i32::try_from(certificates).ok(),
        total_revoked_entries: number(revoked),
    }
}
