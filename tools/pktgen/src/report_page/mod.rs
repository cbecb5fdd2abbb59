//! The page: a result as one HTML file with plots and tables, for a browser without a network.
//!
//! It is made from the document's JSON and not from our own types, so that a result that was saved long ago makes the
//! same page. What a document does not have is left out. No script, no font, no request: colours come from the page's
//! own style sheet, light and dark as the reader has it.

mod canvas;
mod figures;
mod html;
mod plot;
mod scale;
mod search_figures;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Error;
use crate::document::SCHEMA_VERSION;
use html::escape;

const STYLE: &str = include_str!("style.css");
/// The page's name in its directory.
const PAGE: &str = "index.html";

/// Whether `document` is one that this version reads.
///
/// # Errors
/// It is not, in words.
pub fn check(document: &Value) -> Result<(), String> {
    if document["schema"].as_str() != Some("pktgen") {
        return Err("this is no result of pktgen; accepted: what --json or --jsonl wrote".into());
    }
    match document["schema_version"].as_u64() {
        Some(version) if version == u64::from(SCHEMA_VERSION) => {}
        version => {
            let version = version.map_or("none".into(), |version| version.to_string());
            return Err(format!(
                "the result's schema version is {version}; accepted: {SCHEMA_VERSION}"
            ));
        }
    }
    if document["directions"].is_array() || document["search"].is_object() {
        return Ok(());
    }
    Err("this line of a result holds no figures; accepted: the whole file, or its last line".into())
}

/// Makes `directory`, and sees that a page can be written there.
///
/// # Errors
/// [`Error::Usage`]: it cannot.
pub fn prepare(directory: &Path) -> Result<(), Error> {
    let page = directory.join(PAGE);
    let made = fs::create_dir_all(directory)
        .and_then(|()| fs::OpenOptions::new().create(true).append(true).open(&page));
    made.map(drop)
        .map_err(|error| Error::Usage(format!("cannot write {}: {error}", page.display())))
}

/// Writes the page of `document` into `directory`; where it is.
///
/// # Errors
/// [`Error::Output`]: it could not be written.
pub fn write(directory: &Path, document: &Value) -> Result<PathBuf, Error> {
    let page = directory.join(PAGE);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&page, render(document)))
        .map_err(|error| Error::Output(format!("cannot write {}: {error}", page.display())))?;
    Ok(page)
}

/// The page of `document`.
pub fn render(document: &Value) -> String {
    let kind = document["kind"].as_str().unwrap_or("result");
    let started = html::time(document["started_unix_s"].as_u64().unwrap_or(0));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>pktgen {kind}, {started}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>pktgen {kind}</h1>\n<p class=\"when\">{started}</p>\n",
        kind = escape(kind),
    );
    page.push_str(&tables::notices(document));
    page.push_str(&tables::command(document));
    page.push_str(&tables::tiles(document));
    page.push_str(&figures::all(document));
    page.push_str(&search_figures::all(document));
    page.push_str(&tables::all(document));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

#[cfg(test)]
mod tests;
