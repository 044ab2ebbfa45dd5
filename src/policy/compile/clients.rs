//! `[[clients]]` → clients with their hashes and keys read.

use std::path::PathBuf;

use super::Context;
use crate::auth::{ClientKeys, ClientSecretHashes, ExtraKey, Issuers};
use crate::config::{self, Config, MayRevoke, Problem, Problems, Spanned, Text};
use crate::policy::client::{Client, Clients, Credentials};
use crate::policy::issuing::Issuing;

/// The largest file of a client.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// `extra` are the keys under which other applications revoke.
pub(super) fn compile(
    config: &Config,
    context: Context<'_>,
    issuing: Option<&Issuing>,
    extra: &[ExtraKey],
    problems: &mut Problems,
) -> Option<Clients> {
    let issuing = issuing?;
    let before = problems.len();
    let one = |client| one(client, context, issuing, problems);
    let clients: Vec<Client> = config.clients.iter().filter_map(one).collect();
    if problems.len() > before {
        return None;
    }
    let issued = verifier(issuing, &clients, extra, problems)?;
    Some(Clients::new(clients, issued))
}

/// As the entry `local`, for every audience that a token may have been issued for.
fn verifier(
    issuing: &Issuing,
    clients: &[Client],
    extra: &[ExtraKey],
    problems: &mut Problems,
) -> Option<Issuers> {
    // Without keys it issues nothing: they could not be read, which is said elsewhere.
    if issuing.keys.is_empty() {
        return Some(Issuers::default());
    }
    let mut settings = issuing.verifier().ok()?;
    let audiences = settings.audiences.get_or_insert_default();
    audiences.extend(clients.iter().flat_map(|client| client.audiences.iter().cloned()));
    audiences.sort_unstable();
    audiences.dedup();
    let issuers = Issuers::new(vec![settings], extra.to_vec());
    let mut wrong = |error: String| problems.push(Problem::new(format!("[[clients]] {error}")));
    issuers.map_err(|errors| errors.iter().for_each(|error| wrong(error.to_string()))).ok()
}

fn one(
    placed: &Spanned<config::Client>,
    context: Context<'_>,
    issuing: &Issuing,
    problems: &mut Problems,
) -> Option<Client> {
    let raw = placed.get_ref();
    let credentials = match (&raw.secret_hash_file, &raw.jwks_file) {
        (Some(file), _) => secret(file, context, problems)?,
        (None, Some(file)) => keys(file, context, problems)?,
        (None, None) => return None,
    };
    let texts = |list: &config::List<Text>| list.iter().map(|text| text.0.clone()).collect();
    Some(Client {
        id: raw.id.get_ref().0.as_str().into(),
        credentials,
        client_credentials: !raw.grants.is_empty(),
        audiences: raw.audiences.as_ref().map_or_else(|| issuing.audiences.clone(), texts),
        roles: texts(&raw.roles),
        permissions: texts(&raw.permissions),
        scopes: raw.scopes.iter().map(|scope| scope.0.clone()).collect(),
        may_introspect: *raw.may_introspect.get_ref(),
        may_revoke_any: *raw.may_revoke.get_ref() == MayRevoke::Any,
    })
}

fn secret(
    file: &Spanned<PathBuf>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Credentials> {
    let text = read(file, context, problems)?;
    let mut wrong = wrong(file, context, problems);
    let text = String::from_utf8(text).map_err(|_| wrong("is no text".to_owned())).ok()?;
    let hashes = ClientSecretHashes::parse(&text);
    hashes.map(Credentials::Secret).map_err(|error| wrong(error.to_string())).ok()
}

fn keys(
    file: &Spanned<PathBuf>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Credentials> {
    let text = read(file, context, problems)?;
    let mut wrong = wrong(file, context, problems);
    let keys = ClientKeys::from_jwks(&text);
    keys.map(Credentials::Keys).map_err(|error| wrong(error.to_string())).ok()
}

/// Who writes it decides who the client is; who reads it learns nothing that helps.
fn read(file: &Spanned<PathBuf>, context: Context<'_>, problems: &mut Problems) -> Option<Vec<u8>> {
    let path = context.source.resolve(file.get_ref());
    if let Err(error) = config::check_file_permissions(&path) {
        problems.push(Problem::at(file.span(), error.to_string()));
        return None;
    }
    let mut wrong = wrong(file, context, problems);
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > FILE_BYTES_MAX) {
        wrong("is larger than 256 KiB".to_owned());
        return None;
    }
    let read = std::fs::read(&path);
    read.map_err(|error| wrong(format!("cannot be read: {error}"))).ok()
}

fn wrong<'p>(
    file: &Spanned<PathBuf>,
    context: Context<'_>,
    problems: &'p mut Problems,
) -> impl FnMut(String) + use<'p> {
    let (span, path) = (file.span(), context.source.resolve(file.get_ref()));
    move |error| {
        problems.push(Problem::at(span.clone(), format!("{} {error}", path.display())));
    }
}

#[cfg(test)]
mod tests;
