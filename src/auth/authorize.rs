//! What a route requires of a verified caller.

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::Verified;
use crate::token::ClaimPath;

/// A route's `require`. Empty lists require nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// All of these roles.
    pub roles: Vec<Box<str>>,
    /// At least one of these roles.
    pub any_roles: Vec<Box<str>>,
    /// All of these scopes.
    pub scopes: Vec<Box<str>>,
    /// At least one of these scopes.
    pub any_scopes: Vec<Box<str>>,
    /// All of these permissions.
    pub permissions: Vec<Box<str>>,
    /// At least one of these permissions.
    pub any_permissions: Vec<Box<str>>,
    /// Claims that must have this value. A claim that is an array must contain it; where several
    /// values are given (an array), one of them must match.
    pub claims: Vec<(ClaimPath, Value)>,
}

/// A verified caller who may not do this: 403.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// A required claim has another value or is absent.
    #[error("a required claim does not match")]
    Claims,
    /// A required permission is lacking.
    #[error("a required permission is lacking")]
    Permissions,
    /// A required role is lacking.
    #[error("a required role is lacking")]
    Roles,
    /// A required scope is lacking; what is required goes into `WWW-Authenticate` (RFC 6750 §3).
    #[error("a required scope is lacking")]
    Scopes(Arc<str>),
}

impl Rule {
    /// Whether the caller has everything that is required.
    ///
    /// # Errors
    ///
    /// The first kind of thing that is lacking: roles, scopes, permissions, claims.
    pub fn allows(&self, caller: &Verified) -> Result<(), Denied> {
        if !holds(&caller.roles, &self.roles, &self.any_roles) {
            return Err(Denied::Roles);
        }
        if !holds(&caller.scopes, &self.scopes, &self.any_scopes) {
            return Err(Denied::Scopes(self.scope_challenge()));
        }
        if !holds(&caller.permissions, &self.permissions, &self.any_permissions) {
            return Err(Denied::Permissions);
        }
        let matches = |(path, wanted): &(ClaimPath, Value)| {
            path.find(&caller.claims).is_some_and(|value| agrees(value, wanted))
        };
        if self.claims.iter().all(matches) { Ok(()) } else { Err(Denied::Claims) }
    }

    /// The scopes that the route is about, for the challenge: all required ones, then the
    /// alternatives.
    fn scope_challenge(&self) -> Arc<str> {
        let scopes: Vec<&str> =
            self.scopes.iter().chain(&self.any_scopes).map(|scope| &**scope).collect();
        scopes.join(" ").into()
    }
}

impl Denied {
    /// A stable word for logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Permissions => "permissions",
            Self::Roles => "roles",
            Self::Scopes(_) => "scopes",
        }
    }

    /// The value of `scope` in the challenge; `None` when scopes are not what is lacking.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        match self {
            Self::Scopes(scopes) => Some(scopes),
            Self::Claims | Self::Permissions | Self::Roles => None,
        }
    }
}

fn holds(has: &[Box<str>], all: &[Box<str>], any: &[Box<str>]) -> bool {
    all.iter().all(|one| has.contains(one))
        && (any.is_empty() || any.iter().any(|one| has.contains(one)))
}

fn agrees(value: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Array(alternatives) => alternatives.iter().any(|one| is_or_contains(value, one)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            is_or_contains(value, wanted)
        }
    }
}

fn is_or_contains(value: &Value, wanted: &Value) -> bool {
    value == wanted || value.as_array().is_some_and(|elements| elements.contains(wanted))
}
