//! Binding every configured address before anything is served.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use crate::config::{Address, Config, ListOrOff, Source};
use crate::server::Site;
use crate::server::listener::{Bound, bind, bind_unix};

/// A listener that workers share, and what it is for.
pub struct Public {
    /// What it is for.
    pub site: Site,
    /// Its sockets, one a worker.
    pub sockets: Sockets,
}

/// One socket a worker.
pub enum Sockets {
    /// TCP.
    Tcp(Bound<TcpListener>),
    /// A unix socket.
    Unix(Bound<UnixListener>),
}

/// Everything that is bound.
pub struct Listeners {
    /// Served by the workers.
    pub public: Vec<Public>,
    /// The admin listeners.
    pub admin: Vec<Bound<TcpListener>>,
    /// The health listeners.
    pub health: Vec<Bound<TcpListener>>,
}

impl Listeners {
    /// Binds all.
    ///
    /// # Errors
    ///
    /// The first address that cannot be had, and why.
    pub fn bind(config: &Config, source: &Source, workers: usize) -> Result<Self, String> {
        let listen = &config.listen;
        let mut public = Vec::new();
        let sites = [
            (Site::Https, &listen.https),
            (Site::Redirect, &listen.http),
            (Site::Plain, &listen.plain),
        ];
        for (site, addresses) in sites {
            for address in addresses.spanned() {
                let sockets = match address.get_ref() {
                    Address::Tcp(address) => bind(*address, workers)
                        .map(Sockets::Tcp)
                        .map_err(|error| cannot(&address.to_string(), &error))?,
                    Address::Unix(path) => {
                        let path = source.resolve(path);
                        bind_unix(&path, workers)
                            .map(Sockets::Unix)
                            .map_err(|error| cannot(&format!("unix:{}", path.display()), &error))?
                    }
                };
                public.push(Public { site, sockets });
            }
        }
        let admin = own(&config.admin.listen)?;
        let health = own(&listen.health)?;
        Ok(Self { public, admin, health })
    }

    /// `{"pid","https":[...],"http":[...],"plain":[...],"admin":[...],"health":[...]}`.
    #[must_use]
    pub fn document(&self) -> serde_json::Value {
        let of = |wanted: Site| -> Vec<&str> {
            let public = self.public.iter().filter(|public| public.site == wanted);
            public.map(|public| public.sockets.address()).collect()
        };
        let own = |bound: &[Bound<TcpListener>]| -> Vec<String> {
            bound.iter().map(|bound| bound.address.clone()).collect()
        };
        serde_json::json!({
            "pid": std::process::id(),
            "https": of(Site::Https),
            "http": of(Site::Redirect),
            "plain": of(Site::Plain),
            "admin": own(&self.admin),
            "health": own(&self.health),
        })
    }
}

impl Sockets {
    fn address(&self) -> &str {
        match self {
            Self::Tcp(bound) => &bound.address,
            Self::Unix(bound) => &bound.address,
        }
    }
}

fn own(addresses: &ListOrOff<Address>) -> Result<Vec<Bound<TcpListener>>, String> {
    addresses
        .spanned()
        .iter()
        .map(|address| match address.get_ref() {
            Address::Tcp(address) => {
                bind(*address, 1).map_err(|error| cannot(&address.to_string(), &error))
            }
            Address::Unix(path) => {
                Err(format!("unix:{}: only [listen] plain takes a unix socket", path.display()))
            }
        })
        .collect()
}

fn cannot(address: &str, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program, perhaps another gateway, has it: stop that one or choose another \
             address ([listen], [admin], or --listen of demo and dev)"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    };
    format!("cannot listen on {address}: {error}{hint}")
}
