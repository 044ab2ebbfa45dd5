//! `postern demo` and `postern dev`: a working system without a configuration file.
//!
//! Both write a real configuration with throw-away keys into a private directory and run the same
//! gateway as `postern run`; the directory goes when it ends.

mod files;
mod upstream;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use clap::Args;

use self::files::{Files, Persona};
use super::run::finish;
use super::{complain, private_directory};
use crate::config::{self, Options};
use crate::run::{self, environment};

/// Arguments of `postern demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the gateway listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443", value_parser = address)]
    listen: SocketAddr,
}

/// Arguments of `postern dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Your service, for example http://127.0.0.1:3000
    #[arg(value_name = "UPSTREAM")]
    upstream: String,
    /// Where the gateway listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443", value_parser = address)]
    listen: SocketAddr,
}

pub(super) fn demo(args: &DemoArgs, err: &mut dyn Write) -> u8 {
    let upstream = match upstream::spawn() {
        Ok(address) => address,
        Err(error) => {
            complain(err, &format!("the demo upstream cannot start: {error}"));
            return 1;
        }
    };
    let routes = DEMO_ROUTES;
    let url = format!("http://{upstream}");
    serve(args.listen, &url, routes, &[Persona::User, Persona::Admin], show_demo, err)
}

pub(super) fn dev(args: &DevArgs, err: &mut dyn Write) -> u8 {
    let Some(url) = service(&args.upstream) else {
        complain(
            err,
            &format!(
                "{:?} is not the URL of a service: write http://127.0.0.1:3000, without a path",
                args.upstream
            ),
        );
        return 2;
    };
    serve(args.listen, &url, DEV_ROUTES, &[Persona::User], show_dev, err)
}

/// The URL of a service; `localhost:3000` means http.
fn service(text: &str) -> Option<String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: http::Uri = url.parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    bare.then(|| format!("{scheme}://{authority}"))
}

/// An address to listen on; a bare port is one of the loopback address.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:8443".to_owned())
}

const DEMO_ROUTES: &str = r#"
[issuing]
issuer = "https://login.postern.invalid"
audiences = ["https://api.postern.invalid"]

[[issuing.keys]]
kid = "demo-login"
algorithm = "ES256"
private_key_file = "issuing.pem"

[issuing.users]
file = "users"

[[routes]]
name = "public"
path = "/public/*"
auth = "none"
upstream = "app"

[[routes]]
name = "login"
path = "/login"
methods = ["POST"]
auth = "none"
upstream = "app"
limits = [{ by = "client", rate = "3/1m" }]

[[routes]]
name = "api"
path = "/api/*"
upstream = "app"

[[routes]]
name = "admin"
path = "/api/admin/*"
upstream = "app"
require = { roles = ["admin"] }
"#;

/// What alice logs in with.
const CREDENTIALS: &str = r#"{"username":"alice","password":"the demo password"}"#;

const DEV_ROUTES: &str = r#"
[[routes]]
name = "everything"
path = "/*"
upstream = "app"
upgrade = ["websocket"]
"#;

/// Writes the files, runs the gateway, tidies up.
fn serve(
    listen: SocketAddr,
    upstream: &str,
    routes: &str,
    personas: &[Persona],
    show: fn(&Path, &str, &mut dyn Write) -> std::io::Result<()>,
    err: &mut dyn Write,
) -> u8 {
    let dir = match private_directory("demo") {
        Ok(dir) => dir,
        Err(text) => {
            complain(err, &text);
            return 1;
        }
    };
    let files = Files { dir: &dir, listen, upstream, routes, personas };
    let code = match files.write() {
        Ok(text) => run_in(&dir, text, show, err),
        Err(text) => {
            complain(err, &text);
            1
        }
    };
    drop(std::fs::remove_dir_all(&dir));
    code
}

fn run_in(
    dir: &Path,
    text: String,
    show: fn(&Path, &str, &mut dyn Write) -> std::io::Result<()>,
    err: &mut dyn Write,
) -> u8 {
    let name = dir.join("postern.toml").display().to_string();
    let source = config::Source::new(name, dir, text);
    let loaded = match config::parse(source, &[], &environment, Options::ONLINE) {
        Ok(loaded) => loaded,
        Err(failure) => {
            complain(err, &failure.to_string());
            return 2;
        }
    };
    let place = dir.to_owned();
    let options = run::Options {
        file: None,
        sets: Vec::new(),
        ready_file: None,
        on_ready: Box::new(move |addresses| {
            let address = addresses.get("https").and_then(|list| list.get(0)?.as_str());
            // Nobody reads: the gateway runs all the same.
            drop(show(&place, address.unwrap_or_default(), &mut std::io::stdout()));
        }),
    };
    finish(run::run(loaded, options), err)
}

/// `curl` with everything that every line needs.
fn curl(dir: &Path) -> String {
    format!("curl -s --cacert {}/cert.pem", dir.display())
}

fn bearer(dir: &Path, who: &str) -> String {
    format!("-H \"Authorization: Bearer $(cat {}/{who}.token)\"", dir.display())
}

/// The command line of this very program.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "postern".into(), |path| path.display().to_string())
}

fn show_demo(dir: &Path, address: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let (curl, place) = (curl(dir), dir.display());
    let (user, admin) = (bearer(dir, "user"), bearer(dir, "admin"));
    let url = format!("https://{address}");
    let status = "-o /dev/null -w '%{http_code}\\n'";
    let login = format!("-H 'Content-Type: application/json' -d '{CREDENTIALS}'");
    let token = format!("$(sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/' {place}/alice.json)");
    let alice = format!("-H \"Authorization: Bearer {token}\"");
    let status_and_tokens = format!("-o {place}/alice.json -w '%{{http_code}}\\n'");
    let revoke = format!("{} revoke --config {place}/postern.toml", program());
    writeln!(
        out,
        "Postern is running at {url} in front of a small service that shows what it receives.

Try these in another terminal; each prints what stands above it:

# 200, and who the upstream was told is calling
  {curl} {user} {url}/api/hello
# 200 without a token: a public route
  {curl} {status} {url}/public/hello
# 401: no token
  {curl} {status} {url}/api/hello
# 403: a valid token without the role admin
  {curl} {status} {user} {url}/api/admin/users
# 200: with the role
  {curl} {status} {admin} {url}/api/admin/users
# 200 200 200 429: three attempts a minute
  for i in 1 2 3 4; do {curl} {status} -X POST {url}/login; done
# revoke the user's token; the next request with it is 401
  {revoke} --token-file {place}/user.token
  {curl} {status} {user} {url}/api/hello
# 200 200 204 401: Postern issues tokens too: log in, call, log out, and the token is dead
  {curl} {status_and_tokens} {login} {url}/_postern/login
  {curl} {status} {alice} {url}/api/hello
  {curl} {status} {alice} -X POST {url}/_postern/logout
  {curl} {status} {alice} {url}/api/hello

Everything lies in {place} until you press Ctrl-C."
    )?;
    out.flush()
}

fn show_dev(dir: &Path, address: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let (curl, place) = (curl(dir), dir.display());
    let user = bearer(dir, "user");
    writeln!(
        out,
        "Postern is running at https://{address} in front of your service: every path needs a token.

# your service answers
  {curl} -i {user} https://{address}/
# 401: no token
  {curl} -i https://{address}/

The token, for other clients (valid for a day):

{token}

Everything lies in {place} until you press Ctrl-C.",
        token = std::fs::read_to_string(dir.join("user.token"))?.trim(),
    )?;
    out.flush()
}
