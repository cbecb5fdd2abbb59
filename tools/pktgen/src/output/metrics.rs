//! Figures for Prometheus: text format 0.0.4 at `/metrics`, on a loopback address.
//!
//! One thread answers one connection after the other, each within bounds of bytes and time, so that whatever connects
//! costs next to nothing. Other addresses than loopback are refused: there is no authentication here; who wants the
//! figures elsewhere puts a proxy in front.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pktgen::{Error, Tick, TickDirection};

use super::{Event, TrialState};

/// Bytes of a request that are read.
const REQUEST: usize = 4096;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_millis(500);
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A loopback address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetricsAddress(SocketAddr);

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let accepted =
            "accepted: a loopback address and a port, 127.0.0.1:9464 or [::1]:9464, or a port";
        let port = || {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            let port: u16 = text.strip_prefix(':').unwrap_or(text).parse().ok()?;
            (digits || text.starts_with(':'))
                .then_some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
        };
        let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let address = named.as_deref().unwrap_or(text).parse().ok().or_else(port);
        let address: SocketAddr =
            address.ok_or_else(|| format!("`{text}` is no address; {accepted}"))?;
        if !IpAddr::is_loopback(&address.ip()) {
            return Err(format!("`{text}` can be reached from elsewhere; {accepted}"));
        }
        Ok(Self(address))
    }
}

/// The figures, and the thread that serves them.
pub(crate) struct Metrics {
    page: Arc<Mutex<String>>,
    #[cfg(test)]
    address: SocketAddr,
}

impl Metrics {
    /// Serves from now until the process ends.
    pub(crate) fn serve(address: &MetricsAddress) -> Result<Self, Error> {
        let fail = |error: io::Error| {
            Error::Usage(format!("cannot serve metrics on {}: {error}", address.0))
        };
        let listener = TcpListener::bind(address.0).map_err(fail)?;
        #[cfg(test)]
        let address = listener.local_addr().map_err(fail)?;
        let page = Arc::new(Mutex::new(String::from("# TYPE pktgen_up gauge\npktgen_up 1\n")));
        let shared = page.clone();
        let serve = move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => drop(answer(stream, &shared)),
                    // Out of descriptors, say: later, perhaps.
                    Err(_) => std::thread::sleep(PATIENCE),
                }
            }
        };
        std::thread::Builder::new().name("metrics".into()).spawn(serve).map_err(fail)?;
        Ok(Self {
            page,
            #[cfg(test)]
            address,
        })
    }

    /// Shows the figures of `event` from now on.
    pub(crate) fn update(&self, event: &Event) {
        let page = match event {
            Event::Tick(tick) => tick_page(tick),
            Event::Trial(trial) => trial_page(trial),
        };
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

type Figure = (&'static str, &'static str, &'static str, fn(&TickDirection) -> String);

/// Name, type, meaning and value of each figure of a direction.
const FIGURES: [Figure; 6] = [
    ("pktgen_sent_frames_total", "counter", "Frames sent.", |d| d.sent.to_string()),
    ("pktgen_received_frames_total", "counter", "Frames received intact.", |d| {
        d.received.to_string()
    }),
    ("pktgen_missing_frames", "gauge", "Frames overtaken that have not come.", |d| {
        d.missing.to_string()
    }),
    ("pktgen_trouble_frames_total", "counter", "Frames duplicated, reordered or corrupted.", |d| {
        d.troubles.to_string()
    }),
    ("pktgen_sent_frames_per_second", "gauge", "Frames sent during the last second.", |d| {
        (d.sent_mpps * 1e6).to_string()
    }),
    (
        "pktgen_received_frames_per_second",
        "gauge",
        "Frames received during the last second.",
        |d| (d.received_mpps * 1e6).to_string(),
    ),
];

fn tick_page(tick: &Tick) -> String {
    let mut page = String::from("# TYPE pktgen_up gauge\npktgen_up 1\n");
    let seconds = tick.elapsed.as_secs_f64();
    let _ = writeln!(page, "# TYPE pktgen_elapsed_seconds gauge\npktgen_elapsed_seconds {seconds}");
    for (name, kind, help, value) in FIGURES {
        if !tick.directions.is_empty() {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        for direction in &tick.directions {
            let label = &direction.direction;
            let _ = writeln!(page, "{name}{{direction=\"{label}\"}} {}", value(direction));
        }
    }
    if let Some(cycles) = tick.cycles_per_packet {
        let _ = writeln!(
            page,
            "# TYPE pktgen_cycles_per_packet gauge\npktgen_cycles_per_packet {cycles}"
        );
    }
    if let Some(fill) = tick.burst_fill {
        let _ = writeln!(page, "# TYPE pktgen_burst_fill gauge\npktgen_burst_fill {fill}");
    }
    if let Some(latency) = tick.latency {
        let _ = writeln!(page, "# TYPE pktgen_latency_seconds gauge");
        let values = [
            ("0.5", latency.p50),
            ("0.99", latency.p99),
            ("0.999", latency.p99_9),
            ("1", latency.max),
        ];
        for (quantile, nanos) in values {
            let seconds = Duration::from_nanos(nanos).as_secs_f64();
            let _ = writeln!(page, "pktgen_latency_seconds{{quantile=\"{quantile}\"}} {seconds}");
        }
    }
    page
}

fn trial_page(trial: &TrialState) -> String {
    let mut page = String::from("# TYPE pktgen_up gauge\npktgen_up 1\n");
    let mut figure = |name: &str, kind: &str, value: f64| {
        let _ = writeln!(page, "# TYPE pktgen_search_{name} {kind}\npktgen_search_{name} {value}");
    };
    #[expect(clippy::cast_precision_loss, reason = "a count of trials")]
    figure("trials_total", "counter", trial.trials as f64);
    #[expect(clippy::cast_precision_loss, reason = "a count of trials")]
    figure("invalid_trials_total", "counter", trial.invalid as f64);
    figure("spent_seconds", "gauge", trial.spent_s);
    figure("remaining_seconds", "gauge", trial.remaining_s);
    for (bound, pick) in [("lower", 0), ("upper", 1)] {
        let name = format!("pktgen_search_{bound}_bound_frames_per_second");
        let known = trial
            .bounds
            .iter()
            .filter_map(|goal| Some((&goal.name, [goal.lower, goal.upper][pick]?)));
        for (number, (goal, rate)) in known.enumerate() {
            if number == 0 {
                let _ = writeln!(page, "# TYPE {name} gauge");
            }
            let _ = writeln!(page, "{name}{{goal=\"{}\"}} {rate}", escaped(goal));
        }
    }
    page
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn answer(mut stream: TcpStream, page: &Mutex<String>) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read_head(&mut stream)?;
    let mut words = request.split(|b| *b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let is_http = words.next().is_some_and(|version| version.starts_with(b"HTTP/1."));
    let (status, body) = match (is_http, method, path) {
        (false, ..) => ("400 Bad Request", "this is HTTP/1.1: GET /metrics\n".to_owned()),
        (_, b"GET" | b"HEAD", b"/metrics" | b"/") => {
            ("200 OK", page.lock().unwrap_or_else(PoisonError::into_inner).clone())
        }
        (_, b"GET" | b"HEAD", _) => ("404 Not Found", "the figures are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "accepted: GET and HEAD\n".to_owned()),
    };
    let kind = if status.starts_with("200") { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if method != b"HEAD" {
        stream.write_all(body.as_bytes())?;
    }
    stream.flush()
}

/// Reads up to the empty line, and no more than fits.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    let (mut head, mut buffer) = (Vec::new(), [0; 512]);
    while head.len() < REQUEST && !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(head.split(|b| *b == b'\r').next().unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use pktgen::Phase;

    use super::*;

    fn served() -> Metrics {
        let metrics = Metrics::serve(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let direction = TickDirection {
            direction: "forward",
            sent: 1000,
            received: 998,
            missing: 2,
            troubles: 1,
            sent_mpps: 0.5,
            received_mpps: 0.499,
        };
        let tick = Tick {
            directions: vec![direction],
            ..Tick::new(Phase::Running, Duration::from_secs(2))
        };
        metrics.update(&Event::Tick(tick));
        metrics
    }

    /// What the server answers; empty where it hangs up.
    fn ask(metrics: &Metrics, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(metrics.address).unwrap();
        // The server may have hung up in the middle of a long request, and be right.
        let _ = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn figures_are_served_as_prometheus_reads_them() {
        let metrics = served();
        let answer = ask(&metrics, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        for line in [
            "# TYPE pktgen_sent_frames_total counter",
            "pktgen_sent_frames_total{direction=\"forward\"} 1000",
            "pktgen_missing_frames{direction=\"forward\"} 2",
            "pktgen_sent_frames_per_second{direction=\"forward\"} 500000",
        ] {
            assert!(body.lines().any(|l| l == line), "{line} in\n{body}");
        }
    }

    #[test]
    fn junk_is_answered_and_the_next_is_served() {
        let metrics = served();
        for (request, status) in [
            (&b"\r\n\r\n"[..], "400"),
            (b"\xff\x00\xfe\r\n\r\n", "400"),
            (b"", "400"),
            (b"GET /metrics", "400"),
            (b"GET / HTTP/9.9\r\n\r\n", "400"),
            (b"GET /secret HTTP/1.1\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ] {
            let answer = ask(&metrics, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
        }
        ask(&metrics, &vec![b'x'; 100_000]);
        let answer = ask(&metrics, b"HEAD /metrics?x=1 HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn who_says_nothing_does_not_keep_others_out() {
        let metrics = served();
        let _silent = TcpStream::connect(metrics.address).unwrap();
        assert!(ask(&metrics, b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn only_loopback_addresses() {
        for (text, address) in [
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("9464", "127.0.0.1:9464"),
            (":9464", "127.0.0.1:9464"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<MetricsAddress>().unwrap().0.to_string(), address, "{text}");
        }
        for text in [
            "",
            ":",
            "x",
            "65536",
            "-1",
            "0.0.0.0:9464",
            "192.168.0.1:80",
            "[::]:80",
            "127.0.0.1",
            "1.2.3.4:",
        ] {
            assert!(
                text.parse::<MetricsAddress>().expect_err(text).contains("accepted: a loopback")
            );
        }
    }
}
