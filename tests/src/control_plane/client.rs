//! Requests to the API server, by curl from inside the namespace. It must not retry: tests decide what they wait for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::place::Place;

/// A user of the API server.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
    server: String,
    ca: PathBuf,
    token: String,
}

impl Client {
    pub(super) const fn new(place: Place, server: String, ca: PathBuf, token: String) -> Self {
        Self {
            place,
            server,
            ca,
            token,
        }
    }

    /// The same server, as another user.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// Reads `path`.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, "application/json", "")
    }

    /// Makes an object in the collection `path`.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.request("POST", path, "application/json", &object.to_string())
    }

    /// Makes each object in its collection, several at a time. The order is not kept.
    pub fn create_all(&self, objects: &[(&str, Value)]) -> Result<()> {
        let requests = objects
            .iter()
            .map(|(path, object)| ("POST", *path, object.to_string()));
        self.all(requests)
    }

    /// Deletes the objects at `paths`, several at a time. The order is not kept.
    pub fn delete_all(&self, paths: &[String]) -> Result<()> {
        let requests = paths
            .iter()
            .map(|path| ("DELETE", path.as_str(), String::new()));
        self.all(requests)
    }

    /// Sends requests of a method, path and body over one run of curl.
    fn all<'a>(&self, requests: impl Iterator<Item = (&'a str, &'a str, String)>) -> Result<()> {
        /// Requests under way at the same time.
        const PARALLEL: &str = "8";

        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let (mut script, mut wanted) = (String::new(), 0);
        for (method, path, body) in requests {
            wanted += 1;
            // Between requests only: behind the last one curl expects another.
            if !script.is_empty() {
                script += "next\n";
            }
            writeln!(
                script,
                "url = {}",
                quoted(&format!("{}{path}", self.server))
            )?;
            writeln!(
                script,
                "cacert = {}",
                quoted(&self.ca.display().to_string())
            )?;
            writeln!(script, "header = \"Authorization: Bearer {}\"", self.token)?;
            writeln!(script, "request = {method}")?;
            script += "header = \"Content-Type: application/json\"\n";
            script += "output = /dev/null\nwrite-out = \"%{http_code}\\n\"\n";
            if !body.is_empty() {
                writeln!(script, "data-binary = {}", quoted(&body))?;
            }
        }
        let mut child = self
            .place
            .command("curl")?
            .args([
                "--silent",
                "--show-error",
                "--parallel",
                "--parallel-max",
                PARALLEL,
            ])
            .args(["--config", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run curl")?;
        child
            .stdin
            .take()
            .context("curl has a standard input")?
            .write_all(script.as_bytes())?;
        let output = child.wait_with_output()?;
        let answers = String::from_utf8_lossy(&output.stdout);
        let is_good = |code: &&str| ["200", "201"].contains(code);
        let taken = answers.lines().filter(is_good).count();
        ensure!(
            taken == wanted,
            "{taken} of {wanted} requests were taken: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(())
    }

    /// The command that shows `path` on its standard output, line by line, until it is killed: for watches.
    pub fn follow(&self, path: &str) -> Result<Command> {
        let mut curl = self.place.command("curl")?;
        curl.args(["--silent", "--no-buffer", "--cacert"])
            .arg(&self.ca)
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .arg(format!("{}{path}", self.server));
        Ok(curl)
    }

    /// Makes an object of YAML in the collection `path`; an unknown or doubled field is an error.
    pub fn create_yaml(&self, path: &str, yaml: &str) -> Result<Value> {
        self.request(
            "POST",
            &format!("{path}?fieldValidation=Strict"),
            "application/yaml",
            yaml,
        )
    }

    /// Changes fields of the object at `path`; null removes one.
    pub fn patch(&self, path: &str, change: &Value) -> Result<Value> {
        self.request(
            "PATCH",
            path,
            "application/merge-patch+json",
            &change.to_string(),
        )
    }

    /// Deletes the object at `path`.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.request("DELETE", path, "application/json", "")
    }

    fn request(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<Value> {
        let (code, answer) = self.send(method, path, kind, body)?;
        ensure!(
            (200..300).contains(&code),
            "{method} {path}: {code}: {answer}"
        );
        // Health endpoints answer in plain text.
        Ok(serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
    }

    /// The status code and body of any answer.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<(u16, String)> {
        let mut curl = self.place.command("curl")?;
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--write-out",
            "\n%{http_code}",
            "--request",
            method,
        ]);
        curl.arg("--cacert").arg(&self.ca);
        curl.args([
            "--header",
            &format!("Authorization: Bearer {}", self.token),
            "--header",
            &format!("Content-Type: {kind}"),
        ]);
        if !body.is_empty() {
            curl.args(["--data-binary", "@-"]);
        }
        curl.arg(format!("{}{path}", self.server));
        let mut child = curl
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run curl")?;
        child
            .stdin
            .take()
            .context("curl has a standard input")?
            .write_all(body.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "{method} {path}: {}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let (answer, code) = text.rsplit_once('\n').context("curl tells no status")?;
        Ok((code.parse()?, answer.to_owned()))
    }
}
