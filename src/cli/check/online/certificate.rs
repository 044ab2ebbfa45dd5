//! The gateway's own certificates: names, time that is left, and whether the chain leads to an
//! authority that this system trusts.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime as PkiTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{Found, Probe, probe};
use crate::config::{ClientAuth, Loaded};
use crate::policy::tls;
use crate::time::UnixTime;

/// Less time than this is worth a warning: authorities that renew by themselves do so at 30 days.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Names that are shown of one certificate.
const NAMES_MAX: usize = 6;

const DAY_SECONDS: i64 = 24 * 3600;

pub(super) fn probes(loaded: &Loaded, now: UnixTime) -> Vec<Probe> {
    let config = &loaded.config;
    if config.listen.https.is_off() {
        return Vec::new();
    }
    let mut probes = Vec::new();
    for pair in &config.tls.certificates {
        let written = pair.get_ref().cert.get_ref();
        let path = loaded.source.resolve(written);
        probes.push(probe(
            "certificate",
            written.display().to_string(),
            async move { own(&path, now) },
        ));
    }
    if let ClientAuth::On { ca, .. } = config.tls.client_auth.get_ref() {
        let path = loaded.source.resolve(ca.get_ref());
        let name = ca.get_ref().display().to_string();
        probes.push(probe("certificate", name, async move { authorities(&path, now) }));
    }
    probes
}

/// The chain of a listener. That it can be read and fits its key was found out when the
/// configuration was compiled.
fn own(path: &Path, now: UnixTime) -> Found {
    let chain = match read(path) {
        Ok(chain) => chain,
        Err(error) => return Found::failed(error),
    };
    let Some((leaf, rest)) = chain.split_first() else {
        return Found::failed("no certificate in this file");
    };
    let Validity { words, warning } = match validity(leaf, now) {
        Ok(validity) => validity,
        Err(error) => return Found::failed(error),
    };
    let mut warnings: Vec<String> = warning.into_iter().collect();
    let names = names(leaf);
    if names.is_empty() {
        return Found::failed("it names no host (subjectAltName): every client refuses it");
    }
    for (place, certificate) in rest.iter().enumerate() {
        match validity(certificate, now) {
            Ok(Validity { warning: Some(warning), .. }) => {
                warnings.push(format!("certificate {} of the chain {warning}", place + 2));
            }
            Ok(_) => {}
            Err(error) => return Found::failed(format!("certificate {}: {error}", place + 2)),
        }
    }
    warnings.extend(untrusted(leaf, rest, now));
    Found::with_warnings(format!("{}, {words}", names.join(" ")), &warnings)
}

/// Authorities that client certificates must come from.
fn authorities(path: &Path, now: UnixTime) -> Found {
    let certificates = match read(path) {
        Ok(certificates) => certificates,
        Err(error) => return Found::failed(error),
    };
    let mut warnings = Vec::new();
    for (place, certificate) in certificates.iter().enumerate() {
        match validity(certificate, now) {
            Ok(validity) => warnings.extend(
                validity.warning.map(|warning| format!("authority {} {warning}", place + 1)),
            ),
            Err(error) => warnings.push(format!("authority {}: {error}", place + 1)),
        }
    }
    let count = certificates.len();
    let words = if count == 1 { "1 authority".into() } else { format!("{count} authorities") };
    Found::with_warnings(format!("{words} for clients"), &warnings)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// How long a certificate is good for.
#[derive(Debug)]
pub(super) struct Validity {
    /// `until 2027-03-01, 99 days`.
    pub(super) words: String,
    /// When that is soon.
    pub(super) warning: Option<String>,
}

/// # Errors
///
/// It is no certificate, or not good now.
pub(super) fn validity(der: &[u8], now: UnixTime) -> Result<Validity, String> {
    let certificate = Certificate::from_der(der).map_err(|_| "it cannot be read".to_owned())?;
    let validity = certificate.tbs_certificate().validity();
    let at = |time: x509_cert::time::Time| {
        UnixTime(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
    };
    let (begin, end) = (at(validity.not_before), at(validity.not_after));
    if now < begin {
        return Err(format!("it is not valid before {}", date(begin)));
    }
    if now > end {
        return Err(format!("it expired on {}", date(end)));
    }
    let left = end.since(now);
    let days = (end.seconds() - now.seconds()) / DAY_SECONDS;
    Ok(Validity {
        words: format!("until {}, {days} days", date(end)),
        warning: (left < SOON).then(|| format!("expires in {days} days")),
    })
}

fn date(time: UnixTime) -> String {
    let seconds = Duration::from_secs(u64::try_from(time.seconds()).unwrap_or(0));
    // Year 9999 is the last that X.509 and this format know.
    let latest = Duration::from_secs(253_402_300_799);
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + seconds.min(latest)).to_string();
    text.chars().take(10).collect()
}

/// The hosts and addresses of the leaf.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(leaf) else { return Vec::new() };
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(listed)))) = found else { return Vec::new() };
    let mut names: Vec<String> = listed.iter().filter_map(name).collect();
    if names.len() > NAMES_MAX {
        names.truncate(NAMES_MAX);
        names.push("...".to_owned());
    }
    names
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the other kinds of name mean nothing to TLS")]
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(octets).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Why a client of this system's trust would not take the chain; `None` when it would.
fn untrusted(
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    now: UnixTime,
) -> Option<String> {
    let Ok(roots) = tls::system_roots() else {
        return Some("this system trusts no authority to compare it with".to_owned());
    };
    let at = Duration::from_secs(u64::try_from(now.seconds()).unwrap_or(0));
    let end = EndEntityCert::try_from(leaf).ok()?;
    let algorithms =
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let verified = end.verify_for_usage(
        algorithms,
        &roots.roots,
        rest,
        PkiTime::since_unix_epoch(at),
        KeyUsage::server_auth(),
        None,
        None,
    );
    let error = verified.err()?;
    Some(if end.issuer() == end.subject() {
        "self-signed: each client must be told to trust it".to_owned()
    } else if error == webpki::Error::UnknownIssuer {
        "no authority that this system trusts has signed it, or the file lacks an intermediate \
         certificate"
            .to_owned()
    } else {
        format!("this system would not trust it: {error}")
    })
}

#[cfg(test)]
mod tests;
