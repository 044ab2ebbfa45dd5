//! How often: rate limits by client, header, body field or claim, and the limit on failed
//! verifications.
//!
//! The arithmetic is governor's (GCRA): `5/15m` admits five at once and then one every three
//! minutes. This module adds what governor leaves open: a hard bound on memory, keys that cannot be
//! read back, counting of failures alone, and state that survives a reload.
//!
//! It never reads configuration and never answers a request: it says allowed or not. It never
//! waits either, but for the store where a limit is kept there for several gateways.

mod failures;
mod field;
mod fields;
mod key;
mod limiter;
mod registry;
mod rule;
mod shared;
mod store;

pub use failures::{AuthFailures, Reservation};
pub use field::{BODY_BYTES_MAX, FieldError, form_field, json_field};
pub use fields::{policy_field, rate_limit_field, retry_after};
pub use key::{Key, KeyBuilder, client_network};
pub use limiter::{Decision, Limiter, Quota, TRACKED_KEYS_MAX};
pub use registry::{LimiterId, Registry};
pub use rule::{By, Count, Limit, Parts};
pub use shared::{Flight, Shared, Taken};
