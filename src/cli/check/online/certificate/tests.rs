//! Certificates made at run time: good, nearly over, over, not yet begun, without a name.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::super::Outcome;
use super::*;

/// 2027-01-15.
const NOW: UnixTime = UnixTime(1_800_000_000);

/// Year, month and day.
type Date = (i32, u8, u8);

fn pem(names: &[&str], from: Date, to: Date) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(to.0, to.1, to.2);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn judged(text: &str) -> (Outcome, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("cert.pem");
    std::fs::write(&path, text).unwrap();
    let found = own(&path, NOW);
    (found.outcome, found.words)
}

#[test]
fn names_and_the_time_that_is_left_are_told() {
    let long = pem(&["api.test", "*.api.test", "127.0.0.1"], (2026, 1, 1), (2027, 6, 1));
    let (outcome, words) = judged(&long);
    // Nobody trusts a certificate that has signed itself.
    assert_eq!(outcome, Outcome::Warning, "{words}");
    assert!(
        words.starts_with("api.test *.api.test 127.0.0.1, until 2027-06-01, 136 days"),
        "{words}"
    );
    assert!(!words.contains("expires in"), "{words}");
    let six = ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test"];
    let (_, words) = judged(&pem(&six, (2026, 1, 1), (2027, 6, 1)));
    assert!(words.contains("f.test ...") && !words.contains("g.test"), "{words}");
}

#[test]
fn thirty_days_before_the_end_it_is_warned_of() {
    let said = |to: Date| judged(&pem(&["api.test"], (2026, 1, 1), to)).1;
    assert!(!said((2027, 2, 15)).contains("expires in"), "30 days and 16 hours");
    assert!(said((2027, 2, 14)).contains("expires in 29 days"));
    assert!(said((2027, 1, 16)).contains("expires in 0 days"));
}

#[test]
fn what_no_client_would_take_has_failed() {
    let rows = [
        (pem(&["api.test"], (2026, 1, 1), (2027, 1, 15)), "it expired on 2027-01-15"),
        (pem(&["api.test"], (2027, 1, 16), (2028, 1, 1)), "it is not valid before 2027-01-16"),
        (pem(&[], (2026, 1, 1), (2028, 1, 1)), "names no host"),
        ("no PEM".to_owned(), "no certificate"),
    ];
    for (text, words) in rows {
        let (outcome, said) = judged(&text);
        assert_eq!(outcome, Outcome::Failed, "{said}");
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert_eq!(own(Path::new("/nowhere/cert.pem"), NOW).outcome, Outcome::Failed);
    assert!(validity(b"\x30\x03\x02\x01\x01", NOW).is_err(), "DER that is no certificate");
}

#[test]
fn a_chain_is_looked_at_as_a_whole() {
    let leaf = pem(&["api.test"], (2026, 1, 1), (2027, 6, 1));
    let (outcome, words) = judged(&(leaf.clone() + &pem(&["ca"], (2026, 1, 1), (2027, 1, 20))));
    assert_eq!(outcome, Outcome::Warning);
    assert!(words.contains("certificate 2 of the chain expires in 4 days"), "{words}");
    let (outcome, words) = judged(&(leaf + &pem(&["ca"], (2025, 1, 1), (2026, 1, 1))));
    assert_eq!(outcome, Outcome::Failed);
    assert!(words.contains("certificate 2: it expired on 2026-01-01"), "{words}");
}
