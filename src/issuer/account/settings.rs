//! `[issuing.users]` compiled: from what the operator typed to what is asked. Reads the database's
//! URL from where it is kept and the endpoint's authorities; connects to nothing.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::hash::Work;
use super::sql::{ColumnName, Columns, Location, ProbeError, SqlAccounts};
use super::upstream::UpstreamAccounts;
use super::verify::Works;
use super::{sql, upstream};
use crate::config::{
    self, Environment, Problem, Problems, Source, Spanned, SqlColumns, SqlUsers, UpstreamUsers,
    UserSource, Users,
};
use crate::policy::provider::Reach;
use crate::policy::tls;
use crate::secret::Secret;

/// Who has an account and who checks the password, ready to be opened.
pub struct Settings(pub(super) Kind);

/// The three of `[issuing.users]`.
pub(super) enum Kind {
    File(PathBuf),
    Sql(Box<sql::Settings>),
    Upstream(Box<upstream::Settings>),
}

impl Settings {
    /// Compiles the section; `None` when there are problems, or when only a command that may not
    /// run (`commands` is off) knows the database's URL.
    pub fn compile(
        users: &Users,
        source: &Source,
        environment: Environment<'_>,
        commands: bool,
        problems: &mut Problems,
    ) -> Option<Self> {
        match users.source()? {
            UserSource::File(file) => Some(Self(Kind::File(source.resolve(file.get_ref())))),
            UserSource::Sql(sql) => {
                let known = commands || sql.get_ref().url_command.is_none();
                let compiled = known.then(|| self::sql(sql, source, environment, problems))??;
                Some(Self(Kind::Sql(Box::new(compiled))))
            }
            UserSource::Upstream(upstream) => {
                let compiled = self::upstream(upstream.get_ref(), source, problems)?;
                Some(Self(Kind::Upstream(Box::new(compiled))))
            }
        }
    }

    /// The users file, if that is where accounts are.
    #[must_use]
    pub const fn file(&self) -> Option<&PathBuf> {
        match &self.0 {
            Kind::File(path) => Some(path),
            Kind::Sql(_) | Kind::Upstream(_) => None,
        }
    }

    /// Whether the table or the service could be asked, without asking for anybody; of a file there
    /// is nothing to ask. Within a runtime.
    ///
    /// # Errors
    ///
    /// [`ProbeError`]: every login would be answered with 503.
    pub async fn probe(self) -> Result<(), ProbeError> {
        match self.0 {
            Kind::File(_) => Ok(()),
            Kind::Sql(sql) => SqlAccounts::new(*sql, Handle::current()).probe().await,
            Kind::Upstream(upstream) => {
                let probed = UpstreamAccounts::new(*upstream).probe().await;
                probed.map_err(ProbeError::Unreachable)
            }
        }
    }
}

fn sql(
    raw: &Spanned<SqlUsers>,
    source: &Source,
    environment: Environment<'_>,
    problems: &mut Problems,
) -> Option<sql::Settings> {
    let (span, raw) = (raw.span(), raw.get_ref());
    let mut refuse = |error: String| problems.push(Problem::at(span.clone(), error));
    let url = match (&raw.url, raw.secret_url()) {
        (Some(url), _) => Secret::new(url.get_ref().0.clone()),
        (None, Some(kept)) => match kept.read(source.dir(), environment) {
            Ok(bytes) => {
                let text = std::str::from_utf8(bytes.expose()).ok()?;
                Secret::new(text.to_owned())
            }
            Err(error) => {
                refuse(error.to_string());
                return None;
            }
        },
        (None, None) => return None,
    };
    let timeout = raw.timeout.get_ref().get();
    let location = Location::parse(&url, source.dir(), raw.update.is_some(), timeout)
        .map_err(|error| refuse(error.to_string()));
    let works = kinds(raw, problems);
    Some(sql::Settings {
        location: location.ok()?,
        query: raw.query.get_ref().0.as_str().into(),
        update: raw.update.as_ref().map(|update| update.get_ref().0.as_str().into()),
        columns: columns(&raw.columns),
        works: works?,
        timeout,
        connections: u32::from(*raw.connections.get_ref()),
    })
}

fn kinds(raw: &SqlUsers, problems: &mut Problems) -> Option<Works> {
    let mut works = Vec::new();
    let mut fine = true;
    for kind in raw.kinds.spanned() {
        match kind.get_ref().0.parse::<Work>() {
            Ok(work) => works.push(work),
            Err(error) => {
                fine = false;
                problems.push(Problem::at(kind.span(), format!("this kind of hash {error}")).help(
                    "write the beginning of a hash as the table has it: \"$2y$12$\", \
                         \"$argon2id$v=19$m=19456,t=2,p=1$\"",
                ));
            }
        }
    }
    let works = Works::of(works).map_err(|error| {
        problems.push(Problem::at(raw.kinds.span(), format!("the table {error}")));
    });
    works.ok().filter(|_| fine)
}

fn columns(raw: &SqlColumns) -> Columns {
    let column = |given: &Option<Spanned<config::Text>>, default: &str| ColumnName {
        name: given.as_ref().map_or(default, |name| &name.get_ref().0).to_owned(),
        named: given.is_some(),
    };
    let claim = |(claim, name): (&Spanned<String>, &Spanned<config::Text>)| {
        let name = ColumnName { name: name.get_ref().0.clone(), named: true };
        (claim.get_ref().clone(), name)
    };
    Columns {
        subject: column(&raw.subject, "id"),
        password: column(&raw.password, "password_hash"),
        roles: column(&raw.roles, "roles"),
        permissions: column(&raw.permissions, "permissions"),
        disabled: column(&raw.disabled, "disabled"),
        enabled: column(&raw.enabled, "enabled"),
        claims: raw.claims.iter().map(claim).collect(),
    }
}

fn upstream(
    raw: &UpstreamUsers,
    source: &Source,
    problems: &mut Problems,
) -> Option<upstream::Settings> {
    let mut claims: std::collections::BTreeMap<String, String> = raw
        .claims
        .get_ref()
        .iter()
        .map(|(claim, pointer)| (claim.get_ref().clone(), pointer.get_ref().0.clone()))
        .collect();
    let (subject, roles, permissions) =
        (claims.remove("sub"), claims.remove("roles"), claims.remove("permissions"));
    let reach = reach(raw, source, problems);
    let fields = &raw.fields;
    Some(upstream::Settings {
        url: raw.url.get_ref().0.clone(),
        reach: reach?,
        fields: (fields.username.get_ref().0.clone(), fields.password.get_ref().0.clone()),
        subject: subject?,
        roles,
        permissions,
        claims,
    })
}

fn reach(raw: &UpstreamUsers, source: &Source, problems: &mut Problems) -> Option<Reach> {
    let ca = raw.ca.as_ref().map(|path| source.resolve(path.get_ref()));
    let plain = raw.url.get_ref().0.scheme() == "http";
    let tls = if plain {
        tls::client_config_trusting_nobody()
    } else {
        tls::client_config(ca.as_deref())
    };
    let tls = match tls {
        Ok(tls) => tls,
        Err(error) => {
            let place = raw.ca.as_ref().map_or_else(|| raw.url.span(), Spanned::span);
            problems.push(
                Problem::at(place, error.to_string())
                    .help("write ca = \"FILE\", the authorities of the endpoint's certificate"),
            );
            return None;
        }
    };
    Some(Reach {
        tls: Arc::clone(&tls),
        trust: ca.map_or_else(Box::default, |ca| ca.display().to_string().into()),
        addresses: raw.addresses.iter().map(|network| network.0).collect(),
        plain: true,
        timeout: raw.timeout.get_ref().get(),
    })
}

#[cfg(test)]
pub(super) mod tests;
