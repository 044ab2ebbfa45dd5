//! The three verbs, with keys and files made at run time.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::auth::{Algorithm, IssuerSettings, keys};

const NOW: UnixTime = UnixTime(1_800_000_000);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef\n";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    token: TokenArgs,
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

/// Runs `postern token ARGS` with this on standard input.
fn postern(args: &[&str], input: &str) -> Ran {
    let cli = Cli::try_parse_from([&["token"], args].concat()).unwrap();
    let (mut input, mut out, mut err) = (input.as_bytes(), Vec::new(), Vec::new());
    let mut io = Io { input: &mut input, out: &mut out, err: &mut err };
    let code = run(&cli.token, NOW, &mut io, &|config| {
        if config.is_some() { Err("bad.toml:1:1: no".to_owned()) } else { Ok(issuers()) }
    });
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code, out: text(out), err: text(err) }
}

fn issuers() -> Issuers {
    let mut entry = IssuerSettings::new("main", vec![Algorithm::HS256]);
    entry.issuer = Some("me".into());
    entry.audiences = Some(vec!["api".into()]);
    let secret = keys::secret_bytes(SECRET).unwrap();
    entry.keys = vec![keys::from_secret(Some("k"), Algorithm::HS256, secret.expose()).unwrap()];
    Issuers::new(vec![entry], Vec::new()).unwrap()
}

fn mint(more: &[&str]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let args = ["mint", "--key-file", &file, "--alg", "HS256", "--kid", "k", "--iss", "me"];
    let args = [&args[..], &["--aud", "api", "--sub", "ada"], more].concat();
    postern(&args, "")
}

#[test]
fn a_minted_token_verifies() {
    let minted = mint(&["--role", "admin", "--scope", "a", "--scope", "b", "--claim", "n=5"]);
    assert_eq!((minted.code, minted.err.as_str()), (0, ""));
    assert_eq!(minted.out.trim_end().split('.').count(), 3, "nothing but the token on stdout");
    let checked = postern(&["verify", "--format", "json"], &minted.out);
    let document: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!((checked.code, &document["valid"]), (0, &json!(true)));
    assert_eq!(document["token"]["roles"], json!(["admin"]));
    assert_eq!(document["token"]["scopes"], json!(["a", "b"]));
    assert_eq!(document["token"]["expires_at"], json!(NOW.0 + 900));
    assert!(document["token"]["jti"].is_string(), "random, so that it can be revoked");
}

#[test]
fn verify_says_which_check_failed() {
    let good = mint(&[]).out;
    let (message, _) = good.rsplit_once('.').unwrap();
    let rows = [
        ("nonsense", 0, "malformed"),
        (mint(&["--typ", "logout+jwt"]).out.as_str(), 0, "token_type"),
        (mint(&["--claim", "nonce=1"]).out.as_str(), 0, "token_type"),
        (&format!("{message}.AAAA"), 4, "signature"),
        (mint(&["--ttl", "48h"]).out.as_str(), 5, "lifetime"),
    ]
    .map(|(token, place, reason)| (token.to_owned(), place, reason));
    for (token, place, reason) in rows {
        let checked = postern(&["verify", "--format", "json"], &token);
        let document: Value = serde_json::from_str(&checked.out).unwrap();
        assert_eq!((checked.code, &document["valid"]), (1, &json!(false)), "{reason}");
        let checks = document["checks"].as_array().unwrap();
        for (index, check) in checks.iter().enumerate() {
            let expected = match index.cmp(&place) {
                std::cmp::Ordering::Less => "passed",
                std::cmp::Ordering::Equal => "failed",
                std::cmp::Ordering::Greater => "not_reached",
            };
            assert_eq!(check["outcome"], expected, "{reason}: {check}");
        }
        assert_eq!(checks[place]["reason"], reason);
        let text = postern(&["verify"], &token).out;
        assert!(text.contains("FAIL") && text.ends_with("refused\n"), "{text}");
    }
}

#[test]
fn an_invalid_configuration_is_usage() {
    let ran = postern(&["verify", "--config", "bad.toml"], "x");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert_eq!(ran.err, "postern: bad.toml:1:1: no\n");
}

#[test]
fn inspect_shows_and_warns() {
    let token = mint(&["--claim", "name=\u{9b}31m\u{202e}x"]).out;
    let text = postern(&["inspect"], &token);
    assert_eq!(text.code, 0);
    assert!(text.err.contains("NOT VERIFIED"));
    assert!(text.out.contains("\"sub\": \"ada\"") && text.out.contains("(in 15m)"), "{}", text.out);
    assert!(text.out.contains("\\u009b31m\\u202ex"), "a terminal obeys nothing in it");
    let json = postern(&["inspect", "--format", "json"], &token);
    let document: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&document["verified"], &document["header"]["kid"]), (&json!(false), &json!("k")));
    for (token, said) in
        [("", "1 parts"), ("a.b.c", "base64url"), ("e30.bm8.x", "JSON"), ("a.b.c.d.e", "JWE")]
    {
        let ran = postern(&["inspect"], token);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{token}");
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn mint_refuses_what_makes_no_sense() {
    for claim in ["exp=1", "sub=x", "=x", "x", "aud=y"] {
        let ran = mint(&["--claim", claim]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{claim}");
    }
    assert_eq!(mint(&["--claim", "a=1", "--claim", "a=2"]).code, 2);
    let missing = postern(&["mint", "--key-file", "/nonexistent", "--alg", "HS256"], "");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("short");
    std::fs::write(&file, "hunter2").unwrap();
    let file = file.to_str().unwrap();
    let weak = postern(&["mint", "--key-file", file, "--alg", "HS256"], "");
    assert!(weak.code == 1 && !weak.err.contains("hunter2"), "{}", weak.err);
    assert!(weak.err.contains("at least 32"), "{}", weak.err);
    assert!(Cli::try_parse_from(["token", "mint", "--key-file", "x", "--alg", "none"]).is_err());
    assert!(Cli::try_parse_from(["token", "inspect", "eyJhbGciOiJub25lIn0.e30."]).is_err());
}
