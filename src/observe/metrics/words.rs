//! The fixed lists that label values are taken from. Whatever is in none of them is counted under
//! a word for the rest: no peer and no upstream can make a series.

/// Status codes that are counted by themselves: the registered ones (RFC 9110 §16.2.1), and 499
/// for a client that left before there was an answer, as the access log has it. Ascending.
const STATUSES: [u16; 62] = [
    100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303,
    304, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414,
    415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503,
    504, 505, 506, 507, 508,
];

/// The other codes of each class, and codes of no class.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// How many labels there are for a status.
pub(super) const STATUS_LABELS: usize = STATUSES.len() + CLASSES.len();

/// One more than the largest status with a class.
const CODES: usize = 600;

/// The label of each code, as an index: one look at a table for each request.
static LABEL_OF_CODE: [u8; CODES] = label_of_code();

#[allow(clippy::indexing_slicing, reason = "computed by the compiler, which sees every index")]
#[allow(clippy::cast_possible_truncation, reason = "there are fewer than 256 labels")]
const fn label_of_code() -> [u8; CODES] {
    let mut labels = [(STATUS_LABELS - 1) as u8; CODES];
    let mut code = 100;
    while code < CODES {
        labels[code] = (STATUSES.len() + code / 100 - 1) as u8;
        code += 1;
    }
    let mut index = 0;
    while index < STATUSES.len() {
        labels[STATUSES[index] as usize] = index as u8;
        index += 1;
    }
    labels
}

/// The index of a status' label.
pub(super) fn status_index(code: u16) -> usize {
    LABEL_OF_CODE.get(usize::from(code)).map_or(STATUS_LABELS - 1, |index| usize::from(*index))
}

/// The label at an index.
pub(super) fn status_label(index: usize) -> String {
    match (STATUSES.get(index), CLASSES.get(index.wrapping_sub(STATUSES.len()))) {
        (Some(code), _) => code.to_string(),
        (None, Some(class)) => (*class).to_owned(),
        (None, None) => String::new(),
    }
}

/// Words for requests that went on, the most frequent first.
pub(super) const ALLOWED: [&str; 18] = [
    "token",
    "public",
    "anonymous",
    "preflight",
    "tunnel",
    "refresh",
    "login",
    "logout",
    "sessions",
    "client_credentials",
    "introspection",
    "revocation",
    "published",
    "backchannel_logout",
    "login_page",
    "csrf_issued",
    STORE_UNREACHABLE,
    OTHER,
];

/// `on_unreachable = "allow"` acted.
pub(super) const STORE_UNREACHABLE: &str = "store_unreachable";
/// `on_unreachable = "deny"` acted.
pub(super) const STORE_UNAVAILABLE: &str = "store_unavailable";

/// Words for requests that did not go on, or were not answered by the upstream. Ascending;
/// `tests/docs.rs` holds both lists to the words that the access log writes.
pub(super) const REFUSED: [&str; 117] = [
    "account_gone",
    "accounts_busy",
    "accounts_unavailable",
    "algorithm",
    "ambiguous_target",
    "assertion_audience",
    "assertion_expired",
    "assertion_key",
    "assertion_lifetime",
    "assertion_malformed",
    "assertion_replayed",
    "assertion_signature",
    "assertion_unavailable",
    "audience",
    "audit_unavailable",
    "auth_failures",
    "authorization_not_text",
    "authorization_too_long",
    "authorization_twice",
    "body_broken",
    "body_fields",
    "body_timeout",
    "body_too_large",
    "case_variant_of_another_route",
    "claim_too_long",
    "claim_type",
    "claims",
    "client_assertion",
    "client_audience",
    "client_basic",
    "client_form",
    "client_grant",
    "client_grant_type",
    "client_introspection",
    "client_methods",
    "client_missing",
    "client_query",
    "client_scope",
    "client_secret",
    "client_token",
    "client_token_kind",
    "client_unknown",
    "control_character",
    "csrf",
    "csrf_token",
    "expectation",
    "expired",
    "fields_too_large",
    "host",
    "inactive",
    "introspection_unavailable",
    "issued_in_future",
    "issuer_not_allowed",
    "issuing_failed",
    "keys_unavailable",
    "lifetime",
    "limit_field",
    "login_limits",
    "login_refused",
    "logout_all",
    "logout_event",
    "logout_failed",
    "logout_flood",
    "logout_form",
    "logout_nobody",
    "logout_nonce",
    "logout_replayed",
    "logout_subject",
    "malformed",
    "method_not_allowed",
    "misdirected",
    "missing_claim",
    "no_route",
    "no_token",
    "not_yet_valid",
    "permissions",
    "query_without_token",
    "rate_limit",
    "refresh_client",
    "refresh_ended",
    "refresh_expired",
    "refresh_limits",
    "refresh_malformed",
    "refresh_other_kind",
    "refresh_reused",
    "refresh_reused_before",
    "refresh_revoked",
    "refresh_unknown",
    "revocation_failed",
    "revoked",
    "roles",
    "scopes",
    "session_busy",
    "session_malformed",
    "session_unknown",
    "several_tokens",
    "signature",
    STORE_UNAVAILABLE,
    "target_form",
    "target_too_long",
    "token_type",
    "too_many_requests",
    "too_old",
    "transfer_coding",
    "unfinished",
    "unknown_issuer",
    "unknown_key",
    "unsupported_header",
    "unsupported_media_type",
    "upstream_broken",
    "upstream_connect",
    "upstream_connect_timeout",
    "upstream_framing",
    "upstream_response_timeout",
    "upstream_switched_unasked",
    "upstream_wrong_protocol",
    "~other",
];

/// Why an upstream did not answer, in place of a status; words of the access log.
pub(super) const UNANSWERED: [&str; 9] = [
    "body_broken",
    "body_timeout",
    "body_too_large",
    "upstream_broken",
    "upstream_connect",
    "upstream_connect_timeout",
    "upstream_response_timeout",
    "upstream_switched_unasked",
    OTHER,
];

/// The word for what is in no list; sorts behind all others.
pub(super) const OTHER: &str = "~other";

/// The index of a word in [`ALLOWED`]; that of [`OTHER`] for one that is not there.
pub(super) fn allowed_index(reason: &str) -> usize {
    ALLOWED.iter().position(|word| *word == reason).unwrap_or(ALLOWED.len() - 1)
}

/// The index of a word in [`UNANSWERED`]; that of [`OTHER`] for one that is not there.
pub(super) fn unanswered_index(reason: &str) -> usize {
    UNANSWERED.binary_search(&reason).unwrap_or(UNANSWERED.len() - 1)
}

/// The index of a word in [`REFUSED`]; that of [`OTHER`] for one that is not there.
pub(super) fn refused_index(reason: &str) -> usize {
    REFUSED.binary_search(&reason).unwrap_or(REFUSED.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_order_and_say_nothing_twice() {
        assert!(STATUSES.is_sorted() && REFUSED.is_sorted() && UNANSWERED.is_sorted());
        assert!(REFUSED.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(REFUSED.last(), Some(&OTHER));
    }

    #[test]
    fn every_status_has_a_label() {
        for (code, label) in [
            (200, "200"),
            (401, "401"),
            (499, "499"),
            (508, "508"),
            (299, "2xx"),
            (520, "5xx"),
            (199, "1xx"),
            (0, "other"),
            (99, "other"),
            (600, "other"),
            (999, "other"),
            (u16::MAX, "other"),
        ] {
            assert_eq!(status_label(status_index(code)), label, "{code}");
        }
        let labels: std::collections::BTreeSet<String> =
            (0..=1000).map(|code| status_label(status_index(code))).collect();
        assert_eq!(labels.len(), STATUS_LABELS);
    }

    #[test]
    fn every_reason_has_an_index() {
        assert_eq!(allowed_index("token"), 0);
        assert_eq!(ALLOWED[allowed_index("expired")], OTHER);
        assert_eq!(UNANSWERED[unanswered_index("upstream_connect")], "upstream_connect");
        assert_eq!(UNANSWERED[unanswered_index("expired")], OTHER);
        assert_eq!(REFUSED[refused_index("revoked")], "revoked");
        assert_eq!(REFUSED[refused_index("something new")], OTHER);
    }
}
