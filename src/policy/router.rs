//! Host, path, method → route. Compiled once; a look-up allocates nothing.
//!
//! Host first (exact, then `*.example.com`, then any), then the longest path, then the method.
//! A path without a rule is nobody's (R18): the router never falls back to a shorter path because
//! a method is missing.

use std::collections::HashMap;

use http::Method;

/// A route's position in [`super::Snapshot::routes`].
pub type RouteIndex = usize;

/// Which requests a route is for, as far as the router cares.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Lower-case host names, `*.example.com`, or none for any host.
    pub hosts: Vec<String>,
    /// The path without its `/*`; `""` for `/*` itself.
    pub path: String,
    /// Whether everything below the path belongs to the route as well (`/*`).
    pub prefix: bool,
    /// Upper-case method tokens; none for all but TRACE and CONNECT.
    pub methods: Vec<Method>,
}

/// What the router found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// The route.
    Route(RouteIndex),
    /// The path has routes, but none for this method; the `Allow` value.
    MethodNotAllowed(&'r str),
    /// No route.
    Nothing,
}

/// Two routes that no request could tell apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The earlier route.
    pub first: RouteIndex,
    /// The later route.
    pub second: RouteIndex,
}

/// All routes.
#[derive(Clone, Debug, Default)]
pub struct Router {
    exact: HashMap<String, Paths, foldhash::fast::RandomState>,
    /// Longest suffix first; stored with the leading dot.
    wildcard: Vec<(String, Paths)>,
    any: Paths,
}

#[derive(Clone, Debug, Default)]
struct Paths {
    exact: HashMap<String, Methods, foldhash::fast::RandomState>,
    prefix: HashMap<String, Methods, foldhash::fast::RandomState>,
}

#[derive(Clone, Debug, Default)]
struct Methods {
    named: Vec<(Method, RouteIndex)>,
    all: Option<RouteIndex>,
    allow: String,
}

impl Router {
    /// Compiles the patterns; the position in the slice is the route's index.
    ///
    /// # Errors
    ///
    /// Every pair of routes that claim the same host, path and method.
    pub fn new(patterns: &[Pattern]) -> Result<Self, Vec<Conflict>> {
        let mut router = Self::default();
        let mut conflicts = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            if pattern.hosts.is_empty() {
                router.any.insert(pattern, index, &mut conflicts);
            }
            for host in &pattern.hosts {
                router.paths_mut(host).insert(pattern, index, &mut conflicts);
            }
        }
        router.wildcard.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        if conflicts.is_empty() { Ok(router) } else { Err(conflicts) }
    }

    /// The route for a request. `host` is lower case and without port; `path` is canonical.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Found<'_> {
        self.tables(host)
            .find_map(|paths| paths.longest(path))
            .map_or(Found::Nothing, |methods| methods.find(method))
    }

    /// Whether any route names this host.
    #[must_use]
    pub fn names_host(&self, host: &str) -> bool {
        self.exact.contains_key(host)
            || self.wildcard.iter().any(|(suffix, _)| covers(suffix, host))
    }

    fn tables<'r>(&'r self, host: &str) -> impl Iterator<Item = &'r Paths> {
        let wildcard = self.wildcard.iter().find(|(suffix, _)| covers(suffix, host));
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        exact.into_iter().chain(wildcard.map(|(_, paths)| paths)).chain([&self.any])
    }

    fn paths_mut(&mut self, host: &str) -> &mut Paths {
        let Some(suffix) = host.strip_prefix('*') else {
            return self.exact.entry(host.to_owned()).or_default();
        };
        let at = self.wildcard.iter().position(|(have, _)| have == suffix).unwrap_or_else(|| {
            self.wildcard.push((suffix.to_owned(), Paths::default()));
            self.wildcard.len() - 1
        });
        match self.wildcard.get_mut(at) {
            Some((_, paths)) => paths,
            None => &mut self.any,
        }
    }
}

/// `.example.com` covers `a.example.com` and `a.b.example.com`, not `example.com`.
fn covers(suffix: &str, host: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|below| !below.is_empty())
}

impl Paths {
    fn insert(&mut self, pattern: &Pattern, index: RouteIndex, conflicts: &mut Vec<Conflict>) {
        let path = pattern.path.as_str();
        if pattern.prefix {
            self.prefix.entry(path.to_owned()).or_default().add(pattern, index, conflicts);
            return;
        }
        self.exact.entry(path.to_owned()).or_default().add(pattern, index, conflicts);
        if !path.ends_with('/') {
            self.exact.entry(format!("{path}/")).or_default().add(pattern, index, conflicts);
        }
    }

    /// The exact path, else the longest prefix that ends at a segment border.
    fn longest(&self, path: &str) -> Option<&Methods> {
        if let Some(methods) = self.exact.get(path) {
            return Some(methods);
        }
        if self.prefix.is_empty() {
            return None;
        }
        let mut head = path;
        loop {
            if let Some(methods) = self.prefix.get(head) {
                return Some(methods);
            }
            head = head.rsplit_once('/')?.0;
        }
    }
}

impl Methods {
    fn add(&mut self, pattern: &Pattern, index: RouteIndex, conflicts: &mut Vec<Conflict>) {
        if pattern.methods.is_empty() {
            match self.all {
                Some(first) if first != index => conflicts.push(Conflict { first, second: index }),
                _ => self.all = Some(index),
            }
            return;
        }
        for method in with_head(&pattern.methods) {
            match self.named.iter().find(|(have, _)| *have == method) {
                Some((_, first)) if *first != index => {
                    conflicts.push(Conflict { first: *first, second: index });
                }
                Some(_) => {}
                None => self.named.push((method, index)),
            }
        }
        let names: Vec<&str> = self.named.iter().map(|(method, _)| method.as_str()).collect();
        self.allow = names.join(", ");
    }

    /// A method that is named wins over a route for all methods.
    fn find(&self, method: &Method) -> Found<'_> {
        if let Some((_, index)) = self.named.iter().find(|(have, _)| have == method) {
            return Found::Route(*index);
        }
        match self.all {
            Some(index) if !matches!(*method, Method::TRACE | Method::CONNECT) => {
                Found::Route(index)
            }
            _ => Found::MethodNotAllowed(&self.allow),
        }
    }
}

/// A route for GET answers HEAD as well (RFC 9110 §9.3.2).
fn with_head(methods: &[Method]) -> impl Iterator<Item = Method> + '_ {
    let head = methods.contains(&Method::GET) && !methods.contains(&Method::HEAD);
    methods.iter().cloned().chain(head.then_some(Method::HEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(hosts: &[&str], path: &str, methods: &[Method]) -> Pattern {
        let (path, prefix) = match path.strip_suffix("/*") {
            Some(head) => (head, true),
            None => (path, false),
        };
        Pattern {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            path: path.to_owned(),
            prefix,
            methods: methods.to_vec(),
        }
    }

    fn route(router: &Router, host: &str, path: &str) -> Option<RouteIndex> {
        match router.find(host, path, &Method::GET) {
            Found::Route(index) => Some(index),
            Found::MethodNotAllowed(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment_border() {
        let router = Router::new(&[pattern(&[], "/api/*", &[])]).unwrap();
        for path in ["/api", "/api/", "/api/x", "/api/x/y"] {
            assert_eq!(route(&router, "h", path), Some(0), "{path}");
        }
        for path in ["/apix", "/ap", "/", "/API", "/x/api"] {
            assert_eq!(route(&router, "h", path), None, "{path}");
        }
    }

    #[test]
    fn the_longest_path_wins_whatever_the_order() {
        let router = Router::new(&[
            pattern(&[], "/*", &[]),
            pattern(&[], "/a/b/*", &[]),
            pattern(&[], "/a/*", &[]),
            pattern(&[], "/a/b", &[]),
        ])
        .unwrap();
        assert_eq!(route(&router, "h", "/"), Some(0));
        assert_eq!(route(&router, "h", "/a/c"), Some(2));
        assert_eq!(route(&router, "h", "/a/b/c"), Some(1));
        assert_eq!(route(&router, "h", "/a/b"), Some(3));
        assert_eq!(route(&router, "h", "/a/b/"), Some(3));
        assert_eq!(route(&router, "h", "/ab"), Some(0));
    }

    #[test]
    fn a_missing_method_is_405_and_never_a_shorter_path() {
        let router = Router::new(&[
            pattern(&[], "/*", &[]),
            pattern(&[], "/login", &[Method::POST, Method::GET]),
        ])
        .unwrap();
        assert_eq!(
            router.find("h", "/login", &Method::DELETE),
            Found::MethodNotAllowed("POST, GET, HEAD")
        );
        assert_eq!(router.find("h", "/login", &Method::HEAD), Found::Route(1));
        assert_eq!(router.find("h", "/x", &Method::TRACE), Found::MethodNotAllowed(""));
    }

    #[test]
    fn host_comes_first() {
        let router = Router::new(&[
            pattern(&[], "/a/b/*", &[]),
            pattern(&["*.example.com"], "/a/*", &[]),
            pattern(&["api.example.com"], "/*", &[]),
        ])
        .unwrap();
        assert_eq!(route(&router, "api.example.com", "/a/b/c"), Some(2));
        assert_eq!(route(&router, "www.example.com", "/a/b/c"), Some(1));
        assert_eq!(route(&router, "x.www.example.com", "/a/b/c"), Some(1));
        assert_eq!(route(&router, "wwwexample.com", "/a/b/c"), Some(0));
        assert_eq!(route(&router, "example.com", "/a/b/c"), Some(0));
        assert_eq!(route(&router, "www.example.com", "/zzz"), None);
    }

    #[test]
    fn two_equal_routes_are_an_error() {
        let clash = Router::new(&[
            pattern(&[], "/a", &[Method::GET]),
            pattern(&[], "/a", &[Method::POST, Method::HEAD]),
        ]);
        assert_eq!(clash.unwrap_err().first(), Some(&Conflict { first: 0, second: 1 }));
        assert!(
            Router::new(&[pattern(&[], "/a", &[]), pattern(&[], "/a", &[Method::POST])]).is_ok()
        );
    }
}
