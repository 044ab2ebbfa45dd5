//! Tests of the issuer.
