//! A key directory: private, one command at a time, every file written whole.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Failure;
use super::set::{Jwk, Set, text};
use crate::auth::keys::{SignError, thumbprint};
use crate::auth::{Algorithm, Family, SigningKey};
use crate::private_file;
use crate::time::UnixTime;

const JWKS: &str = "jwks.json";
const LOCK: &str = "lock";
/// The file of the key that signs and the file of the one that will, for public-key algorithms and
/// for shared secrets.
const PEM: (&str, &str) = ("signing.pem", "next.pem");
const SECRET: (&str, &str) = ("signing.key", "next.key");
/// The longest key file: more than an RSA key of 8192 bits.
const KEY_BYTES_MAX: usize = 64 << 10;
/// The longest `jwks.json`.
const JWKS_BYTES_MAX: usize = 1 << 20;
/// Random bytes in the kid of a shared secret.
const KID_BYTES: usize = 16;

/// A directory that has been checked.
pub(super) struct Directory {
    path: PathBuf,
}

/// Held while files change; let go when dropped, or when the process dies.
pub(super) struct Lock {
    _file: File,
}

/// A private key with what it is called in `jwks.json`.
pub(super) struct Held {
    pub(super) kid: String,
    pub(super) key: SigningKey,
}

/// What a directory holds.
pub(super) struct Contents {
    /// Everything that verifies.
    pub(super) set: Set,
    /// What signs now.
    pub(super) signing: Held,
    /// What will sign after the next rotation, if it has been published already.
    pub(super) next: Option<Held>,
}

impl Directory {
    /// Makes the directory (0700) when it is missing.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| Failure::Io { path: path.to_owned(), source })?;
        Self::open(path)
    }

    /// A directory that is ours alone.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => Failure::Refused(format!(
                "{shown} is not there: `postern keys generate {shown}` makes it"
            )),
            _ => Failure::Io { path: path.to_owned(), source },
        })?;
        if !metadata.is_dir() {
            return Err(Failure::Refused(format!("{shown} is not a directory")));
        }
        let owner = metadata.uid();
        if owner != rustix::process::geteuid().as_raw() {
            // Root's files in it would be unreadable for the gateway that it belongs to.
            return Err(Failure::Refused(format!(
                "{shown} belongs to another user: run this as that user (sudo -u '#{owner}' …)"
            )));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(Failure::Refused(format!(
                "others may enter {shown}, and it holds private keys: chmod 700 it, or name a \
                 directory of its own"
            )));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Keeps other commands from changing the directory meanwhile.
    pub(super) fn lock(&self) -> Result<Lock, Failure> {
        let path = self.path.join(LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let io = |source| Failure::Io { path: path.clone(), source };
        let file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let shown = self.path.display();
                let text = format!("another `postern keys` is at work in {shown}; try again later");
                return Err(Failure::Refused(text));
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        for name in [PEM.0, PEM.1, SECRET.0, SECRET.1, JWKS] {
            let path = self.path.join(name);
            let swept = private_file::remove_drafts(&path);
            swept.map_err(|source| Failure::Io { path, source })?;
        }
        Ok(Lock { _file: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn jwks_path(&self) -> PathBuf {
        self.path.join(JWKS)
    }

    /// Where the key that signs with such an algorithm lies.
    pub(super) fn signing_path(&self, algorithm: Algorithm) -> PathBuf {
        self.path.join(names(algorithm).0)
    }

    /// Whether a key signs here already.
    pub(super) fn has_signing(&self) -> bool {
        [PEM.0, SECRET.0].iter().any(|name| self.path.join(name).symlink_metadata().is_ok())
    }

    /// The keys, each with its place in `jwks.json`.
    pub(super) fn contents(&self) -> Result<Contents, Failure> {
        // Before the set: whatever signs when we look is in the set from then on.
        let (path, file) = self.signing_file()?;
        let set = self.set()?;
        let signing = held(&set, &file).ok_or_else(|| {
            let (jwks, path) = (self.jwks_path(), path.display());
            Failure::Refused(format!(
                "{} does not hold the key that verifies {path}; put the matching one back",
                jwks.display()
            ))
        })?;
        let next = self.next_file(signing.key.algorithm())?;
        let next = next.and_then(|file| held(&set, &file));
        Ok(Contents { set, signing, next })
    }

    /// `jwks.json` as it is.
    pub(super) fn set(&self) -> Result<Set, Failure> {
        let path = self.jwks_path();
        let file = Zeroizing::new(private_file::read(&path, JWKS_BYTES_MAX)?);
        Set::parse(&file).map_err(|what| Failure::Refused(format!("{} is {what}", path.display())))
    }

    /// Whether what an interrupted `generate` left here is all there is: to be made anew.
    pub(super) fn is_unfinished(&self) -> Result<bool, Failure> {
        let Some(set) = missing(self.set())? else { return Ok(true) };
        for algorithm in [Algorithm::ES256, Algorithm::HS256] {
            let file = self.next_file(algorithm)?;
            if file.is_some_and(|file| set.0.len() == 1 && held(&set, &file).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn write_set(&self, set: &Set) -> Result<(), Failure> {
        let path = self.jwks_path();
        private_file::write(&path, set.text().as_bytes())
            .map_err(|source| Failure::Io { path, source })
    }

    /// Writes down the key that will sign.
    pub(super) fn write_next(&self, key: &SigningKey) -> Result<(), Failure> {
        let path = self.path.join(names(key.algorithm()).1);
        private_file::write(&path, key.to_file()?.expose().as_bytes())
            .map_err(|source| Failure::Io { path, source })
    }

    /// Lets the next key sign. In the same step the previous private key is gone.
    pub(super) fn switch(&self, algorithm: Algorithm) -> Result<(), Failure> {
        let (signing, next) = names(algorithm);
        let path = self.path.join(signing);
        private_file::rename(&self.path.join(next), &path)
            .map_err(|source| Failure::Io { path, source })
    }

    fn signing_file(&self) -> Result<(PathBuf, Zeroizing<Vec<u8>>), Failure> {
        for name in [PEM.0, SECRET.0] {
            let path = self.path.join(name);
            match private_file::read(&path, KEY_BYTES_MAX) {
                Ok(file) => return Ok((path, Zeroizing::new(file))),
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let shown = self.path.display();
        Err(Failure::Refused(format!(
            "no key signs in {shown} (no signing.pem, no signing.key): `postern keys generate` \
             makes one"
        )))
    }

    fn next_file(&self, algorithm: Algorithm) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let path = self.path.join(names(algorithm).1);
        missing(private_file::read(&path, KEY_BYTES_MAX).map(Zeroizing::new).map_err(Failure::from))
    }
}

/// The entry of `jwks.json` for a key, as of now.
pub(super) fn entry(key: &SigningKey, kid: Option<&str>, now: UnixTime) -> Result<Jwk, Failure> {
    let mut jwk =
        key.verifying_jwk().map_err(|source| Failure::Key { path: JWKS.into(), source })?;
    let kid = match kid {
        Some(kid) => kid.to_owned(),
        // A thumbprint follows from the key: who holds the one knows the other, without a second
        // file that could be out of step. Of a secret it would be something to guess against.
        None => thumbprint(&jwk).map_or_else(random_kid, Ok)?,
    };
    jwk.insert("kid".to_owned(), kid.into());
    jwk.insert("iat".to_owned(), now.seconds().into());
    Ok(jwk)
}

fn random_kid() -> Result<String, Failure> {
    let mut bytes = [0; KID_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SignError)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn held(set: &Set, file: &[u8]) -> Option<Held> {
    let (entry, key) = set.holder(file)?;
    text(entry, "kid").map(|kid| Held { kid: kid.to_owned(), key })
}

fn names(algorithm: Algorithm) -> (&'static str, &'static str) {
    match algorithm.family() {
        Family::Hmac => SECRET,
        Family::Ec | Family::Ed | Family::Rsa => PEM,
    }
}

/// `None` for a file that is not there.
fn missing<T>(read: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Private(error)) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}
