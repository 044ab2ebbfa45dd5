//! Goal: a reserved name is found in every spelling, nothing else is, and the compiled search
//! agrees with the plain reading of the list.

use proptest::prelude::*;

use super::*;

fn names(extra: &[&str]) -> ReservedNames {
    let identity = HeaderName::from_static("tenant_id");
    ReservedNames::compile(extra.iter().copied(), [&identity]).unwrap()
}

/// Rows name the advisory or rule that they come from (security.md).
#[test]
fn every_spelling_of_a_reserved_name_is_found() {
    let names = names(&["X-Auth-*"]);
    for (name, source) in [
        ("x-auth-subject", "R24"),
        ("X-AUTH-subject", "R24, case"),
        ("x_auth_subject", "CVE-2025-64484"),
        ("x-auth_subject", "GO-2026-4639, mixed"),
        ("x.auth.subject", "R24, any mark"),
        ("x~auth!subject", "R24, any mark"),
        ("x-auth-", "R24, empty tail"),
        ("x-auth-request-user", "oauth2-proxy"),
        ("x-forwarded-user", "CVE-2025-64484"),
        ("x_forwarded_user", "CVE-2025-64484"),
        ("x-forwarded-for", "R27, CVE-2024-47070"),
        ("x-forwarded-uri", "GHSA-7rh7-c77v-6434"),
        ("x-forwarded-method", "R22"),
        ("x-forwarded-client-cert", "design"),
        ("forwarded", "R27"),
        ("x-real-ip", "R27"),
        ("cf-connecting-ip", "R27"),
        ("true-client-ip", "R27"),
        ("proxy", "CVE-2016-5385"),
        ("x-original-url", "R22"),
        ("x-rewrite-url", "R22"),
        ("x-http-method-override", "R22"),
        ("x-http-method", "R22"),
        ("x-method-override", "R22"),
        ("remote-user", "CVE-2026-30851"),
        ("remote_user", "CVE-2026-30851"),
        ("x-authentik-username", "design"),
        ("x-pomerium-jwt-assertion", "design"),
        ("cf-access-jwt-assertion", "design"),
        ("x-amzn-oidc-data", "design"),
        ("x-goog-authenticated-user-email", "design"),
        ("x-ms-client-principal", "design"),
        ("x-ms-client-principal-id", "design"),
        ("x-webauth-user", "design"),
        ("ssl-client-verify", "design"),
        ("x-client-cert-chain", "design"),
        ("x-consumer-username", "CVE-2026-31908"),
        ("x-credential-identifier", "CVE-2026-31908"),
        ("x-jwt-payload", "CVE-2023-27487"),
        ("tenant_id", "an identity header with a mark"),
        ("tenant-id", "an identity header, other mark"),
    ] {
        assert!(names.contains(name), "{name}: {source}");
    }
}

#[test]
fn other_names_pass() {
    let names = names(&["X-Auth-*"]);
    for name in [
        "host",
        "authorization",
        "cookie",
        "content-type",
        "accept",
        "user-agent",
        "origin",
        "referer",
        "sec-fetch-site",
        "traceparent",
        "x-requested-with",
        "x-csrf-token",
        "x-auth",
        "x--auth-subject",
        "x-author",
        "proxy-status",
        "proxyx",
        "remote",
        "forwarded-x",
        "x-forwarded",
        "x-real-ipx",
        "x",
        "",
    ] {
        assert!(!names.contains(name), "{name}");
    }
}

#[test]
fn patterns_that_are_not_names_or_take_too_much_are_refused() {
    for text in ["", "*", "-*", "X-*-Y", "X Auth", "X-Auth-**", "é", "X:Y"] {
        let refused = ReservedNames::compile([text], []);
        assert_eq!(refused.err(), Some(ReservedError::Pattern(text.to_owned())), "{text}");
    }
    for text in ["Host", "content_length", "C*", "Authorization", "co*", "Cookie", "transfer-*"] {
        let refused = ReservedNames::compile([text], []).err();
        assert!(matches!(refused, Some(ReservedError::Needed(..))), "{text}: {refused:?}");
    }
}

/// What the compiled search must say, read off the list.
fn plainly_reserved(patterns: &[String], name: &str) -> bool {
    let fold_all = |text: &str| -> String { text.bytes().map(|b| char::from(fold(b))).collect() };
    let name = fold_all(name);
    patterns.iter().map(String::as_str).chain(ALWAYS.iter().copied()).any(|pattern| {
        match pattern.strip_suffix('*') {
            Some(head) => name.starts_with(&fold_all(head)),
            None => name == fold_all(pattern),
        }
    })
}

proptest! {
    #[test]
    fn the_compiled_search_agrees_with_the_list(
        patterns in proptest::collection::vec("[xX][-_a-c]{0,4}\\*?", 0..12),
        names in proptest::collection::vec("[xXc][-_.a-cA-C]{0,6}|x-forwarded[-_a-z]{0,6}", 1..40),
    ) {
        let compiled =
            ReservedNames::compile(patterns.iter().map(String::as_str), []).unwrap();
        for name in names {
            let expected = plainly_reserved(&patterns, &name);
            prop_assert_eq!(compiled.contains(&name), expected, "{} in {:?}", name, patterns);
        }
    }
}
