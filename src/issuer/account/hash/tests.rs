//! Hashes as other programs wrote them: Python's `bcrypt` 4.3, `argon2-cffi` (the reference
//! implementation), `hashlib.scrypt` (OpenSSL), passlib, `openssl passwd`.

#![allow(clippy::string_slice, reason = "a test may panic, and hashes are ASCII")]

use super::*;

const PASSWORD: &str = "correct horse battery staple";

const FOREIGN: [&str; 8] = [
    "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy",
    "$2a$05$Fli2e4xdTxJpNKNUm8sYwuwJQ/mMmjt2HW.fFv66nZMtrgfN6y0IW",
    "$argon2id$v=19$m=64,t=1,p=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o",
    "$argon2i$v=19$m=64,t=1,p=1$Q7abUL3R1Mz1QIkSrT2aGg$GfLG5G8+BxH8PO1+JO/ztY9+6zBvvKHf8k4X0x1tYmc",
    "$argon2d$v=19$m=64,t=1,p=1$4yLI8/QWNcO70RMztOWS2g$P4iuKLX6GovevuQ2vgHtYDc7v0FkYnmuSdTGfedhrWI",
    "$argon2i$v=16$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$ePtfNi94yPMHVcVQdthAbi/SDQQk3eJiZDDjz3FlkN4",
    "$scrypt$ln=5,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo",
    "$scrypt$ln=4,r=8,p=1$IeT8n5NSylnrXSvlPAfgXA$T/lWOdmk7E8kLfvh6nrgVMtKjMSYrObPHP6BUcmkLgQ",
];

#[test]
fn hashes_of_other_programs_verify() {
    for text in FOREIGN {
        let hash: Hash = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(hash.verify(PASSWORD.as_bytes()).unwrap(), "{text}");
        for wrong in ["", "Correct horse battery staple", "correct horse battery staple "] {
            assert!(!hash.verify(wrong.as_bytes()).unwrap(), "{text}: {wrong:?}");
        }
        assert!(hash.is_outdated(), "{text}");
        assert!(!format!("{hash:?}").contains(&text[text.len() - 20..]), "{hash:?}");
    }
    // PHP writes $2y$, which is $2b$ under another name.
    let php = FOREIGN[0].replace("$2b$", "$2y$");
    assert!(php.parse::<Hash>().unwrap().verify(PASSWORD.as_bytes()).unwrap());
    // Before version 1.3 there was none to write.
    let old = FOREIGN[5].replace("$v=16", "");
    assert!(old.parse::<Hash>().unwrap().verify(PASSWORD.as_bytes()).unwrap());
}

/// What every bcrypt did: 72 bytes count, the rest does not.
#[test]
fn bcrypt_sees_72_bytes() {
    let hash: Hash =
        "$2b$04$HRDpsOgWFsytw0sFGeqQZOk.HAxvQAxFfQH0cjMyhcm3wN6I8zCvO".parse().unwrap();
    let head = "x".repeat(72);
    assert!(hash.verify(head.as_bytes()).unwrap());
    assert!(hash.verify(format!("{head}tail").as_bytes()).unwrap());
    assert!(!hash.verify("x".repeat(71).as_bytes()).unwrap());
}

/// The 22nd character of a bcrypt salt carries two bits; some writers fill the other four.
#[test]
fn bits_that_nobody_reads_do_no_harm() {
    let canonical = FOREIGN[0];
    let (head, tail) = (&canonical[..28], &canonical[29..]);
    let (mut same, mut other) = (0, 0);
    for last in "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".chars() {
        let hash: Hash = format!("{head}{last}{tail}").parse().unwrap();
        if hash == canonical.parse().unwrap() { same += 1 } else { other += 1 }
    }
    assert_eq!((same, other), (16, 48));
}

#[test]
fn what_is_made_is_current_and_verifies() {
    let (hash, text) = Hash::make(PASSWORD.as_bytes()).unwrap();
    assert!(text.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", text.expose());
    assert_eq!(text.expose().parse::<Hash>().unwrap(), hash);
    assert!(hash.verify(PASSWORD.as_bytes()).unwrap());
    assert!(!hash.is_outdated());
    assert_ne!(Hash::make(PASSWORD.as_bytes()).unwrap().0, hash, "a fresh salt");
}

#[test]
fn only_weaker_hashes_are_outdated() {
    let tail = "c2FsdHNhbHRzYWx0c2FsdA$ePtfNi94yPMHVcVQdthAbi/SDQQk3eJiZDDjz3FlkN4";
    for (head, outdated) in [
        ("$argon2id$v=19$m=19456,t=2,p=1", false),
        ("$argon2id$v=19$m=47104,t=1,p=1", false),
        ("$argon2id$v=19$m=7168,t=5,p=1", false),
        ("$argon2id$v=19$m=65536,t=3,p=4", false),
        ("$argon2id$v=19$m=7168,t=4,p=1", true),
        ("$argon2id$v=19$m=4096,t=16,p=1", true),
        ("$argon2id$v=16$m=65536,t=3,p=4", true),
        ("$argon2i$v=19$m=65536,t=3,p=4", true),
        ("$scrypt$ln=17,r=8,p=1", true),
    ] {
        let hash: Hash = format!("{head}${tail}").parse().unwrap();
        assert_eq!(hash.is_outdated(), outdated, "{head}");
    }
    let short =
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$ePtfNi94yPMHVcVQdthAbi/SDQQk3eJiZDDjz3FlkN4";
    assert!(short.parse::<Hash>().unwrap().is_outdated(), "8 bytes of salt");
}

/// A typo, or somebody who can write to the table, must not take the gateway's memory (CWE-400).
#[test]
fn hashes_that_cost_too_much_are_refused_before_they_are_computed() {
    let tail = "c2FsdHNhbHRzYWx0c2FsdA$ePtfNi94yPMHVcVQdthAbi/SDQQk3eJiZDDjz3FlkN4";
    for head in [
        "$argon2id$v=19$m=4194304,t=1,p=1",
        "$argon2id$v=19$m=4294967295,t=1,p=1",
        "$argon2id$v=19$m=262145,t=1,p=1",
        "$argon2id$v=19$m=262144,t=5,p=1",
        "$argon2id$v=19$m=1024,t=4294967295,p=1",
        "$argon2id$v=19$m=65536,t=1,p=17",
        "$scrypt$ln=31,r=8,p=1",
        "$scrypt$ln=63,r=1,p=1",
        "$scrypt$ln=64,r=1,p=1",
        "$scrypt$ln=255,r=1,p=1",
        "$scrypt$ln=18,r=16,p=1",
        "$scrypt$ln=18,r=8,p=4",
        "$scrypt$ln=1,r=33,p=1",
        "$scrypt$ln=1,r=1,p=17",
    ] {
        let refused = format!("{head}${tail}").parse::<Hash>();
        assert!(matches!(refused, Err(HashError::Costly(_))), "{head}: {refused:?}");
    }
    for cost in ["16", "31"] {
        let refused = FOREIGN[0].replace("$04$", &format!("${cost}$")).parse::<Hash>();
        assert!(matches!(refused, Err(HashError::Costly(_))), "{cost}: {refused:?}");
    }
}

#[test]
fn what_is_no_whole_hash_is_refused() {
    let cut = &FOREIGN[2][..FOREIGN[2].len() - 40];
    let bcrypt = FOREIGN[0];
    for text in [
        "$argon2id$",
        "$argon2id$v=19$m=64,t=1,p=1",
        "$argon2id$v=19$m=64,t=1,p=1$EceVegqKVm1mU7qQpO8ztA",
        "$argon2id$v=19$m=64,t=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o",
        "$argon2id$v=19$m=64,m=64,t=1,p=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o",
        "$argon2id$v=19$m=64,t=0,p=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o",
        "$argon2id$v=19$m=1,t=1,p=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o",
        "$argon2id$v=20$m=64,t=1,p=1$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o",
        "$argon2id$v=19$m=64,t=1,p=1,keyid=Zm9v$EceVegqKVm1mU7qQpO8ztA$9n5IVpSRdDB4275DF8XDTf8zBFa0leXpFkI8pvWhf6o",
        "$scrypt$ln=5,r=8$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo",
        "$scrypt$ln=0,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo",
        "$scrypt$ln=5,r=0,p=1$MDEyMzQ1Njc4OWFiY2RlZg$O/PE5W91kFh2cnJ1CiUt50GKGzaXGDts2UqbWHbDfxo",
        cut,
        &bcrypt[..59],
        &format!("{bcrypt}A"),
        &bcrypt.replace("$04$", "$03$"),
        &bcrypt.replace("$04$", "$00$"),
        &bcrypt.replace("$04$", "$+4$"),
        &bcrypt.replace("$04$", "$4$0"),
        &bcrypt.replace('/', "ä"),
        &bcrypt.replace('/', "+"),
    ] {
        let refused = text.parse::<Hash>();
        assert!(matches!(refused, Err(HashError::Malformed(_))), "{text}: {refused:?}");
    }
}

#[test]
fn hashes_of_old_are_named_and_not_quoted() {
    for (text, word) in [
        ("$apr1$abcdefgh$82JubPF2dQkt1tVfvLnXS.", "$apr1$"),
        ("$1$abcdefgh$82JubPF2dQkt1tVfvLnXS.", "MD5"),
        ("{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=", "SHA-1"),
        ("{SSHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=", "SHA-1"),
        ("rqXexS6ZhobKA", "DES"),
        ("$2x$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy", "faulty"),
        ("$6$rounds=5000$abc$def", "SHA-2"),
        ("hunter2", "no known kind"),
        ("", "no known kind"),
        ("$argon2$v=19$m=64,t=1,p=1$a$b", "no known kind"),
    ] {
        let refused = text.parse::<Hash>().unwrap_err().to_string();
        assert!(refused.contains(word), "{text}: {refused}");
        assert!(text.len() < 7 || !refused.contains(&text[text.len() - 7..]), "{refused}");
    }
}

#[test]
fn the_head_of_a_hash_says_its_work() {
    for (head, read) in [
        ("$argon2id$v=19$m=19456,t=2,p=1", "$argon2id$v=19$m=19456,t=2,p=1"),
        ("$argon2id$v=19$m=19456,t=2,p=1$", "$argon2id$v=19$m=19456,t=2,p=1"),
        ("$2b$12$", "$2y$12"),
        ("$2y$12", "$2y$12"),
        ("$scrypt$ln=15,r=8,p=1", "$scrypt$ln=15,r=8,p=1"),
    ] {
        assert_eq!(head.parse::<Work>().map(|work| work.to_string()), Ok(read.to_owned()));
    }
    for head in ["", "bcrypt", "$2y$", "$2y$99", "$argon2id$", "$argon2id$v=19$m=4194304,t=1,p=1"] {
        assert!(head.parse::<Work>().is_err(), "{head}");
    }
    assert_eq!(Work::CURRENT.to_string().parse(), Ok(Work::CURRENT));
}

#[test]
fn work_can_be_spent_for_nothing() {
    for head in ["$argon2id$v=19$m=64,t=1,p=1", "$2y$04", "$scrypt$ln=4,r=8,p=1"] {
        assert_eq!(head.parse::<Work>().unwrap().spend(b"x"), Ok(()), "{head}");
    }
}

proptest::proptest! {
    /// Any text is a hash of bearable cost, or refused; nothing is computed to find out.
    #[test]
    fn any_text_is_read_or_refused(
        head in "(\\$argon2id?\\$v=(16|19)\\$|\\$2[aby]\\$|\\$scrypt\\$|)",
        rest in "[a-z$=,./0-9A-Z+]{0,70}",
    ) {
        let text = format!("{head}{rest}");
        if let Ok(hash) = text.parse::<Hash>() {
            assert_eq!(hash.work().check(), Ok(hash.work()));
        }
        let _ = text.parse::<Work>();
    }

    /// Whatever the numbers are, memory and steps stay within bounds.
    #[test]
    fn numbers_are_bounded(m: u32, t: u32, p: u32, ln: u8) {
        let tail = "c2FsdHNhbHRzYWx0c2FsdA$ePtfNi94yPMHVcVQdthAbi/SDQQk3eJiZDDjz3FlkN4";
        for head in [
            format!("$argon2id$v=19$m={m},t={t},p={p}"),
            format!("$scrypt$ln={ln},r={},p={}", m % 40, p % 20),
        ] {
            if let Ok(hash) = format!("{head}${tail}").parse::<Hash>() {
                match hash.work() {
                    Work::Argon2 { memory, passes, .. } => {
                        assert!(u64::from(memory) * u64::from(passes) <= 1 << 20);
                    }
                    Work::Scrypt { log_n, r, p } => {
                        assert!((128 * u64::from(r)) << log_n <= 256 << 20);
                        assert!((u64::from(r) * u64::from(p)) << log_n <= 1 << 22);
                    }
                    Work::Bcrypt { .. } => unreachable!(),
                }
            }
        }
    }
}
