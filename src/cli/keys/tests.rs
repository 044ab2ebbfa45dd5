//! The steps of a rotation, whole and interrupted.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Parser;

use super::set::{Set, time};
use super::*;
use crate::auth::keys::{KeySet, from_jwks};

const START: i64 = 1_800_000_000;
const KEEP: i64 = 24 * 3600 + 60;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    keys: KeysArgs,
}

/// A key directory in a world of its own.
struct World {
    temporary: tempfile::TempDir,
    now: Cell<i64>,
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl World {
    fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap(), now: Cell::new(START) }
    }

    /// With a key directory in it.
    fn with_keys(algorithm: &str) -> Self {
        let world = Self::new();
        world.run(&["generate", "DIR", "--algorithm", algorithm]).good();
        world
    }

    fn dir(&self) -> PathBuf {
        self.temporary.path().join("keys")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Runs `postern keys ARGS`; DIR stands for the directory. Waiting lets time pass at once.
    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &|span| self.pass(span))
    }

    fn run_with(&self, args: &[&str], wait: &dyn Fn(Duration)) -> Ran {
        let dir = self.dir().display().to_string();
        let args = args.iter().map(|arg| if *arg == "DIR" { &dir } else { *arg });
        let cli = Cli::try_parse_from(["keys"].into_iter().chain(args)).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let clock = Clock { now: &|| UnixTime(self.now.get()), wait };
        let code = run(&cli.keys, &clock, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code, out: text(out), err: text(err) }
    }

    fn pass(&self, span: Duration) {
        self.now.set(self.now.get() + i64::try_from(span.as_secs()).unwrap());
    }

    fn set(&self) -> Set {
        Set::parse(&fs::read(self.path("jwks.json")).unwrap()).unwrap()
    }

    fn kids(&self) -> Vec<String> {
        self.set().0.iter().map(|jwk| text(jwk, "kid").unwrap().to_owned()).collect()
    }

    fn end(&self, kid: &str) -> Option<i64> {
        let set = self.set();
        let jwk = set.0.iter().find(|jwk| text(jwk, "kid") == Some(kid)).unwrap();
        time(jwk, "exp").map(|end| end.0)
    }

    /// What signs can be verified by the gateway's own reading of `jwks.json`. This must hold at
    /// every moment.
    fn signs(&self) -> String {
        let (key, kid) = signer(&self.dir()).unwrap();
        let text = fs::read(self.path("jwks.json")).unwrap();
        let hmac = key.algorithm() == Algorithm::HS256;
        let allowed = if hmac {
            vec![Algorithm::HS256]
        } else {
            vec![Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256]
        };
        let KeySet { keys, skipped } = from_jwks(&text, &allowed, hmac).unwrap();
        assert!(skipped.is_empty(), "{skipped:?}");
        let own = key.verification_key(Some(&kid)).unwrap();
        let known = keys.iter().find(|key| key.kid() == Some(&kid)).unwrap();
        assert_eq!(known.fingerprint(), own.fingerprint());
        kid
    }
}

impl Ran {
    fn good(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.err);
        self
    }

    fn refused(self, because: &str) -> Self {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{}", self.err);
        assert!(self.err.contains(because), "{because}: {}", self.err);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

#[test]
fn a_new_directory_is_private_and_whole() {
    for algorithm in ALGORITHMS {
        let world = World::with_keys(algorithm);
        let signing = if algorithm == "HS256" { "signing.key" } else { "signing.pem" };
        assert_eq!(fs::metadata(world.dir()).unwrap().mode() & 0o777, 0o700);
        let mut names = Vec::new();
        for entry in fs::read_dir(world.dir()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["jwks.json", "lock", signing], "{algorithm}");
        let kid = world.signs();
        assert_eq!(world.kids(), std::slice::from_ref(&kid));
        // A thumbprint; for a secret 128 random bits.
        assert_eq!(kid.len(), if algorithm == "HS256" { 22 } else { 43 });
        let set = world.set();
        assert_eq!(thumbprint_of(&set), (algorithm != "HS256").then_some(kid));
    }
}

fn thumbprint_of(set: &Set) -> Option<String> {
    crate::auth::keys::thumbprint(&set.0[0])
}

#[test]
fn what_is_there_is_not_overwritten() {
    let world = World::with_keys("ES256");
    let before = fs::read(world.path("signing.pem")).unwrap();
    world.run(&["generate", "DIR"]).refused("postern keys rotate");
    world.run(&["generate", "DIR", "--algorithm", "HS256"]).refused("postern keys rotate");
    assert_eq!(fs::read(world.path("signing.pem")).unwrap(), before);
    // A JWKS of somebody else's, without a key of ours.
    fs::remove_file(world.path("signing.pem")).unwrap();
    let jwks = fs::read(world.path("jwks.json")).unwrap();
    world.run(&["generate", "DIR"]).refused("holds keys already");
    assert_eq!(fs::read(world.path("jwks.json")).unwrap(), jwks);
    world.run(&["rotate", "DIR"]).refused("postern keys generate");
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let world = World::with_keys("ES256");
    for mode in [0o750, 0o705, 0o710] {
        fs::set_permissions(world.dir(), fs::Permissions::from_mode(mode)).unwrap();
        world.run(&["rotate", "DIR"]).refused("chmod 700");
        world.run(&["jwks", "DIR"]).refused("chmod 700");
    }
    fs::set_permissions(world.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(world.path("signing.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    world.run(&["rotate", "DIR"]).refused("chmod 600");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let world = World::with_keys("ES256");
    // Giving a directory away takes root, which is what containers run tests as.
    if std::os::unix::fs::chown(world.dir(), Some(65534), None).is_ok() {
        world.run(&["rotate", "DIR"]).refused("sudo -u '#65534'");
    }
}

#[test]
fn one_command_at_a_time() {
    let world = World::with_keys("ES256");
    let directory = Directory::open(&world.dir()).unwrap();
    let lock = directory.lock().unwrap();
    world.run(&["rotate", "DIR"]).refused("another `postern keys`");
    world.run(&["jwks", "DIR"]).good();
    drop(lock);
    world.run(&["rotate", "DIR"]).good();
}

#[test]
fn a_rotation_keeps_the_previous_key_until_its_last_token_has_expired() {
    for algorithm in ALGORITHMS {
        let world = World::with_keys(algorithm);
        let old = world.signs();
        let ran = world.run_with(&["rotate", "DIR", "--format", "json"], &|span| {
            assert_eq!(span, Duration::from_secs(5));
            assert_eq!(world.signs(), old, "nothing signs that is not known yet");
            assert_eq!(world.kids().len(), 2);
            world.pass(span);
        });
        let new = world.signs();
        assert_ne!(new, old);
        assert_eq!(world.kids(), [new.clone(), old.clone()], "the one that signs comes first");
        let end = START + 5 + KEEP;
        assert_eq!((world.end(&new), world.end(&old)), (None, Some(end)));
        let report = ran.good().json();
        assert_eq!(report["kid"], new.as_str());
        assert_eq!(report["previous"], json!([{ "kid": old, "expires": end }]));
        // Gone: the only private key left is the one that signs.
        assert!(!world.path("next.pem").exists() && !world.path("next.key").exists());
        world.now.set(end - 1);
        world.run(&["rotate", "DIR", "--prune"]).good();
        assert_eq!(world.kids().len(), 2, "one second to go");
        world.now.set(end);
        world.run(&["rotate", "DIR", "--prune"]).good();
        assert_eq!(world.kids(), std::slice::from_ref(&new));
        assert_eq!(world.signs(), new);
    }
}

/// For a key that others have got hold of.
#[test]
fn a_key_can_be_dropped_at_once() {
    for algorithm in ["EdDSA", "HS256"] {
        let world = World::with_keys(algorithm);
        world.run(&["rotate", "DIR", "--publish-first", "0s", "--keep", "0s"]).good();
        assert_eq!(world.kids(), [world.signs()]);
    }
}

#[test]
fn rotations_in_a_row_keep_every_end() {
    let world = World::with_keys("EdDSA");
    let first = world.signs();
    world.run(&["rotate", "DIR"]).good();
    let (second, end) = (world.signs(), world.end(&first).unwrap());
    world.pass(Duration::from_secs(3600));
    world.run(&["rotate", "DIR", "--keep", "10m"]).good();
    assert_eq!(world.end(&first), Some(end), "an end is not put off");
    assert_eq!(world.end(&second), Some(START + 5 + 3600 + 5 + 600));
    world.now.set(world.end(&second).unwrap());
    world.run(&["rotate", "DIR"]).good();
    assert!(!world.kids().contains(&second) && world.kids().contains(&first));
}

#[test]
fn a_prepared_key_is_published_long_before_it_signs() {
    let world = World::with_keys("ES256");
    let old = world.signs();
    let prepared = world.run(&["rotate", "DIR", "--prepare", "--format", "json"]).good().json();
    let next = prepared["next"]["kid"].as_str().unwrap().to_owned();
    assert_eq!(world.signs(), old);
    assert_eq!(world.kids(), [old.clone(), next.clone()]);
    let published = world.run(&["jwks", "DIR"]).good();
    assert!(published.out.contains(&next) && published.out.contains(&old));
    // Again: nothing new. Something else: no.
    world.run(&["rotate", "DIR", "--prepare"]).good();
    assert_eq!(world.kids(), [old.clone(), next.clone()]);
    world.run(&["rotate", "DIR", "--algorithm", "EdDSA"]).refused("prepared already");
    world.run(&["rotate", "DIR", "--kid", "other"]).refused("prepared already");
    world.pass(Duration::from_secs(3600));
    let ran = world.run_with(&["rotate", "DIR", "--publish-first", "1h"], &|_| {
        panic!("it has been known for an hour")
    });
    ran.good();
    assert_eq!(world.signs(), next);
}

/// Killed at each step; the next command goes on from there.
#[test]
fn an_interrupted_rotation_is_finished_by_the_next() {
    // Between 1 and 2: a key that nobody has seen.
    let world = World::with_keys("ES256");
    let old = world.signs();
    let directory = Directory::open(&world.dir()).unwrap();
    let unseen = SigningKey::generate(Algorithm::ES256).unwrap();
    directory.write_next(&unseen).unwrap();
    assert_eq!(world.signs(), old);
    world.run(&["rotate", "DIR"]).good();
    let unseen = crate::auth::keys::thumbprint(&unseen.verifying_jwk().unwrap()).unwrap();
    assert!(world.signs() != unseen && !world.kids().contains(&unseen));

    // In 3: while it waits.
    let world = World::with_keys("HS256");
    let old = world.signs();
    let killed = catch_unwind(AssertUnwindSafe(|| {
        world.run_with(&["rotate", "DIR"], &|_| panic!("killed"))
    }));
    assert!(killed.is_err());
    assert_eq!(world.signs(), old);
    let next = world.kids()[1].clone();
    world.run(&["rotate", "DIR"]).good();
    assert_eq!((world.signs(), world.kids().len()), (next, 2));

    // Between 4 and 5: the old key has its end and still signs.
    let world = World::with_keys("RS256");
    let old = world.signs();
    let directory = Directory::open(&world.dir()).unwrap();
    let mut contents = directory.contents().unwrap();
    let args = ["keys", "rotate", "DIR"];
    let KeysVerb::Rotate(args) = Cli::try_parse_from(args).unwrap().keys.verb else { panic!() };
    let next = rotate::prepare(&directory, &mut contents, &args, UnixTime(START)).unwrap();
    rotate::announce(&directory, &mut contents, &next.kid, UnixTime(START + 60)).unwrap();
    assert_eq!(world.signs(), old);
    // However late: what signs and what will sign stay.
    world.pass(Duration::from_secs(1_000_000));
    world.run(&["rotate", "DIR", "--prune"]).good();
    let published = world.run(&["jwks", "DIR"]).good().json();
    assert_eq!(published["keys"].as_array().unwrap().len(), 2);
    assert!(published.to_string().contains(&old) && !published.to_string().contains("exp"));
    world.run(&["rotate", "DIR"]).good();
    assert_eq!(world.signs(), next.kid);
    assert_eq!(world.end(&old), Some(world.now.get() + KEEP), "from now, not from the first try");
}

#[test]
fn an_interrupted_generate_is_begun_again() {
    let world = World::new();
    let directory = Directory::create(&world.dir()).unwrap();
    let key = SigningKey::generate(Algorithm::HS256).unwrap();
    directory.write_next(&key).unwrap();
    let jwk = directory::entry(&key, None, UnixTime(START)).unwrap();
    directory.write_set(&Set(vec![jwk])).unwrap();
    world.run(&["generate", "DIR", "--algorithm", "HS256"]).good();
    assert_eq!(world.kids(), [world.signs()]);
    assert!(!world.path("next.key").exists());
}

#[test]
fn algorithms_change_within_their_kind() {
    let world = World::with_keys("ES256");
    let ran = world.run(&["rotate", "DIR", "--algorithm", "EdDSA"]).good();
    assert!(ran.err.contains("must allow it"), "{}", ran.err);
    assert_eq!(signer(&world.dir()).unwrap().0.algorithm(), Algorithm::EdDSA);
    assert_eq!(world.kids().len(), 2);
    // R3: a secret never stands beside public keys.
    world.run(&["rotate", "DIR", "--algorithm", "HS256"]).refused("cannot share");
    let world = World::with_keys("HS256");
    world.run(&["rotate", "DIR", "--algorithm", "ES256"]).refused("cannot share");
}

#[test]
fn kids_of_ones_own() {
    let world = World::new();
    world.run(&["generate", "DIR", "--kid", "2026-11"]).good();
    assert_eq!(world.signs(), "2026-11");
    world.run(&["rotate", "DIR", "--kid", "2026-11"]).refused("another key has the kid");
    world.run(&["rotate", "DIR", "--kid", "2026-12"]).good();
    assert_eq!(world.kids(), ["2026-12", "2026-11"]);
    for kid in ["", "a b", "a\nb", "ä", &"k".repeat(257)] {
        assert!(Cli::try_parse_from(["keys", "generate", "d", "--kid", kid]).is_err(), "{kid:?}");
    }
}

#[test]
fn a_key_that_jwks_json_does_not_hold_is_not_rotated_away() {
    let world = World::with_keys("ES256");
    let foreign = SigningKey::generate(Algorithm::ES256).unwrap().to_file().unwrap();
    private_file::write(&world.path("signing.pem"), foreign.expose().as_bytes()).unwrap();
    world.run(&["rotate", "DIR"]).refused("does not hold the key");
    assert!(signer(&world.dir()).is_err());
    fs::remove_file(world.path("jwks.json")).unwrap();
    world.run(&["rotate", "DIR"]).refused("jwks.json");
    private_file::write(&world.path("jwks.json"), b"{\"keys\":1}").unwrap();
    world.run(&["jwks", "DIR"]).refused("no JWKS");
}

#[test]
fn only_public_halves_are_printed() {
    let world = World::with_keys("ES256");
    let old = world.signs();
    world.run(&["rotate", "DIR"]).good();
    let document = world.run(&["jwks", "DIR"]).good().json();
    let keys = document["keys"].as_array().unwrap();
    for key in keys {
        let members: Vec<&String> = key.as_object().unwrap().keys().collect();
        let previous = key["kid"] == old.as_str();
        let expected: &[&str] = if previous {
            &["alg", "crv", "exp", "kid", "kty", "use", "x", "y"]
        } else {
            &["alg", "crv", "kid", "kty", "use", "x", "y"]
        };
        assert_eq!(members, expected);
    }
    // Its time is over: it leaves what is printed and the directory.
    world.now.set(world.end(&old).unwrap());
    let document = world.run(&["jwks", "DIR"]).good().json();
    assert_eq!(document["keys"].as_array().unwrap().len(), 1);
    assert_eq!(world.kids(), [world.signs()]);

    let file = |name: &str| world.path(name).display().to_string();
    let (pem, jwks) = (file("signing.pem"), file("jwks.json"));
    let of_files = world.run(&["jwks", &pem, &jwks, "DIR"]).good().json();
    assert_eq!(of_files["keys"].as_array().unwrap().len(), 1, "the same key three times");
    assert_eq!(of_files["keys"][0]["kid"], world.signs().as_str(), "its thumbprint");
    world.run(&["jwks", &file("missing")]).refused("missing");
}

/// A shared secret is never published, and appears in no output.
#[test]
fn secrets_stay_secret() {
    let world = World::new();
    let made = world.run(&["generate", "DIR", "--algorithm", "HS256"]).good();
    let file = |name: &str| world.path(name).display().to_string();
    let secret = fs::read_to_string(world.path("signing.key")).unwrap();
    let before = secret.trim().trim_start_matches("base64:").to_owned();
    let rotated = world.run(&["rotate", "DIR"]).good();
    let outputs = [
        made,
        rotated,
        world.run(&["rotate", "DIR", "--prepare", "--format", "json"]).good(),
        world.run(&["jwks", "DIR"]).refused("never published"),
        world.run(&["jwks", &file("jwks.json")]).refused("never published"),
        world.run(&["jwks", &file("signing.key")]).refused("signing.key"),
    ];
    let keys: Vec<String> =
        world.set().0.iter().map(|jwk| text(jwk, "k").unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 3);
    for Ran { out, err, .. } in outputs {
        for secret in keys.iter().chain([&before]) {
            assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
        }
    }
}

/// What `generate` prints is a configuration.
#[test]
fn the_snippet_is_toml() {
    let world = World::new();
    let made = world.run(&["generate", "DIR", "--kid", "k"]).good();
    let value: toml::Table = made.out.parse().unwrap();
    let issuer = &value["issuers"][0];
    assert_eq!(issuer["algorithms"][0].as_str(), Some("ES256"));
    let jwks = PathBuf::from(issuer["jwks_file"].as_str().unwrap());
    assert!(jwks.is_absolute() && jwks.exists());
    assert!(made.out.contains("signing.pem") && !made.out.contains("BEGIN"));
}

/// And so is what it prints as a comment, for tokens that Postern issues.
#[test]
fn the_snippet_has_the_key_for_issuing_too() {
    for (algorithm, key) in [("ES256", "private_key_file"), ("HS256", "secret_file")] {
        let world = World::new();
        let made = world.run(&["generate", "DIR", "--algorithm", algorithm]).good();
        let lines = made.out.lines().skip_while(|line| *line != "# [[issuing.keys]]");
        let lines = lines.map_while(|line| line.strip_prefix("# "));
        let value: toml::Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
        let entry = value["issuing"]["keys"][0].as_table().unwrap();
        assert_eq!(entry["kid"].as_str(), Some(world.kids()[0].as_str()));
        assert_eq!(entry["algorithm"].as_str(), Some(algorithm));
        let path = PathBuf::from(entry[key].as_str().unwrap());
        assert!(path.is_absolute() && path.exists(), "{}", path.display());
    }
}

/// RFC 6749 §2.3.1, ASVS 2.10: made by the machine, written once, kept as a hash.
#[test]
fn a_clients_secret_is_made_and_hashed() {
    use crate::auth::ClientSecretHashes;
    use crate::secret::Secret;
    let world = World::new();
    let at = |name: &str| world.temporary.path().join(name);
    let (hash, out) = (at("billing.hash"), at("billing.secret"));
    let (hash_name, out_name) = (hash.to_str().unwrap(), out.to_str().unwrap());
    let base = ["generate", "--client-secret", hash_name];
    let fit = |secret: &str| {
        let hashes = ClientSecretHashes::parse(&fs::read_to_string(&hash).unwrap()).unwrap();
        hashes.fit(&Secret::new(secret.trim_end().to_owned()))
    };
    let first = world.run(&base).good().out;
    assert!(first.len() == 44 && fit(&first), "{first}");
    assert_eq!(fs::metadata(&hash).unwrap().permissions().mode() & 0o777, 0o600);
    world.run(&base).refused("--add");
    assert!(fit(&first), "nothing has changed");
    // A change: both are good, then the third pushes the first out.
    let second = world.run(&[&base[..], &["--add", "--out", out_name]].concat()).good();
    let (printed, second) = (second.out, fs::read_to_string(&out).unwrap());
    assert!(printed.is_empty() && fit(&first) && fit(&second) && first != second);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    world.run(&[&base[..], &["--add", "--out", out_name]].concat()).refused("not overwritten");
    let third = world.run(&[&base[..], &["--add"]].concat()).good().out;
    assert!(!fit(&first) && fit(&second) && fit(&third));
    // One that another system made; not what a person made up.
    let existing = at("existing");
    let hashed = |secret: &str| {
        private_file::write(&existing, secret.as_bytes()).unwrap();
        world.run(&[&base[..], &["--add", "--existing", existing.to_str().unwrap()]].concat())
    };
    hashed("correct horse battery staple!\n").refused("at least");
    assert_eq!(hashed("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b\n").good().out, "");
    assert!(fit("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"));
    for wrong in [
        &["generate"][..],
        &["generate", "DIR", "--client-secret", "h"],
        &["generate", "DIR", "--add"],
        &["generate", "--client-secret", "h", "--out", "o", "--existing", "e"],
    ] {
        assert!(Cli::try_parse_from([&["keys"], wrong].concat()).is_err(), "{wrong:?}");
    }
}
