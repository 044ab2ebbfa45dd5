//! Verbs that talk to the running gateway's admin listener.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::token::Format;
use super::{ConfigArgs, complain};
use crate::config::{Address, Loaded, Options};
use crate::run::{environment, state};
use crate::secret::Secret;

/// A gateway that does not answer for this long is not there.
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which gateway.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `postern status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The admin listener of a gateway.
pub(super) struct Remote {
    address: String,
    secret: Secret<String>,
}

/// What it said.
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

/// Why it said nothing.
pub(super) enum Silence {
    /// Nobody listens there.
    Down(String),
    /// Somebody listens, but something went wrong.
    Failed(String),
}

impl Remote {
    /// The gateway that runs with this configuration.
    pub(super) fn of(loaded: &Loaded) -> Result<Self, String> {
        let dir = loaded.source.resolve(loaded.config.state.dir.get_ref());
        let running = state::addresses(&dir)
            .and_then(|document| Some(document.get("admin")?.get(0)?.as_str()?.to_owned()));
        let configured = loaded.config.admin.listen.spanned().iter().find_map(|address| {
            match address.get_ref() {
                Address::Tcp(address) => Some(address.to_string()),
                Address::Unix(_) => None,
            }
        });
        let address = running.or(configured).ok_or("the configuration has no admin listener")?;
        let secret = match loaded.config.admin.secret() {
            None => state::admin_secret(&dir).map_err(|error| error.to_string())?,
            Some(source) => {
                let bytes = source
                    .read(loaded.source.dir(), &environment)
                    .map_err(|error| error.to_string())?;
                let text = String::from_utf8(bytes.expose().clone());
                Secret::new(text.map_err(|_| "the admin secret is not text")?)
            }
        };
        Ok(Self { address, secret })
    }

    /// One request and its answer.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Said, Silence> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Silence::Failed(error.to_string()))?;
        let asked = async {
            tokio::time::timeout(TIMEOUT, self.exchange(method, path, body))
                .await
                .map_err(|_| Silence::Failed(format!("{} does not answer", self.address)))?
        };
        runtime.block_on(asked)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Said, Silence> {
        let failed = |error: &dyn std::error::Error| Silence::Failed(error.to_string());
        let stream = TcpStream::connect(&self.address).await.map_err(|error| {
            Silence::Down(format!("no gateway answers at {}: {error}", self.address))
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        drop(tokio::spawn(connection));
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {}", self.secret.expose()))
            .header("content-type", "application/json")
            .body(Full::new(bytes))
            .map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| Silence::Failed(error.to_string()))?
            .to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).trim().to_owned());
        Ok(Said { status, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) })
    }
}

impl Said {
    /// What a refusal says, for people.
    pub(super) fn detail(&self) -> String {
        let detail = self.body.get("detail").unwrap_or(&self.body).as_str();
        detail.map_or_else(|| format!("the gateway answered {}", self.status), str::to_owned)
    }
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Down(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

pub(super) fn status(args: &StatusArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    talk(&args.config, Method::GET, "/status", err, |said| {
        let text = match args.format {
            Format::Json => said.body.to_string(),
            Format::Text => lines(&said.body, ""),
        };
        u8::from(writeln!(out, "{}", text.trim_end()).is_err())
    })
}

pub(super) fn reload(args: &GatewayArgs, err: &mut dyn Write) -> u8 {
    let mut warnings = Vec::new();
    let code = talk(&args.config, Method::POST, "/reload", err, |said| {
        let said = said.body.get("warnings").and_then(Value::as_array).into_iter().flatten();
        warnings.extend(said.filter_map(Value::as_str).map(str::to_owned));
        0
    });
    for warning in warnings {
        complain(err, &format!("warning: {warning}"));
    }
    code
}

pub(super) fn healthcheck(args: &GatewayArgs, err: &mut dyn Write) -> u8 {
    talk(&args.config, Method::GET, "/readyz?verbose", err, |_| 0)
}

/// Asks and hands a good answer on; anything else is exit code 1 with a word why.
pub(super) fn talk(
    config: &ConfigArgs,
    method: Method,
    path: &str,
    err: &mut dyn Write,
    then: impl FnOnce(&Said) -> u8,
) -> u8 {
    let loaded = match config.load(Options::ONLINE) {
        Ok(loaded) => loaded,
        Err(text) => {
            complain(err, &text);
            return 2;
        }
    };
    let asked = Remote::of(&loaded)
        .and_then(|remote| remote.ask(method, path, None).map_err(|silence| silence.to_string()));
    match asked {
        Ok(said) if said.status.is_success() => then(&said),
        Ok(said) => {
            complain(err, &said.detail());
            1
        }
        Err(text) => {
            complain(err, &text);
            1
        }
    }
}

/// A JSON document as lines of `name: value`.
fn lines(value: &Value, name: &str) -> String {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                lines(value, &name)
            })
            .collect(),
        Value::Array(elements) => elements.iter().map(|element| lines(element, name)).collect(),
        Value::Null => String::new(),
        Value::String(text) => format!("{name}: {text}\n"),
        Value::Bool(_) | Value::Number(_) => format!("{name}: {value}\n"),
    }
}
