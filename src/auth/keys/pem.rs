//! Public keys in PEM: SPKI (`PUBLIC KEY`), PKCS#1 (`RSA PUBLIC KEY`) or an X.509 certificate, of
//! which only the public key counts: its dates and its issuer are not looked at.

use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;

use super::{KeyError, VerificationKey, public};
use crate::auth::Algorithm;

/// A key from PEM text with exactly one block.
///
/// # Errors
///
/// What is wrong with the file ([`KeyError::NotAKey`], [`KeyError::Many`], [`KeyError::Private`],
/// ...), [`KeyError::KeyType`] when the key's type or curve is not the algorithm's, and
/// [`KeyError::WeakRsa`].
pub fn from_pem(
    kid: Option<&str>,
    algorithm: Algorithm,
    text: &[u8],
) -> Result<VerificationKey, KeyError> {
    public::from_der(kid, algorithm, &public_der(text)?)
}

/// The public key in PEM text: SubjectPublicKeyInfo, or for RSA perhaps PKCS#1.
pub(super) fn public_der(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    let blocks = pem::parse_many(text).map_err(|_| KeyError::NotAKey)?;
    let block = match blocks.as_slice() {
        [] => return Err(KeyError::NotAKey),
        [block] => block,
        more => return Err(KeyError::Many(more.len())),
    };
    match block.tag() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Ok(block.contents().to_vec()),
        "CERTIFICATE" => {
            let der = CertificateDer::from(block.contents());
            let certificate =
                ParsedCertificate::try_from(&der).map_err(|_| KeyError::Certificate)?;
            Ok(certificate.subject_public_key_info().to_vec())
        }
        tag if tag.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        tag => Err(KeyError::Tag(tag.into())),
    }
}
