//! From the command line and the image to what will be done: the defaults that the image's name selects.
//!
//! `l2fwd` without ports gets two vhost-user sockets with the built-in pktgen behind them; any other image without
//! ports gets QEMU's user network with a UDP port of the host that leads to the guest's echo port. Nothing is started,
//! opened or created here.

use crate::command::Guest;
use crate::failure::Failure;
use crate::image::Image;
use crate::options::Options;
use crate::port::{MAX_SOCKET_PATH, Port};
use pktgen::{Direction, FrameSize, PortSpec, Rate};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the built-in pktgen offers traffic unless told otherwise.
const DURATION: Duration = Duration::from_secs(10);

/// What it offers in each direction: a rate that l2fwd keeps up with under TCG on a modest machine with two cores.
const RATE: Rate = Rate::Packets(1_000_000);

/// What it offers when it replays a capture, whose frames are larger.
const REPLAY_RATE: Rate = Rate::Packets(20_000);

/// The guest's address in QEMU's user network.
const USER_NETWORK: &str = "netdev.ip=10.0.2.15/24";

/// What will be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The guest to boot.
    pub guest: Guest,
    /// The traffic to offer, if it is the launcher that does.
    pub offer: Option<Offer>,
    /// How long to let the guest poll, where no traffic decides it.
    pub duration: Option<Duration>,
    /// What the user may want to try while the guest runs.
    pub hint: Option<String>,
}

/// The built-in pktgen's part.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The sockets, as the guest's ports name them.
    pub sockets: [PathBuf; 2],
    /// What to offer in each direction.
    pub rate: Rate,
    /// Frame length; `None` where a capture gives the frames.
    pub size: FrameSize,
    /// Which way it goes.
    pub direction: Direction,
    /// How long; `None` plays the capture once.
    pub duration: Option<Duration>,
    /// The capture to replay.
    pub pcap: Option<PathBuf>,
}

impl Offer {
    /// pktgen's names for the sockets: it listens, QEMU connects.
    pub(crate) fn ports(&self) -> Result<[PortSpec; 2], Failure> {
        let port = |path: &Path| {
            let text = format!("vhost-user:{},server", path.display());
            text.parse::<PortSpec>().map_err(|error| Failure::usage(error.to_string()))
        };
        Ok([port(&self.sockets[0])?, port(&self.sockets[1])?])
    }
}

/// What the plan needs of the machine it is made on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// Where private sockets will be.
    pub scratch: &'a Path,
    /// Finds a UDP port of the host that is free.
    pub free_udp_port: fn() -> std::io::Result<u16>,
}

/// Makes the plan.
pub(crate) fn make(
    options: &Options,
    image: &Image,
    around: Surroundings<'_>,
) -> Result<Plan, Failure> {
    let mut plan = Plan {
        guest: Guest {
            image: image.path.clone(),
            machine: options.machine,
            accel: options.accel,
            memory: options.memory,
            firmware: options.firmware,
            ports: options.ports.clone(),
            device: options.device.clone().unwrap_or_default(),
            reconnect: options.reconnect,
            monitor: options.monitor.clone(),
            gdb: options.gdb,
            append: kernel_command_line(&options.parameters)?,
        },
        offer: None,
        duration: options.duration,
        hint: None,
    };
    if !options.ports.is_empty() || image.name != "l2fwd" {
        refuse_traffic_options(options, image)?;
    }
    if options.ports.is_empty() {
        if image.name == "l2fwd" {
            offer_traffic(&mut plan, options, around.scratch)?;
        } else {
            let port = (around.free_udp_port)();
            let port =
                port.map_err(|error| Failure::failed(format!("no free UDP port: {error}")))?;
            forward_udp(&mut plan, &image.name, port);
        }
    }
    if image.name == "udp-echo"
        && plan.guest.ports.iter().any(|port| matches!(port, Port::User { .. }))
    {
        add_default_address(&mut plan.guest.append);
    }
    Ok(plan)
}

fn refuse_traffic_options(options: &Options, image: &Image) -> Result<(), Failure> {
    let given = [
        ("--rate", options.rate.is_some()),
        ("--size", options.size.is_some()),
        ("--direction", options.direction.is_some()),
        ("--pcap", options.pcap.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::usage(format!(
            "{name} is for the built-in pktgen, which runs with l2fwd and without --port; this is {}{}",
            image.name,
            if options.ports.is_empty() { "" } else { " with --port" }
        ))),
    }
}

fn offer_traffic(plan: &mut Plan, options: &Options, scratch: &Path) -> Result<(), Failure> {
    let sockets = [scratch.join("port0"), scratch.join("port1")];
    if let Some(long) = sockets.iter().find(|path| path.as_os_str().len() > MAX_SOCKET_PATH) {
        return Err(Failure::failed(format!(
            "the socket path {} is longer than the {MAX_SOCKET_PATH} bytes that a unix socket takes: set TMPDIR to a \
             shorter one",
            long.display()
        )));
    }
    let server = |path: &PathBuf| Port::VhostUser { path: path.clone(), server: false, queues: 1 };
    plan.guest.ports = sockets.iter().map(server).collect();
    let replays = options.pcap.is_some();
    plan.offer = Some(Offer {
        sockets,
        rate: options.rate.unwrap_or(if replays { REPLAY_RATE } else { RATE }),
        size: options.size.unwrap_or_default(),
        direction: options.direction.unwrap_or(if replays {
            Direction::Forward
        } else {
            Direction::Both
        }),
        duration: options.duration.or((!replays).then_some(DURATION)),
        pcap: options.pcap.clone(),
    });
    Ok(())
}

fn forward_udp(plan: &mut Plan, name: &str, port: u16) {
    let rule = format!("udp:127.0.0.1:{port}-10.0.2.15:7");
    plan.guest.ports = vec![Port::User { forwards: vec![rule] }];
    plan.hint = Some(if name == "udp-echo" {
        format!("try it: echo hello | nc -u -w1 127.0.0.1 {port}")
    } else {
        format!("UDP port {port} of 127.0.0.1 leads to the guest's 10.0.2.15:7")
    });
}

fn add_default_address(append: &mut String) {
    if append.split(' ').any(|word| word.starts_with("netdev.ip=")) {
        return;
    }
    if !append.is_empty() {
        append.push(' ');
    }
    append.push_str(USER_NETWORK);
}

/// Joins parameters into the line that the image splits again: blanks are quoted as Linux does, `key="a b"`.
fn kernel_command_line(parameters: &[String]) -> Result<String, Failure> {
    let mut line = String::new();
    for parameter in parameters {
        if !line.is_empty() {
            line.push(' ');
        }
        if !parameter.contains(char::is_whitespace) {
            line.push_str(parameter);
        } else if parameter.contains('"') {
            return Err(Failure::usage(format!(
                "the parameter `{parameter}` has blanks and quotes: a kernel command line cannot carry both"
            )));
        } else if let Some((key, value)) =
            parameter.split_once('=').filter(|(key, _)| !key.contains(' '))
        {
            let _ = write!(line, "{key}=\"{value}\"");
        } else {
            let _ = write!(line, "\"{parameter}\"");
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan_for(name: &str, arguments: &[&str]) -> Result<Plan, Failure> {
        let words = ["run", name].into_iter().chain(arguments.iter().copied());
        let options = Options::try_parse_from(words).unwrap();
        let image = Image { path: name.into(), name: name.into(), loadable: 0 };
        make(
            &options,
            &image,
            Surroundings { scratch: Path::new("/scratch"), free_udp_port: || Ok(5555) },
        )
    }

    #[test]
    fn l2fwd_gets_sockets_and_traffic() {
        let plan = plan_for("l2fwd", &["--", "mac-updating=off"]).unwrap();
        let offer = plan.offer.unwrap();
        assert_eq!(offer.duration, Some(DURATION));
        assert_eq!(offer.rate, RATE);
        assert_eq!(offer.direction, Direction::Both);
        let client = |path: &str| Port::VhostUser { path: path.into(), server: false, queues: 1 };
        assert_eq!(plan.guest.ports, [client("/scratch/port0"), client("/scratch/port1")]);
        let names = offer.ports().unwrap().map(|port| port.to_string());
        assert_eq!(names, ["vhost-user:/scratch/port0,server", "vhost-user:/scratch/port1,server"]);
        assert_eq!(plan.guest.append, "mac-updating=off");
    }

    #[test]
    fn a_capture_is_played_once_and_one_way() {
        let offer = plan_for("l2fwd", &["--pcap", "x.pcap"]).unwrap().offer.unwrap();
        assert_eq!((offer.duration, offer.direction), (None, Direction::Forward));
    }

    #[test]
    fn l2fwd_with_ports_is_left_alone() {
        let plan =
            plan_for("l2fwd", &["--port", "tap:a", "--port", "tap:b", "--duration", "3"]).unwrap();
        assert!(plan.offer.is_none() && plan.hint.is_none());
        assert_eq!((plan.guest.ports.len(), plan.duration), (2, Some(Duration::from_secs(3))));
        let refused = plan_for("l2fwd", &["--port", "tap:a", "--rate", "max"]).unwrap_err();
        assert!(refused.status == 2 && refused.text.starts_with("--rate is for"), "{refused}");
        let refused = plan_for("udp-echo", &["--pcap", "x"]).unwrap_err();
        assert!(refused.status == 2 && refused.text.starts_with("--pcap is for"), "{refused}");
    }

    #[test]
    fn udp_echo_gets_the_user_network_and_an_address() {
        let plan = plan_for("udp-echo", &[]).unwrap();
        let forwards = vec!["udp:127.0.0.1:5555-10.0.2.15:7".to_string()];
        assert_eq!(plan.guest.ports, [Port::User { forwards }]);
        assert_eq!(plan.guest.append, "netdev.ip=10.0.2.15/24");
        assert!(plan.hint.unwrap().contains("nc -u -w1 127.0.0.1 5555"));
        let plan = plan_for("udp-echo", &["--", "netdev.ip=10.0.2.16/24"]).unwrap();
        assert_eq!(plan.guest.append, "netdev.ip=10.0.2.16/24");
        let plan = plan_for("udp-echo", &["--port", "tap:tap0"]).unwrap();
        assert_eq!(plan.guest.append, "");
    }

    #[test]
    fn other_images_get_the_network_alone() {
        let plan = plan_for("mine", &[]).unwrap();
        assert_eq!((plan.guest.append.as_str(), plan.guest.ports.len()), ("", 1));
        assert!(plan.hint.unwrap().contains("10.0.2.15:7"));
    }

    #[test]
    fn blanks_are_quoted_for_the_image() {
        let line = |words: &[&str]| {
            kernel_command_line(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(line(&["a=1", "b=x y", "c d"]).unwrap(), "a=1 b=\"x y\" \"c d\"");
        assert_eq!(line(&["a=\"b\""]).unwrap(), "a=\"b\"");
        assert_eq!(line(&["a=\"b c\""]).unwrap_err().status, 2);
    }

    #[test]
    fn a_long_temporary_directory_is_a_clear_error() {
        let options = Options::try_parse_from(["run", "l2fwd"]).unwrap();
        let image = Image { path: "l2fwd".into(), name: "l2fwd".into(), loadable: 0 };
        let scratch = PathBuf::from(format!("/{}", "x".repeat(105)));
        let error =
            make(&options, &image, Surroundings { scratch: &scratch, free_udp_port: || Ok(1) })
                .unwrap_err();
        assert!(error.status == 1 && error.text.contains("TMPDIR"), "{error}");
    }
}
