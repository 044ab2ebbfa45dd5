//! The question itself (RFC 7662 §2.1), and how the gateway says who asks (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};

use crate::policy::provider::{ClientAuthentication, Introspection};
use crate::secret::Secret;

/// Everything about the questions to one endpoint but the token.
pub(super) struct Question {
    authorization: Option<Secret<String>>,
    /// `client_id` and `client_secret`, encoded, where they go in the form.
    client: Option<Secret<String>>,
}

impl Question {
    pub(super) fn new(settings: &Introspection) -> Self {
        let (id, secret) = (&*settings.client_id, settings.client_secret.expose());
        match settings.authentication {
            ClientAuthentication::Basic => {
                Self { authorization: Some(basic(id, secret)), client: None }
            }
            ClientAuthentication::Post => {
                let mut form = Serializer::new(String::new());
                form.append_pair("client_id", id).append_pair("client_secret", secret);
                Self { authorization: None, client: Some(Secret::new(form.finish())) }
            }
        }
    }

    /// The whole value of `Authorization`.
    pub(super) const fn authorization(&self) -> Option<&Secret<String>> {
        self.authorization.as_ref()
    }

    /// The form that asks about this token.
    pub(super) fn form(&self, token: &str) -> Secret<String> {
        let client = self.client.as_ref().map_or("", |client| client.expose());
        // Room for everything, so that no copy of it is left behind; a token grows at most
        // threefold.
        let mut form = String::with_capacity(client.len() + token.len() * 3 + 64);
        form.push_str(client);
        let mut form = Serializer::new(form);
        form.append_pair("token", token).append_pair("token_type_hint", "access_token");
        Secret::new(form.finish())
    }
}

/// RFC 6749 §2.3.1: id and secret are form-encoded first, so that a colon in the id is none.
fn basic(id: &str, secret: &str) -> Secret<String> {
    let encode = |text: &str| Secret::new(byte_serialize(text.as_bytes()).collect::<String>());
    let (id, secret) = (encode(id), encode(secret));
    let pair = Secret::new(format!("{}:{}", id.expose(), secret.expose()));
    Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_secret_are_encoded_before_they_are_joined() {
        let value = basic("gate:way", "s\u{e9}c ret+%&");
        let encoded = value.expose().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(pair, "gate%3Away:s%C3%A9c+ret%2B%25%26");
    }

    #[test]
    fn a_token_cannot_add_to_the_form() {
        let question = Question { authorization: None, client: None };
        let form = question.form("a&client_id=b+/=");
        assert_eq!(form.expose(), "token=a%26client_id%3Db%2B%2F%3D&token_type_hint=access_token");
    }

    #[test]
    fn client_and_token_stand_in_one_form() {
        let client = Some(Secret::new("client_id=g&client_secret=s".to_owned()));
        let question = Question { authorization: None, client };
        assert_eq!(
            question.form("t").expose(),
            "client_id=g&client_secret=s&token=t&token_type_hint=access_token"
        );
    }
}
