//! The page of made-up results: whole, escaped, and in place.

use serde_json::json;

use super::*;

fn run() -> Value {
    let direction = |name: &str, lost: u64| {
        json!({"direction": name, "from": "a", "to": "b", "sent": 1000, "received": 1000 - lost, "lost": lost,
               "duplicated": 0, "reordered": 0, "corrupted": 0, "misdirected": 0, "late": 0, "mpps": 1.0,
               "offered_mpps": null, "achieved_mpps": 1.0, "rate_error": null, "skipped": 0, "ring_full": 3,
               "duration_s": 3.0, "not_sent": {}})
    };
    let second = |at: u64| {
        json!({"elapsed_s": at, "directions": [
            {"direction": "forward", "sent_mpps": 1.0, "received_mpps": 0.9, "missing": 10 * at},
            {"direction": "backward", "sent_mpps": 1.0, "received_mpps": 1.0, "missing": 0}]})
    };
    json!({
        "schema": "pktgen", "schema_version": SCHEMA_VERSION, "kind": "run", "started_unix_s": 951_782_400,
        "command": ["pktgen", "run", "--port", "vhost-user:/tmp/<a>", "--fail-on", "loss>0"],
        "failed": ["loss>0: forward has 30"], "interrupted": true,
        "directions": [direction("forward", 30), direction("backward", 0)],
        "ports": [{"name": "a", "driver": "vhost-user", "foreign": 0, "receive_drops": {}, "transmit_drops": {"oversize": 3}}],
        "timeline": [second(1), second(2), second(3)],
        "latency": {"streams": [{"stream": 0,
            "corrected": {"count": 9, "min_ns": 900, "max_ns": 90_000, "percentiles": [{"percentile": 50.0, "ns": 2000}]},
            "uncorrected": {"count": 9, "min_ns": 900, "max_ns": 9_000, "percentiles": [{"percentile": 50.0, "ns": 1000}]}}]},
        "environment": {"cpu": "A & B", "tsc_hz": 2_500_000_000u64, "steal": 0.0123},
    })
}

#[test]
fn a_run_has_its_plots_tables_command_and_environment() {
    let page = render(&run());
    for part in [
        "<h2>Throughput</h2>",
        "<h2>Loss</h2>",
        "<h2>Latency by percentile</h2>",
        "<h2>Directions</h2>",
        "<h2>Environment</h2>",
        "&#39;vhost-user:/tmp/&lt;a&gt;&#39; --fail-on &#39;loss&gt;0&#39;",
        "2000-02-29 00:00:00 UTC",
        "Interrupted",
        "Failed: loss&gt;0: forward has 30",
        "A &amp; B",
        "2500.000 MHz",
        "1.23%",
        "oversize 3",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(!page.contains("/tmp/<a>") && !page.contains("<script"));
    assert!(!page.contains("http://") && !page.contains("https://"), "self-contained");
}

#[test]
fn a_search_has_its_path_and_its_loss() {
    let trial = |number: u64, rate: u64, loss: f64, verdict: &str| json!({"number": number, "rate": rate, "loss_ratio": loss, "verdict": verdict, "start_s": number, "duration_s": 1.0});
    let document = json!({"schema": "pktgen", "schema_version": SCHEMA_VERSION, "kind": "search", "search": {
        "search": "loss-ratios", "completion": "stopped",
        "findings": {"kind": "loss_ratios", "found": [{"name": "ndr", "lower": 1_000_000, "upper": 1_005_000}]},
        "trials": [trial(1, 2_000_000, 0.5, "valid"), trial(2, 1_000_000, 0.0, "valid"), trial(3, 3_000_000, 0.0, "rate_not_kept")],
    }});
    let page = render(&document);
    for part in [
        "Path of the search",
        "interval of ndr",
        "1.000\u{2013}1.005 Mpps",
        "invalid: rate not kept",
        "Partial result: stopped",
        "Frame loss",
        "All trials",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    for kind in ["frame_loss", "soak", "latency", "recovery"] {
        let mut other = document.clone();
        other["search"]["findings"] = json!({"kind": kind, "found": []});
        assert!(render(&other).contains("Path of the search"), "{kind}");
    }
}

#[test]
fn whatever_a_file_holds_there_is_a_page() {
    for document in [
        json!(null),
        json!([]),
        json!({"directions": 5, "timeline": {}, "search": []}),
        json!({"directions": [null, 3]}),
    ] {
        assert!(render(&document).ends_with("</html>\n"));
    }
}

#[test]
fn only_results_of_this_version_are_read() {
    assert_eq!(check(&run()), Ok(()));
    for (document, because) in [
        (json!({}), "no result of pktgen"),
        (json!(3), "no result of pktgen"),
        (json!({"schema": "pktgen", "schema_version": 99}), "accepted: 1"),
        (json!({"schema": "pktgen"}), "version is none"),
        (json!({"schema": "pktgen", "schema_version": 1, "type": "second"}), "no figures"),
    ] {
        let error = check(&document).unwrap_err();
        assert!(error.contains(because), "{error}");
    }
}
