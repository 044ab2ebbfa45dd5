//! Signs a token with a key of the operator's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::{Failure, Io, output, read_file};
use crate::auth::{Algorithm, Family, SigningKey, keys};
use crate::cli::keys::signer;
use crate::time::UnixTime;

/// Claims that have a flag of their own, or follow from one.
const OWN_FLAGS: [&str; 9] = ["iss", "aud", "sub", "iat", "exp", "jti", "sid", "roles", "scope"];

/// Arguments of `postern token mint`.
#[derive(Debug, Args)]
pub struct MintArgs {
    /// Private key in PEM, or for HS* the secret (plain, base64:... or hex:...)
    #[arg(long, value_name = "FILE", requires = "alg")]
    pub key_file: Option<PathBuf>,
    /// HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA
    #[arg(long, value_name = "ALG")]
    pub alg: Option<Algorithm>,
    /// Key id for the header
    #[arg(long)]
    pub kid: Option<String>,
    /// Directory of `postern keys`, instead of the three above
    #[arg(long, value_name = "DIR", conflicts_with_all = ["key_file", "alg", "kid"])]
    pub keys: Option<PathBuf>,
    /// Type for the header
    #[arg(long, default_value = "at+jwt")]
    pub typ: String,
    /// Issuer
    #[arg(long)]
    pub iss: Option<String>,
    /// Audience; may be repeated
    #[arg(long)]
    pub aud: Vec<String>,
    /// Subject
    #[arg(long)]
    pub sub: Option<String>,
    /// Role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Scope; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Session id
    #[arg(long)]
    pub sid: Option<String>,
    /// Token id; default: a random one
    #[arg(long)]
    pub jti: Option<String>,
    /// Another claim; the value is JSON, or else a string; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// How long it lives
    #[arg(long, default_value = "15m", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
}

pub(super) fn run(args: &MintArgs, now: UnixTime, io: &mut Io<'_>) -> Result<(), Failure> {
    let claims = claims(args, now)?;
    let (key, kid) = key(args)?;
    let token = key
        .sign(&args.typ, kid.as_deref(), &claims)
        .map_err(|error| Failure::Unusable(error.to_string()))?;
    writeln!(io.out, "{token}").map_err(output)
}

/// The key that signs, and its `kid`.
fn key(args: &MintArgs) -> Result<(SigningKey, Option<String>), Failure> {
    match (&args.keys, &args.key_file, args.alg) {
        (Some(directory), ..) => {
            let signer = signer(directory);
            signer
                .map(|(key, kid)| (key, Some(kid)))
                .map_err(|failure| Failure::Unusable(failure.to_string()))
        }
        (None, Some(file), Some(algorithm)) => {
            key_of_file(file, algorithm).map(|key| (key, args.kid.clone()))
        }
        (None, ..) => {
            Err(Failure::Usage("which key? --key-file FILE --alg ALG, or --keys DIR".to_owned()))
        }
    }
}

fn key_of_file(file: &Path, algorithm: Algorithm) -> Result<SigningKey, Failure> {
    let content = zeroize::Zeroizing::new(read_file(file)?);
    let key = match algorithm.family() {
        Family::Hmac => keys::secret_bytes(&content)
            .and_then(|secret| SigningKey::from_secret(algorithm, secret.expose())),
        Family::Ec | Family::Ed | Family::Rsa => SigningKey::from_pem(algorithm, &content),
    };
    key.map_err(|error| Failure::Unusable(format!("{}: {error}", file.display())))
}

fn claims(args: &MintArgs, now: UnixTime) -> Result<Map<String, Value>, Failure> {
    let mut claims = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    set("iss", text(&args.iss));
    set(
        "aud",
        match args.aud.as_slice() {
            [] => None,
            [one] => Some(one.as_str().into()),
            several => Some(several.into()),
        },
    );
    set("sub", text(&args.sub));
    set("iat", Some(now.seconds().into()));
    set("exp", Some(now.plus(args.ttl).seconds().into()));
    set("jti", text(&args.jti).or_else(|| Some(uuid::Uuid::new_v4().to_string().into())));
    set("sid", text(&args.sid));
    set("roles", (!args.roles.is_empty()).then(|| args.roles.as_slice().into()));
    set("scope", (!args.scopes.is_empty()).then(|| args.scopes.join(" ").into()));
    for claim in &args.claims {
        let (name, value) = other_claim(claim)?;
        if claims.insert(name.to_owned(), value).is_some() {
            return Err(Failure::Usage(format!("--claim {name} is given twice")));
        }
    }
    Ok(claims)
}

fn other_claim(claim: &str) -> Result<(&str, Value), Failure> {
    let pair = claim.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, text) =
        pair.ok_or_else(|| Failure::Usage(format!("--claim {claim}: write --claim NAME=VALUE")))?;
    if OWN_FLAGS.contains(&name) {
        let hint = "iss, aud, sub, jti, sid, role, scope and ttl have flags of their own";
        return Err(Failure::Usage(format!("--claim {name}: {hint}")));
    }
    Ok((name, serde_json::from_str(text).unwrap_or_else(|_| text.into())))
}
