//! The report page in a browser: of every command and every kind of search, in windows from a telephone's to a
//! computer's, light and dark.
//!
//! `judge.js` runs in Chromium beside the pages and says where text overlaps, is cut, is too small or too faint, or
//! where a page is wider than its window. `BAREWIRE_PAGES=DIR` keeps the pages there, to be looked at.

mod browser;
mod documents;
#[path = "../peers/mod.rs"]
mod peers;

use browser::{Browser, Scheme};
use pktgen::report_page;

/// In pixels: small and usual telephones, around the width where the page's arrangement changes, and computers.
const WIDTHS: [u32; 7] = [320, 420, 700, 720, 860, 1280, 1920];

#[test]
fn every_page_can_be_read_at_every_width_in_both_colours() {
    let Some(browser) = Browser::find() else { return };
    let pages: Vec<_> = documents::all()
        .into_iter()
        .map(|(name, document)| {
            report_page::check(&document).unwrap();
            (name, report_page::render(&document))
        })
        .collect();
    if let Some(directory) = std::env::var_os("BAREWIRE_PAGES") {
        for (name, page) in &pages {
            let file = format!("{name}.html");
            std::fs::write(std::path::Path::new(&directory).join(file), page).unwrap();
        }
    }
    let mut wrong = Vec::new();
    for scheme in [Scheme::Light, Scheme::Dark] {
        let findings = browser.judge(&pages, &WIDTHS, scheme);
        assert_eq!(findings.len(), pages.len() * WIDTHS.len(), "each page at each width");
        for finding in findings.iter().filter(|finding| !finding.wrong.is_empty()) {
            wrong.push(format!(
                "{scheme:?} {} at {}: {:#?}",
                finding.page, finding.width, finding.wrong
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A judge that finds every page good would prove nothing.
#[test]
fn what_is_wrong_is_found() {
    let Some(browser) = Browser::find() else { return };
    let words = "<p>one two</p>".repeat(12);
    for (body, because) in [
        (
            "<svg class=\"wide\" viewBox=\"0 0 300 50\" width=\"300\"><text x=\"9\" y=\"20\">first</text>\
             <text x=\"20\" y=\"24\">second</text></svg>",
            "\"first\" and \"second\" overlap",
        ),
        (
            "<svg viewBox=\"0 0 300 50\" width=\"300\"><text x=\"280\" y=\"20\">a long label</text></svg>",
            "\"a long label\" is cut by svg",
        ),
        (
            "<svg viewBox=\"0 0 900 50\" width=\"300\"><text x=\"9\" y=\"20\">label</text></svg>",
            "\"label\" is 5.3 pixels high",
        ),
        (
            "<div style=\"overflow:auto; width:99px; white-space:nowrap\">much more than there is room for</div>",
            "is cut by DIV",
        ),
        ("<div style=\"width: 500px\">wide</div>", "the page is 5"),
        ("<p style=\"color: #999; background: #fff\">faint</p>", "\"faint\" has contrast 2.8"),
        (
            "<svg viewBox=\"0 0 9 9\" width=\"9\"><circle class=\"dot\" fill=\"#fffffe\" r=\"4\"/></svg>",
            "dot can hardly be seen",
        ),
        ("<script>document.body.textContent = 'little'</script>", "hardly any text"),
    ] {
        let page =
            format!("<!DOCTYPE html><style>body {{ background: #fff }}</style><body>{words}{body}");
        let found = browser.judge(&[("bad", page)], &[420], Scheme::Light);
        let [finding] = &found[..] else { panic!("one page") };
        assert!(
            finding.wrong.iter().any(|wrong| wrong.contains(because)),
            "{because}: {:?}",
            finding.wrong
        );
        // Dark readers get a light page.
        let found = browser.judge(&[("light", words.clone())], &[420], Scheme::Dark);
        assert!(found[0].wrong.contains(&"the page has the wrong colours".to_owned()), "{found:?}");
    }
}
