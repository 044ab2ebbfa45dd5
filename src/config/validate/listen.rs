//! `[listen]`, `[admin]` and `[tls]`.

use toml::Spanned;

use super::super::Config;
use super::super::address::Address;
use super::super::list::ListOrOff;
use super::super::listen::ProxyProtocol;
use super::super::problem::{Problem, Problems};
use super::super::shape::Declared;
use super::{SecretKeys, distinct};

pub(super) fn validate(config: &Config, declared: &Declared, problems: &mut Problems) {
    let listen = &config.listen;
    let listeners = [
        ("listen.https", &listen.https),
        ("listen.http", &listen.http),
        ("listen.plain", &listen.plain),
        ("listen.health", &listen.health),
        ("admin.listen", &config.admin.listen),
    ];
    for (name, addresses) in listeners {
        if let ListOrOff::On(list) = addresses
            && list.is_empty()
        {
            problems.push(
                Problem::at(list.span(), format!("{name} is an empty list"))
                    .help("write \"off\" for none"),
            );
        }
    }
    collisions(listeners.map(|(_, addresses)| addresses), problems);
    if listen.https.is_off() && listen.plain.is_off() {
        problems.push(
            Problem::new("nothing to serve: listen.https and listen.plain are both off")
                .help("write https = \"0.0.0.0:8443\" in [listen]"),
        );
    }
    // `certificates = [...]` with errors in it leaves none here, and has been reported.
    if !listen.https.is_off() && config.tls.certificates.is_empty() && !declared.certificates {
        let at = listen.https.spanned().first().map_or(0..0, Spanned::span);
        problems.push(Problem::at(at, "https needs a certificate, and [tls] has none").help(
            "write certificates = [{ cert = \"FILE\", key = \"FILE\" }] in [tls], or https = \
             \"off\"",
        ));
    }
    trust(config, problems);
    SecretKeys {
        stem: "secret",
        file: &config.admin.secret_file,
        env: &config.admin.secret_env,
        command: &config.admin.secret_command,
    }
    .validate(problems);
}

/// Two listeners on one address. Port 0 is another port each time.
fn collisions(listeners: [&ListOrOff<Address>; 5], problems: &mut Problems) {
    let fixed = |address: &&Spanned<Address>| match address.get_ref() {
        Address::Tcp(address) => address.port() != 0,
        Address::Unix(_) => true,
    };
    let all = listeners.into_iter().flat_map(ListOrOff::spanned).filter(fixed);
    distinct(all, "another listener has this address", problems);
}

/// Listeners that serve only trusted peers need some.
fn trust(config: &Config, problems: &mut Problems) {
    let listen = &config.listen;
    let nobody = listen.trusted_proxies.is_empty();
    for address in listen.plain.spanned() {
        if nobody && matches!(address.get_ref(), Address::Tcp(_)) {
            problems.push(
                Problem::at(
                    address.span(),
                    "a plain listener serves trusted proxies alone, and \
                                             none is named",
                )
                .help("write trusted_proxies = [\"10.0.0.0/8\"], or listen on \"unix:PATH\""),
            );
        }
    }
    if nobody && *listen.proxy_protocol.get_ref() != ProxyProtocol::Off {
        problems.push(
            Problem::at(
                listen.proxy_protocol.span(),
                "the PROXY protocol is believed from trusted proxies alone, and none is named",
            )
            .help("write trusted_proxies = [\"10.0.0.0/8\"]"),
        );
    }
}
