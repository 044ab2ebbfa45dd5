//! As much of a browser as a login needs: cookies, redirects on its own host, forms.

use std::collections::BTreeMap;

use super::client::{Answer, Endpoint, Request};

/// Redirects in a row before it counts as a loop.
const REDIRECTS_MAX: usize = 10;

/// A browser that has one site open.
pub struct Browser {
    site: Endpoint,
    cookies: BTreeMap<String, String>,
}

/// Where it came to.
pub struct Page {
    /// The target on the site; a whole URL when the site sent it elsewhere.
    pub target: String,
    answer: Answer,
}

impl Browser {
    pub fn new(site: Endpoint) -> Self {
        Self { site, cookies: BTreeMap::new() }
    }

    /// Opens a page.
    pub fn get(&mut self, target: &str) -> Page {
        self.follow(target, |site| site.request("GET", target))
    }

    /// Sends a form.
    pub fn post(&mut self, target: &str, form: &str) -> Page {
        self.follow(target, |site| site.request("POST", target).form(form))
    }

    fn follow(&mut self, target: &str, first: impl Fn(&Endpoint) -> Request) -> Page {
        let mut target = target.to_owned();
        let mut request = first(&self.site);
        for _ in 0..REDIRECTS_MAX {
            let cookies: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("Connection", "close").header("Cookie", &cookies.join("; "));
            let answer = request.send();
            for line in answer.all("set-cookie") {
                let pair = line.split(';').next().unwrap_or_default();
                let (name, value) = pair.split_once('=').expect("a cookie");
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            self.cookies.retain(|_, value| !value.is_empty());
            let Some(place) = answer.header("location").map(str::to_owned) else {
                return Page { target, answer };
            };
            let site = format!("http://{}", self.site.host);
            target = place.strip_prefix(&site).unwrap_or(&place).to_owned();
            if !target.starts_with('/') {
                return Page { target, answer };
            }
            request = self.site.request("GET", &target);
        }
        panic!("too many redirects, the last to {target}");
    }
}

impl Page {
    /// A parameter of the URL that it came to.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }

    /// The value of a hidden field of its form.
    pub fn field(&self, name: &str) -> String {
        let html = self.answer.text();
        let behind = html.split(&format!("name=\"{name}\"")).nth(1);
        let value = behind.and_then(|rest| rest.split("value=\"").nth(1)?.split('"').next());
        value.unwrap_or_else(|| panic!("no field {name} on {}: {html}", self.target)).to_owned()
    }
}
