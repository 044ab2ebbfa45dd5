//! Password hashes: argon2id is made; argon2, bcrypt and scrypt are verified.
//!
//! What a hash costs is read off it before anything is computed, and bounded: a file or a table
//! must not be able to take the gateway's memory by a typo.
//!
//! It must never put a hash or a password into an error or `Debug`.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use argon2::{Argon2, Params, PasswordHash};
use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Bytes of a bcrypt hash's salt and output.
const BCRYPT_SALT_BYTES: usize = 16;
const BCRYPT_OUTPUT_BYTES: usize = 23;
/// What bcrypt sees of a password.
const BCRYPT_PASSWORD_BYTES: usize = 72;
/// Characters of a bcrypt hash.
const BCRYPT_CHARS: usize = 60;
/// bcrypt's cost: 15 takes some two seconds.
const BCRYPT_COST_MAX: u32 = 15;
const BCRYPT_COST_MIN: u32 = 4;

/// Memory of one hash: 256 MiB.
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// Memory times passes of an argon2 hash, in KiB: about a second.
const ARGON2_KIB_PASSES_MAX: u64 = 1 << 20;
/// Argon2's lanes, and scrypt's parallelism: both are computed one after another.
const LANES_MAX: u32 = 16;
/// scrypt's N·r·p: about a second.
const SCRYPT_STEPS_MAX: u64 = 1 << 22;
/// scrypt's block size.
const SCRYPT_R_MAX: u32 = 32;

/// Bytes of the salts and outputs that are made here.
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// What an argon2 hash must cost to be left as it is: the least of the choices that the OWASP
/// Password Storage Cheat Sheet calls equal (m=7168, t=5).
const CURRENT_KIB_MIN: u32 = 7168;
const CURRENT_KIB_PASSES_MIN: u64 = 7168 * 5;

/// Some writers leave bits in a bcrypt salt's last character that nobody reads.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Why a hash is not taken. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    /// `$apr1$`, `{SHA}`, DES crypt and the like: most are guessed within hours once a file is
    /// lost.
    #[error("is {0}, which is not taken: the account needs a new password")]
    Refused(&'static str),
    /// More than is ever computed.
    #[error("costs more than is computed here: {0}")]
    Costly(&'static str),
    /// Begins like a known kind and goes on otherwise.
    #[error("is not a whole {0} hash")]
    Malformed(&'static str),
    /// No kind that is known.
    #[error("is of no known kind: argon2id, argon2i, bcrypt ($2a$, $2b$, $2y$) and $scrypt$ are")]
    Unknown,
}

/// A hash could not be computed: no memory, or no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the hash cannot be computed: {0}")]
pub struct ComputeError(&'static str);

/// How much work one verification is: two hashes of the same work take the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// RFC 9106.
    Argon2 {
        /// argon2d, argon2i or argon2id.
        algorithm: argon2::Algorithm,
        /// 1.0 or 1.3.
        version: argon2::Version,
        /// Memory, in KiB.
        memory: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// Provos and Mazières; 2^cost rounds.
    Bcrypt {
        /// The cost.
        cost: u32,
    },
    /// RFC 7914.
    Scrypt {
        /// log₂ N.
        log_n: u8,
        /// Block size.
        r: u32,
        /// Parallelism.
        p: u32,
    },
}

/// A hash that has been read, and whose cost is bearable.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    work: Work,
    salt: Box<[u8]>,
    output: Box<[u8]>,
}

impl Work {
    /// What new hashes are: argon2id with 19 MiB and two passes (OWASP Password Storage Cheat
    /// Sheet, RFC 9106 §4).
    pub const CURRENT: Self = Self::Argon2 {
        algorithm: argon2::Algorithm::Argon2id,
        version: argon2::Version::V0x13,
        memory: 19_456,
        passes: 2,
        lanes: 1,
    };

    /// Does the work of one verification for nothing.
    ///
    /// # Errors
    ///
    /// [`ComputeError`].
    pub fn spend(self, password: &[u8]) -> Result<(), ComputeError> {
        let mut output = [0; OUTPUT_BYTES];
        let output = match self {
            Self::Argon2 { .. } | Self::Scrypt { .. } => output.as_mut_slice(),
            Self::Bcrypt { .. } => output.get_mut(..BCRYPT_OUTPUT_BYTES).unwrap_or_default(),
        };
        self.compute(password, black_box(&[0; SALT_BYTES]), output)?;
        black_box(output);
        Ok(())
    }

    /// Fills `output`.
    fn compute(self, password: &[u8], salt: &[u8], output: &mut [u8]) -> Result<(), ComputeError> {
        match self {
            Self::Argon2 { algorithm, version, memory, passes, lanes } => {
                let wrong = |_| ComputeError("argon2's parameters or memory");
                let params = Params::new(memory, passes, lanes, Some(output.len()));
                Argon2::new(algorithm, version, params.map_err(wrong)?)
                    .hash_password_into(password, salt, output)
                    .map_err(wrong)
            }
            Self::Bcrypt { cost } => {
                let salt = salt.try_into().map_err(|_| ComputeError("bcrypt's salt"))?;
                let computed = bcrypt::bcrypt(cost, salt, &bcrypt_key(password));
                for (to, from) in output.iter_mut().zip(computed) {
                    *to = from;
                }
                Ok(())
            }
            Self::Scrypt { log_n, r, p } => {
                let params = scrypt::Params::new(log_n, r, p);
                let params = params.map_err(|_| ComputeError("scrypt's parameters"))?;
                scrypt::scrypt(password, salt, &params, output)
                    .map_err(|_| ComputeError("scrypt's output"))
            }
        }
    }

    /// Refuses what would take too much memory or time.
    fn check(self) -> Result<Self, HashError> {
        match self {
            Self::Argon2 { memory, passes, lanes, .. } => {
                if memory > MEMORY_KIB_MAX {
                    return Err(HashError::Costly("argon2 with m over 262144 (256 MiB)"));
                }
                if lanes > LANES_MAX {
                    return Err(HashError::Costly("argon2 with p over 16"));
                }
                if u64::from(memory) * u64::from(passes) > ARGON2_KIB_PASSES_MAX {
                    return Err(HashError::Costly("argon2 with m times t over 1048576"));
                }
                let fits = Params::new(memory, passes, lanes, None).is_ok();
                if fits { Ok(self) } else { Err(HashError::Malformed("argon2")) }
            }
            Self::Bcrypt { cost } if cost > BCRYPT_COST_MAX => {
                Err(HashError::Costly("bcrypt with a cost over 15"))
            }
            Self::Bcrypt { cost } if cost < BCRYPT_COST_MIN => Err(HashError::Malformed("bcrypt")),
            Self::Bcrypt { .. } => Ok(self),
            Self::Scrypt { log_n, r, p } => check_scrypt(log_n, r, p).map(|()| self),
        }
    }
}

/// 128·N·r bytes of memory, N·r·p steps.
fn check_scrypt(log_n: u8, r: u32, p: u32) -> Result<(), HashError> {
    let malformed = HashError::Malformed("scrypt");
    if log_n == 0 || r == 0 || p == 0 {
        return Err(malformed);
    }
    if r > SCRYPT_R_MAX || p > LANES_MAX {
        return Err(HashError::Costly("scrypt with r over 32 or p over 16"));
    }
    let blocks = 1_u64.checked_shl(u32::from(log_n)).map(|n| n.saturating_mul(u64::from(r)));
    // 128 bytes each: eight to a KiB.
    let blocks = blocks.filter(|blocks| blocks.div_ceil(8) <= u64::from(MEMORY_KIB_MAX));
    let blocks = blocks.ok_or(HashError::Costly("scrypt with over 256 MiB of memory"))?;
    if blocks * u64::from(p) > SCRYPT_STEPS_MAX {
        return Err(HashError::Costly("scrypt with N times r times p over 4194304"));
    }
    scrypt::Params::new(log_n, r, p).map(|_| ()).map_err(|_| malformed)
}

/// As the head of a hash is written.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2 { algorithm, version, memory, passes, lanes } => {
                let version = u32::from(*version);
                write!(f, "${algorithm}$v={version}$m={memory},t={passes},p={lanes}")
            }
            Self::Bcrypt { cost } => write!(f, "$2y${cost:02}"),
            Self::Scrypt { log_n, r, p } => write!(f, "$scrypt$ln={log_n},r={r},p={p}"),
        }
    }
}

/// Reads the head of a hash, as `kinds` of the configuration lists it: all but salt and output.
impl FromStr for Work {
    type Err = HashError;

    fn from_str(head: &str) -> Result<Self, HashError> {
        let head = head.trim_end_matches('$');
        let tail = match Kind::of(head)? {
            Kind::Argon2 | Kind::Scrypt => format!("${0}${0}{0}", "A".repeat(22)),
            Kind::Bcrypt => format!("${}", ".".repeat(BCRYPT_CHARS - 7)),
        };
        format!("{head}{tail}").parse::<Hash>().map(|hash| hash.work)
    }
}

impl Hash {
    /// Hashes a password anew, as [`Work::CURRENT`] with a fresh salt; the text is in PHC form.
    ///
    /// # Errors
    ///
    /// [`ComputeError`].
    pub fn make(password: &[u8]) -> Result<(Self, Secret<String>), ComputeError> {
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| ComputeError("no randomness"))?;
        let mut output = [0; OUTPUT_BYTES];
        Work::CURRENT.compute(password, &salt, &mut output)?;
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD;
        let text = format!("{}${}${}", Work::CURRENT, base64.encode(salt), base64.encode(output));
        let hash = Self { work: Work::CURRENT, salt: salt.into(), output: output.into() };
        Ok((hash, Secret::new(text)))
    }

    /// What one verification costs.
    #[must_use]
    pub const fn work(&self) -> Work {
        self.work
    }

    /// Whether the password is the one that was hashed, compared in constant time. bcrypt looks at
    /// 72 bytes of it, as every bcrypt does.
    ///
    /// # Errors
    ///
    /// [`ComputeError`].
    pub fn verify(&self, password: &[u8]) -> Result<bool, ComputeError> {
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        self.work.compute(password, &self.salt, &mut output)?;
        Ok(bool::from(output.ct_eq(&self.output)))
    }

    /// Whether it should be made anew at the next login: another kind than argon2id, or cheaper
    /// than today's least.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let Work::Argon2 { algorithm, version, memory, passes, .. } = self.work else {
            return true;
        };
        let cheap = memory < CURRENT_KIB_MIN
            || u64::from(memory) * u64::from(passes) < CURRENT_KIB_PASSES_MIN;
        let short = self.salt.len() < SALT_BYTES || self.output.len() < OUTPUT_BYTES;
        let id = algorithm == argon2::Algorithm::Argon2id;
        !id || version != argon2::Version::V0x13 || cheap || short
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hash").field("work", &self.work).finish_non_exhaustive()
    }
}

impl FromStr for Hash {
    type Err = HashError;

    /// Reads a hash as `htpasswd`, PHP, Python and Node write it.
    fn from_str(text: &str) -> Result<Self, HashError> {
        match Kind::of(text)? {
            Kind::Argon2 => argon2_hash(text).ok_or(HashError::Malformed("argon2"))?,
            Kind::Bcrypt => bcrypt_hash(text).ok_or(HashError::Malformed("bcrypt"))?,
            Kind::Scrypt => scrypt_hash(text).ok_or(HashError::Malformed("scrypt"))?,
        }
        .checked()
    }
}

impl Hash {
    fn checked(self) -> Result<Self, HashError> {
        self.work.check().map(|_| self)
    }
}

/// Told by the first characters.
#[derive(Clone, Copy)]
enum Kind {
    Argon2,
    Bcrypt,
    Scrypt,
}

impl Kind {
    fn of(text: &str) -> Result<Self, HashError> {
        let is = |head: &str| text.starts_with(head);
        if is("$argon2id$") || is("$argon2i$") || is("$argon2d$") {
            return Ok(Self::Argon2);
        }
        if is("$2a$") || is("$2b$") || is("$2y$") {
            return Ok(Self::Bcrypt);
        }
        if is("$scrypt$") {
            return Ok(Self::Scrypt);
        }
        Err(match text {
            _ if is("$apr1$") => HashError::Refused("an MD5 hash of Apache's ($apr1$)"),
            _ if is("$1$") => HashError::Refused("an MD5 hash ($1$)"),
            _ if is("{SHA}") || is("{SSHA}") => HashError::Refused("a SHA-1 hash"),
            _ if is("$2x$") || is("$2$") => HashError::Refused("a bcrypt hash of a faulty version"),
            _ if is("$5$") || is("$6$") => HashError::Refused("a SHA-2 crypt hash ($5$, $6$)"),
            _ if is_des(text) => HashError::Refused("a DES crypt hash, or the password itself"),
            _ => HashError::Unknown,
        })
    }
}

/// Thirteen characters of crypt's alphabet.
fn is_des(text: &str) -> bool {
    text.len() == 13 && text.chars().all(|c| c.is_ascii_alphanumeric() || "./".contains(c))
}

fn argon2_hash(text: &str) -> Option<Hash> {
    let read = PasswordHash::new(text).ok()?;
    let algorithm = argon2::Algorithm::new(read.algorithm.as_str()).ok()?;
    // Hashes from before version 1.3 do not say theirs.
    let version =
        read.version.map_or(Ok(argon2::Version::V0x10), argon2::Version::try_from).ok()?;
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for (name, value) in read.params.iter() {
        let place = match name.as_str() {
            "m" => &mut memory,
            "t" => &mut passes,
            "p" => &mut lanes,
            // A key's id or data: what it was made with is not here.
            _ => return None,
        };
        if place.replace(value.decimal().ok()?).is_some() {
            return None;
        }
    }
    let work = Work::Argon2 { algorithm, version, memory: memory?, passes: passes?, lanes: lanes? };
    hash_of(work, &read)
}

fn scrypt_hash(text: &str) -> Option<Hash> {
    let read = PasswordHash::new(text).ok()?;
    let (mut log_n, mut r, mut p) = (None, None, None);
    for (name, value) in read.params.iter() {
        let place = match name.as_str() {
            "ln" => &mut log_n,
            "r" => &mut r,
            "p" => &mut p,
            _ => return None,
        };
        if place.replace(value.decimal().ok()?).is_some() {
            return None;
        }
    }
    let log_n = u8::try_from(log_n?).ok()?;
    hash_of(Work::Scrypt { log_n, r: r?, p: p? }, &read)
}

fn hash_of(work: Work, read: &PasswordHash) -> Option<Hash> {
    let (salt, output) = (read.salt?, read.hash?);
    Some(Hash { work, salt: salt.as_ref().into(), output: output.as_bytes().into() })
}

fn bcrypt_hash(text: &str) -> Option<Hash> {
    if text.len() != BCRYPT_CHARS || !text.is_ascii() {
        return None;
    }
    let (cost, rest) = text.get(4..)?.split_once('$')?;
    let digits = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let cost = cost.parse().ok().filter(|_| digits)?;
    let (salt, output) = rest.split_at_checked(22)?;
    let decode = |text: &str| BCRYPT_BASE64.decode(text).ok();
    let (salt, output) = (decode(salt)?, decode(output)?);
    let whole = salt.len() == BCRYPT_SALT_BYTES && output.len() == BCRYPT_OUTPUT_BYTES;
    whole.then(|| Hash { work: Work::Bcrypt { cost }, salt: salt.into(), output: output.into() })
}

/// What every bcrypt makes of a password: NUL at its end, and no more than 72 bytes.
fn bcrypt_key(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut key = Vec::with_capacity(BCRYPT_PASSWORD_BYTES);
    key.extend(password.iter().copied().chain([0]).take(BCRYPT_PASSWORD_BYTES));
    Zeroizing::new(key)
}

#[cfg(test)]
mod tests;
