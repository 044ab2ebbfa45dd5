//! Rules against verified callers (R18: what is not granted is refused).

use serde_json::json;

use super::*;
use crate::auth::{Denied, Rule};

fn caller() -> Verified {
    verdict(&claims_with(json!({
        "roles": ["user", "editor"], "scope": "read write", "permissions": ["orders:read"],
        "tenant": "acme", "groups": ["a", "b"], "level": 3, "org": {"id": 7},
    })))
    .unwrap()
}

#[test]
fn everything_that_is_required_must_be_there() {
    let caller = caller();
    let scopes = |text: &str| Err(Denied::Scopes(text.into()));
    let rows: Vec<(&str, Rule, Result<(), Denied>)> = vec![
        ("nothing required", Rule::default(), Ok(())),
        ("role", Rule { roles: words(&["user"]), ..Rule::default() }, Ok(())),
        (
            "one of two roles",
            Rule { roles: words(&["user", "admin"]), ..Rule::default() },
            Err(Denied::Roles),
        ),
        (
            "role in other case",
            Rule { roles: words(&["User"]), ..Rule::default() },
            Err(Denied::Roles),
        ),
        ("role prefix", Rule { roles: words(&["use"]), ..Rule::default() }, Err(Denied::Roles)),
        ("any role", Rule { any_roles: words(&["admin", "editor"]), ..Rule::default() }, Ok(())),
        (
            "no role of any",
            Rule { any_roles: words(&["admin"]), ..Rule::default() },
            Err(Denied::Roles),
        ),
        ("scopes", Rule { scopes: words(&["write", "read"]), ..Rule::default() }, Ok(())),
        (
            "scope lacking",
            Rule { scopes: words(&["read", "pay"]), ..Rule::default() },
            scopes("read pay"),
        ),
        (
            "any scope lacking",
            Rule { any_scopes: words(&["pay", "x"]), ..Rule::default() },
            scopes("pay x"),
        ),
        (
            "a role is no scope",
            Rule { scopes: words(&["user"]), ..Rule::default() },
            scopes("user"),
        ),
        ("permission", Rule { permissions: words(&["orders:read"]), ..Rule::default() }, Ok(())),
        (
            "permission lacking",
            Rule { permissions: words(&["orders:*"]), ..Rule::default() },
            Err(Denied::Permissions),
        ),
        (
            "all and any",
            Rule { roles: words(&["user"]), any_permissions: words(&["x"]), ..Rule::default() },
            Err(Denied::Permissions),
        ),
    ];
    for (what, rule, expected) in rows {
        assert_eq!(rule.allows(&caller), expected, "{what}");
    }
    assert_eq!(Denied::Scopes("a b".into()).scope(), Some("a b"));
    assert_eq!(Denied::Roles.scope(), None);
}

#[test]
fn claims_are_compared_with_their_types() {
    let caller = caller();
    let rows: Vec<(&str, Value, bool)> = vec![
        ("tenant", json!("acme"), true),
        ("tenant", json!("ACME"), false),
        ("tenant", json!(["globex", "acme"]), true),
        ("tenant", json!([]), false),
        ("groups", json!("b"), true),
        ("groups", json!("c"), false),
        ("groups", json!(["c", "a"]), true),
        ("level", json!(3), true),
        ("level", json!("3"), false),
        ("/org/id", json!(7), true),
        ("/org/name", json!("x"), false),
        ("absent", json!(null), false),
        ("absent", json!(false), false),
    ];
    for (path, wanted, allowed) in rows {
        let claims = vec![(path.parse().unwrap(), wanted.clone())];
        let rule = Rule { claims, ..Rule::default() };
        assert_eq!(rule.allows(&caller).is_ok(), allowed, "{path} = {wanted}");
    }
}
