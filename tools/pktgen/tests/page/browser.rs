//! Chromium without a screen.

use std::path::PathBuf;
use std::process::Command;

use crate::peers;

const JUDGE: &str = include_str!("judge.js");

/// What a reader prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// What is wrong with a page in a window.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) page: String,
    pub(crate) width: u64,
    pub(crate) wrong: Vec<String>,
}

/// The browser, and a directory that is gone in the end.
pub(crate) struct Browser {
    directory: PathBuf,
}

impl Browser {
    /// Chromium, where it is installed.
    pub(crate) fn find() -> Option<Self> {
        peers::program("chromium")?;
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("pktgen-page-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Some(Self { directory })
    }

    /// Looks at `pages`, each with its name, in windows of each of `widths`.
    #[track_caller]
    pub(crate) fn judge<N: AsRef<str>>(
        &self,
        pages: &[(N, String)],
        widths: &[u32],
        scheme: Scheme,
    ) -> Vec<Finding> {
        let file = self.directory.join("judge.html");
        std::fs::write(&file, gallery(pages, widths, scheme)).unwrap();
        let output = Command::new("timeout")
            .args(["--kill-after=5", "300", "chromium", "--headless", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-background-networking", "--no-first-run"])
            .arg(format!("--user-data-dir={}", self.directory.join("profile").display()))
            .arg(format!(
                "--blink-settings=preferredColorScheme={}",
                u8::from(scheme == Scheme::Light)
            ))
            .args(["--window-size=2000,1000", "--dump-dom"])
            .arg(format!("file://{}", file.display()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text
            .rsplit_once("<pre id=\"findings\">")
            .and_then(|(_, rest)| rest.split_once("</pre>"))
            .unwrap_or_else(|| {
                panic!(
                    "no findings: {}\n{}",
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                )
            });
        let found = found.0.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let found: Vec<serde_json::Value> = serde_json::from_str(&found).unwrap();
        found.iter().map(Finding::from).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl From<&serde_json::Value> for Finding {
    fn from(value: &serde_json::Value) -> Self {
        let wrong = value["wrong"].as_array().unwrap().iter();
        Self {
            page: value["page"].as_str().unwrap().into(),
            width: value["width"].as_str().unwrap().parse().unwrap(),
            wrong: wrong.map(|what| what.as_str().unwrap().into()).collect(),
        }
    }
}

/// A document with a frame for each page at each width, and the judge.
fn gallery<N: AsRef<str>>(pages: &[(N, String)], widths: &[u32], scheme: Scheme) -> String {
    let quoted = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;");
    let name = if scheme == Scheme::Dark { "dark" } else { "light" };
    let mut out = format!(
        "<!DOCTYPE html><html data-scheme=\"{name}\"><meta charset=\"utf-8\">\
         <meta name=\"color-scheme\" content=\"light dark\"><script>{JUDGE}</script><body>"
    );
    for (name, page) in pages {
        for width in widths {
            out += &format!(
                "<iframe title=\"{}\" width=\"{width}\" height=\"600\" style=\"border: 0\" srcdoc=\"{}\"></iframe>\n",
                quoted(name.as_ref()),
                quoted(page)
            );
        }
    }
    out
}
