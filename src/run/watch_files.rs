//! Certificate and key files, looked at once a second: that also notices a renamed directory, a
//! replaced link (Kubernetes) and a bind-mounted file, which change notifications miss.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{ClientAuth, Config, Source, UserSource};

/// What tells one version of a file from another.
type Version = Option<(u64, i64, i64, u64)>;

/// The files of one configuration, as they were when last looked at.
pub(super) struct WatchedFiles {
    files: Vec<(PathBuf, Version)>,
    /// A change was seen at the last look; it counts once the files hold still.
    unsettled: bool,
}

impl WatchedFiles {
    pub(super) fn of(config: &Config, source: &Source) -> Self {
        let mut paths: Vec<&Path> = Vec::new();
        for pair in &config.tls.certificates {
            paths.extend(
                [pair.get_ref().cert.get_ref(), pair.get_ref().key.get_ref()].map(|p| p.as_path()),
            );
        }
        if let ClientAuth::On { ca, .. } = config.tls.client_auth.get_ref() {
            paths.push(ca.get_ref());
        }
        for upstream in config.upstreams.values() {
            paths.extend(upstream.ca.as_ref().map(|ca| ca.get_ref().as_path()));
            let assertion = upstream.assertion.iter();
            for key in assertion.flat_map(|assertion| &assertion.get_ref().keys) {
                let files = [&key.get_ref().private_key_file, &key.get_ref().secret_file];
                paths.extend(files.into_iter().flatten().map(|file| file.get_ref().as_path()));
            }
        }
        for issuer in &config.issuers {
            let issuer = issuer.get_ref();
            let files = [&issuer.jwks_file, &issuer.ca, &issuer.client_secret_file];
            paths.extend(files.into_iter().flatten().map(|file| file.get_ref().as_path()));
            for key in &issuer.keys {
                let key = key.get_ref();
                let files = [&key.public_key_file, &key.secret_file];
                paths.extend(files.into_iter().flatten().map(|file| file.get_ref().as_path()));
            }
        }
        for client in &config.clients {
            let client = client.get_ref();
            let files = [&client.jwks_file, &client.secret_hash_file];
            paths.extend(files.into_iter().flatten().map(|file| file.get_ref().as_path()));
        }
        if let Some(issuing) = &config.issuing {
            let issuing = issuing.get_ref();
            for key in &issuing.keys {
                let key = key.get_ref();
                let files = [&key.private_key_file, &key.secret_file];
                paths.extend(files.into_iter().flatten().map(|file| file.get_ref().as_path()));
            }
            let cookies = issuing.cookies.as_ref();
            let secret = cookies.and_then(|cookies| cookies.get_ref().cookie_secret_file.as_ref());
            paths.extend(secret.map(|file| file.get_ref().as_path()));
            // The users file is looked at by whoever reads it.
            let source = issuing.users.as_ref().and_then(|users| users.get_ref().source());
            match source {
                Some(UserSource::Sql(sql)) => {
                    let file = &sql.get_ref().url_file;
                    paths.extend(file.as_ref().map(|file| file.get_ref().as_path()));
                }
                Some(UserSource::Upstream(upstream)) => {
                    let ca = &upstream.get_ref().ca;
                    paths.extend(ca.as_ref().map(|ca| ca.get_ref().as_path()));
                }
                Some(UserSource::File(_)) | None => {}
            }
        }
        let files = paths
            .into_iter()
            .map(|path| source.resolve(path))
            .map(|path| {
                let version = version(&path);
                (path, version)
            })
            .collect();
        Self { files, unsettled: false }
    }

    /// Whether files have changed and have then held still for one look, so that a certificate
    /// and its key are read as a pair.
    pub(super) fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, known) in &mut self.files {
            let now = version(path);
            changed |= now != *known;
            *known = now;
        }
        let settled = self.unsettled && !changed;
        self.unsettled = changed;
        settled
    }
}

fn version(path: &Path) -> Version {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}
