//! Figures for Prometheus at `/metrics`, on a loopback address.
//!
//! One thread answers one connection after the other, each within bounds of bytes and time, so that whatever connects
//! costs next to nothing. Other addresses than loopback are refused: there is no authentication here; who wants the
//! figures elsewhere puts a proxy in front.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pktgen::Error;

use super::{Event, exposition};

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
        let page = Arc::new(Mutex::new(exposition::first()));
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
        let page = exposition::page(event);
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
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

    use pktgen::{Phase, Tick, TickDirection};

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
