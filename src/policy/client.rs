//! What `[[clients]]` compiles to: who may get tokens in its own name, ask about tokens, revoke.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::{ClientKeys, ClientSecretHashes, Issuers};

/// Every client, and what verifies their tokens.
#[derive(Debug, Default)]
pub struct Clients {
    by_id: BTreeMap<Box<str>, Arc<Client>>,
    /// Accepts what Postern has issued, for whomever: a client's tokens may be for services that
    /// are not behind this gateway.
    pub issued: Issuers,
}

/// One of `[[clients]]`.
#[derive(Debug)]
pub struct Client {
    /// `client_id`.
    pub id: Box<str>,
    /// How it says who it is.
    pub credentials: Credentials,
    /// Whether it gets tokens in its own name (RFC 6749 §4.4).
    pub client_credentials: bool,
    /// For whom its tokens may be; never empty.
    pub audiences: Vec<String>,
    /// `roles` of its tokens.
    pub roles: Vec<String>,
    /// `permissions` of its tokens.
    pub permissions: Vec<String>,
    /// What it may ask for with `scope`.
    pub scopes: Vec<String>,
    /// Whether it may ask about tokens.
    pub may_introspect: bool,
    /// Whether it may revoke the tokens of others.
    pub may_revoke_any: bool,
}

/// How a client says who it is: in one way (RFC 6749 §2.3).
#[derive(Debug)]
pub enum Credentials {
    /// By an assertion that one of these keys has signed.
    Keys(ClientKeys),
    /// By a secret with one of these hashes.
    Secret(ClientSecretHashes),
}

impl Clients {
    /// These clients.
    #[must_use]
    pub fn new(clients: Vec<Client>, issued: Issuers) -> Self {
        let with_id = |client: Client| (client.id.clone(), Arc::new(client));
        Self { by_id: clients.into_iter().map(with_id).collect(), issued }
    }

    /// The client with this id, exactly.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Arc<Client>> {
        self.by_id.get(id)
    }

    /// Every client.
    pub fn all(&self) -> impl Iterator<Item = &Client> {
        self.by_id.values().map(|client| &**client)
    }
}
