//! A scrape, read by the reference parser of OpenMetrics.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::apps::{installed, root};
use super::client::Answer;
use super::gateway::Gateway;

/// Every sample of one moment.
pub struct Scrape {
    families: BTreeMap<String, Value>,
}

impl Scrape {
    /// Asks the gateway, without any secret.
    pub fn of(gateway: &Gateway) -> Self {
        Self::read(&gateway.admin().request("GET", "/metrics").send().expect(200))
    }

    /// Reads an answer; panics with the parser's word when it is no OpenMetrics.
    pub fn read(answer: &Answer) -> Self {
        let python = root().join("tests/.cache/prometheus/bin/python");
        installed(&python);
        let mut parser = Command::new(python);
        parser.arg(root().join("tests/prometheus/read.py"));
        parser.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = parser.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&answer.body).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{}", answer.text());
        Self { families: serde_json::from_slice(&output.stdout).unwrap() }
    }

    /// The type of a family, by its name without a counter's `_total`.
    pub fn kind(&self, family: &str) -> Option<&str> {
        self.families.get(family)?["type"].as_str()
    }

    /// How many samples there are, of all families.
    pub fn samples(&self) -> usize {
        self.families.values().map(|family| family["samples"].as_array().unwrap().len()).sum()
    }

    /// The sum of all samples of this name that have these labels, other labels aside; `None` when
    /// there is none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let of_name = |sample: &&Value| {
            sample[0] == name && labels.iter().all(|(label, value)| sample[1][*label] == *value)
        };
        let samples = self.families.values().flat_map(|family| family["samples"].as_array());
        let found: Vec<&Value> = samples.flatten().filter(of_name).collect();
        (!found.is_empty()).then(|| found.iter().map(|sample| sample[2].as_f64().unwrap()).sum())
    }

    /// The same as a count; zero when there is none.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.get(name, labels).unwrap_or_default() as u64
    }
}
