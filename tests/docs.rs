//! What the documents say is so: verbs, options, reasons, configuration keys, links and symbols
//! that they name exist, and every example is a configuration that passes `postern check`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` whose names end in `end`, by path from the repository's root.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root().join(folder)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    found.sort();
    found
}

/// Every page for people, by path from the repository's root.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = vec!["README.md".into(), "CHANGELOG.md".into()];
    for folder in ["benches", "certs", "docs"] {
        pages.extend(files(folder, ".md"));
    }
    pages.into_iter().map(|path: PathBuf| (path.clone(), read(path))).collect()
}

fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

fn postern(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern")).args(arguments).output().unwrap()
}

/// What stands between backticks within lines, and the lines of fenced blocks.
fn code(page: &str) -> Vec<String> {
    let mut code = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            code.push(line.to_owned());
        } else {
            code.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    code
}

/// The invocations of `postern` in a piece of code: verb (with its own verb) and options.
fn invocations(code: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let is_verb = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    let mut found = Vec::new();
    let mut rest = code.split('#').next().unwrap_or_default();
    while let Some((before, after)) = rest.split_once("postern ") {
        rest = after;
        if before.ends_with(|c: char| c.is_alphanumeric() || "-_.:".contains(c)) {
            continue;
        }
        let mut words = after.split_whitespace();
        let mut verb: Vec<String> =
            words.next().filter(is_verb).map(str::to_owned).into_iter().collect();
        if [["audit"], ["token"], ["keys"], ["user"]].iter().any(|several| verb == *several) {
            verb.extend(words.next().filter(is_verb).map(str::to_owned));
        }
        let end = after.find(['|', '>', ';', '&']).unwrap_or(after.len());
        let options = after[..end].split_whitespace().filter(|word| word.starts_with("--"));
        let options = options.map(|word| word.split('=').next().unwrap_or(word).to_owned());
        if !verb.is_empty() && verb != ["postern"] {
            found.push((verb, options.collect()));
        }
    }
    found
}

#[test]
fn verbs_and_options_exist() {
    let mut places: Vec<(PathBuf, Vec<String>)> =
        pages().into_iter().map(|(path, text)| (path, code(&text))).collect();
    let whole = |path: &str| read(path).lines().map(str::to_owned).collect::<Vec<_>>();
    for path in ["deploy/Dockerfile", "deploy/postern.service"] {
        places.push((path.into(), whole(path)));
    }
    let comments = |path: &PathBuf| {
        let text = read(path).replace("\\\n#", "");
        text.lines().filter_map(|line| line.strip_prefix('#')).map(str::to_owned).collect()
    };
    for path in files("config", ".toml").into_iter().chain(["docker-compose.yml".into()]) {
        places.push((path.clone(), comments(&path)));
    }
    let mut findings = Vec::new();
    let mut verbs = BTreeSet::new();
    for (path, pieces) in places {
        for (verb, options) in pieces.iter().flat_map(|piece| invocations(piece)) {
            let mut arguments: Vec<&str> = verb.iter().map(String::as_str).collect();
            arguments.push("--help");
            let help = postern(&arguments);
            if !help.status.success() {
                findings.push(format!("{}: no verb `{}`", path.display(), verb.join(" ")));
                continue;
            }
            let help = String::from_utf8(help.stdout).unwrap();
            for option in options.iter().filter(|option| !help.contains(option.as_str())) {
                let verb = verb.join(" ");
                findings.push(format!("{}: `{verb}` has no option {option}", path.display()));
            }
            verbs.insert(verb.join(" "));
        }
    }
    report("verbs and options in the documents", &findings);
    let help = String::from_utf8(postern(&["--help"]).stdout).unwrap();
    let list = help.split("Commands:").nth(1).and_then(|text| text.split("Options:").next());
    let missing: Vec<String> = list
        .expect("a list of commands")
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| !verbs.iter().any(|known| known.split(' ').next() == Some(verb)))
        .map(str::to_owned)
        .collect();
    report("verbs that no document names", &missing);
}

#[test]
fn invocations_are_found() {
    let of = |code: &str| {
        let found = invocations(code).into_iter();
        found.map(|(verb, options)| (verb.join(" "), options.join(" "))).collect::<Vec<_>>()
    };
    let one = |verb: &str, options: &str| vec![(verb.to_owned(), options.to_owned())];
    assert_eq!(of("$ postern token mint --alg ES256 > t --x"), one("token mint", "--alg"));
    assert_eq!(of("postern keys rotate DIR --prune"), one("keys rotate", "--prune"));
    assert_eq!(of("/usr/bin/postern run --config f"), one("run", "--config"));
    assert_eq!(of("exec gateway postern revoke --jti=1 # --no"), one("revoke", "--jti"));
    assert!(of("user gateway on >PASSWORD").is_empty());
    assert!(of("image: postern\nmy-postern x").is_empty());
}

/// Lays the examples out as they lie here, with the files that `certs/generate.sh` makes.
fn workshop() -> TempDir {
    let dir = TempDir::new().unwrap();
    let certs = dir.path().join("certs");
    std::fs::create_dir_all(dir.path().join("config/examples")).unwrap();
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::copy(root().join("certs/generate.sh"), certs.join("generate.sh")).unwrap();
    for path in files("config", ".toml") {
        let to = dir.path().join(&path);
        write_private(&to, &read(path));
    }
    write_private(&dir.path().join("postern.toml"), &read("deploy/compose.toml"));
    let made = Command::new("sh").arg(certs.join("generate.sh")).arg("api.example.test").output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::os::unix::fs::symlink(&certs, dir.path().join("keys")).unwrap();
    dir
}

/// Not writable by others, whatever the umask of whoever runs the tests.
fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn every_example_passes_the_check() {
    let dir = workshop();
    let mut examples = files("config/examples", ".toml");
    assert!(examples.len() >= 5, "{examples:?}");
    examples.extend(["config/minimal.toml".into(), "postern.toml".into()]);
    for example in examples {
        let path = dir.path().join(&example);
        let checked = postern(&["check", "--config", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}:\n{said}", example.display());
    }
}

/// The way of README's "Put it in front of your service": generate, mint, verify.
#[test]
fn generated_keys_fit_the_minimal_configuration() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = workshop();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for name in ["api-key.pem", "issuer-key.pem", "hmac.key"] {
        let mode = std::fs::metadata(at(&format!("certs/{name}"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let readme = read("README.md");
    let line = readme.lines().find(|line| line.starts_with("postern token mint")).unwrap();
    let line = line.split(" > ").next().unwrap().replace("certs/", &at("certs/"));
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let minted = postern(&words);
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    std::fs::write(at("alice.token"), &minted.stdout).unwrap();
    let (config, token) = (at("config/minimal.toml"), at("alice.token"));
    let verified = postern(&["token", "verify", "--config", &config, "--token-file", &token]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains("valid"), "{said}");
    // A second run keeps what is there.
    let before = std::fs::read(at("certs/issuer-key.pem")).unwrap();
    assert!(Command::new("sh").arg(at("certs/generate.sh")).status().unwrap().success());
    assert_eq!(before, std::fs::read(at("certs/issuer-key.pem")).unwrap());
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> Vec<String> {
    let mut fenced = false;
    let lines = page.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#')
    });
    lines.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn relative_links_lead_somewhere() {
    let mut findings = Vec::new();
    let mut links = 0;
    for (path, page) in pages() {
        for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let place = if file.is_empty() {
                root().join(&path)
            } else {
                root().join(path.parent().unwrap()).join(file)
            };
            let found = place.exists()
                && (section.is_empty() || anchors(&read(&place)).iter().any(|a| a == section));
            if !found {
                findings.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(links > 30, "{links} links were found");
    report("links", &findings);
}

/// Words that the code writes into `auth.reason`.
fn reasons() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut take = |text: &str, before: &str| {
        for rest in text.split(before).skip(1) {
            let word = rest.split('"').next().unwrap_or_default();
            if !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || "_1".contains(c))
            {
                words.insert(word.to_owned());
            }
        }
    };
    for path in files("src/proxy", ".rs") {
        let text = read(path);
        for variant in
            ["BadRequest", "InvalidRequest", "Csrf", "NotAccepted", "Unavailable", "UpstreamBroken"]
        {
            take(&text, &format!("{variant}(\""));
        }
        for before in ["UpstreamTimeout(\"", "Allowed(\"", "Refused(\"", "by: \""] {
            take(&text, before);
        }
        for before in ["because(\"", "invalid(\"", "refuse(\"", "unavailable(\"", "no_session(\""] {
            take(&text, before);
        }
    }
    let words_of = ["authorize", "client_assertion", "error", "extract", "logout_token"]
        .map(|name| format!("src/auth/{name}.rs"));
    let more = ["src/proxy/reject.rs", "src/issuer/outcome.rs"].map(str::to_owned);
    for path in words_of.into_iter().chain(more) {
        take(&read(path), "=> \"");
    }
    words
}

/// Words that the code writes there for what was let through and ended later.
fn ends() -> BTreeSet<String> {
    let verdict = read("src/blocklist/verdict.rs");
    let text = verdict.split("#[cfg(test)]").next().unwrap().to_owned();
    let text = text + &read("src/stream/tally.rs");
    let arms = text.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next());
    let words: BTreeSet<String> = arms.map(str::to_owned).collect();
    assert!(words.len() > 10, "{words:?}");
    words
}

#[test]
fn every_reason_is_in_the_readme() {
    let readme = read("README.md");
    let section = readme.split("## Why was this request refused?").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: String = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    let told: BTreeSet<String> = code(&rows)
        .into_iter()
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || "_1".contains(c)))
        .collect();
    let mut known = reasons();
    assert!(known.len() > 40, "{known:?}");
    known.extend(ends());
    let differing: Vec<String> = known.symmetric_difference(&told).cloned().collect();
    report("reasons that only the code or only the README knows", &differing);
}

/// A reason that is in no list would be counted as `other`, and nobody could alert on it.
#[test]
fn every_reason_is_a_metric_label() {
    let lists = read("src/observe/metrics/words.rs");
    let lists = lists.split("#[cfg(test)]").next().unwrap().lines();
    let is_code = |line: &&str| !line.starts_with("//") && !line.starts_with("#[");
    let lists: String = lists.filter(is_code).collect();
    let words = lists.split('"').skip(1).step_by(2).map(str::to_owned);
    let no_reason = |word: &String| word.ends_with("xx") || word.ends_with("other");
    let labels: BTreeSet<String> = words.filter(|word| !no_reason(word)).collect();
    let differing: Vec<String> = reasons().symmetric_difference(&labels).cloned().collect();
    report("reasons that only the log or only the metrics know", &differing);
}

/// Keys named as `[section] key` are in the reference, which has a test of its own.
#[test]
fn configuration_keys_exist() {
    let reference = read("config/postern.toml");
    let mut keys: BTreeSet<String> = BTreeSet::new();
    let mut section = String::new();
    for line in reference.lines().map(|line| line.trim_start_matches('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_start_matches('[').split(']').next().unwrap().to_owned();
            keys.insert(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{section}.{}", key.trim()));
        }
    }
    let mut findings = Vec::new();
    let mut named = 0;
    for (path, page) in pages() {
        for piece in code(&page).iter().filter(|piece| piece.starts_with('[')) {
            let Some((section, rest)) = piece[1..].split_once(']') else { continue };
            if !section.chars().all(|c| c.is_ascii_lowercase() || "_.".contains(c)) {
                continue;
            }
            named += 1;
            let key = rest.trim().split(' ').next().unwrap_or_default();
            let full = if key.is_empty() { section.to_owned() } else { format!("{section}.{key}") };
            // Cargo.toml's own section.
            if !keys.contains(&full) && full != "lints" {
                findings.push(format!("{}: {piece}", path.display()));
            }
        }
    }
    assert!(named > 15, "{named} keys were found");
    report("configuration keys", &findings);
}

/// `module::symbol` in the documents: the module is there, and the symbol is a word in it.
#[test]
fn symbols_exist() {
    let is_word = |text: &str, word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let beside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !beside(text[..at].chars().last()) && !beside(text[at + word.len()..].chars().next())
        })
    };
    let (mut findings, mut named) = (Vec::new(), 0);
    for path in files("docs", ".md") {
        for piece in code(&read(&path)) {
            let parts: Vec<&str> = piece.split("::").collect();
            let plain = |part: &&str| part.chars().all(|c| c.is_alphanumeric() || c == '_');
            if parts.len() < 2 || !parts.iter().all(plain) {
                continue;
            }
            named += 1;
            // As deep into the folders as the path goes; the rest are names in there.
            let mut place = PathBuf::from("src");
            let mut names = parts.as_slice();
            while let Some((first, rest)) = names.split_first() {
                if root().join(&place).join(first).is_dir() {
                    (place, names) = (place.join(first), rest);
                } else if root().join(&place).join(format!("{first}.rs")).is_file() {
                    (place, names) = (place.join(format!("{first}.rs")), rest);
                    break;
                } else {
                    break;
                }
            }
            let inside: String =
                files(place.to_str().unwrap(), ".rs").into_iter().map(read).collect();
            if names.len() == parts.len() || !names.iter().all(|name| is_word(&inside, name)) {
                findings.push(format!("{}: {piece}", path.display()));
            }
        }
    }
    assert!(named > 50, "{named} symbols were found");
    report("symbols", &findings);
}

/// Every requirement from R1 to R54 has its row, and every row of the tables names a test.
#[test]
fn every_requirement_is_accounted_for() {
    let page = read("docs/security.md");
    let mut seen = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| R")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for number in cells[1].split(", ") {
            seen.insert(number.trim_start_matches('R').parse::<u32>().unwrap());
        }
        let tested = cells[4];
        assert!(tested.contains(".rs") || tested.contains("tests"), "no test: {row}");
    }
    assert_eq!(seen, (1..=54).collect());
}
