//! `--device`: options of QEMU's virtio-net device, as its users write them.

use std::fmt;
use std::str::FromStr;

/// What the launcher itself says of a device.
const OWN: [&str; 6] = ["netdev", "mac", "vectors", "romfile", "disable-legacy", "mq"];

/// Options, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceOptions(Vec<(String, String)>);

impl DeviceOptions {
    /// Whether one has this name.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }
}

/// As QEMU reads them behind other options: `,name=value` for each.
impl fmt::Display for DeviceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| write!(f, ",{name}={value}"))
    }
}

impl FromStr for DeviceOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for option in text.split(',') {
            let (name, value) = read(option).map_err(|why| {
                format!("{why}; accepted: options of virtio-net, such as packed=on,mrg_rxbuf=off")
            })?;
            if options.names(name) {
                return Err(format!("`{name}` is given twice"));
            }
            options.0.push((name.into(), value.into()));
        }
        Ok(options)
    }
}

fn read(option: &str) -> Result<(&str, &str), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let pair = option.split_once('=').filter(|(name, value)| {
        !name.is_empty() && !value.is_empty() && name.chars().chain(value.chars()).all(word)
    });
    match pair {
        None => Err(format!("`{option}` is not NAME=VALUE")),
        Some(("mq", _)) => Err("`mq` follows from the port's queues=N".into()),
        Some((name, _)) if OWN.contains(&name) => Err(format!("`{name}` is the launcher's")),
        Some(pair) => Ok(pair),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_out_as_they_were_given() {
        let options: DeviceOptions = "packed=on,rx_queue_size=256".parse().unwrap();
        assert_eq!(options.to_string(), ",packed=on,rx_queue_size=256");
        assert!(options.names("packed") && !options.names("rx_queue"));
        assert_eq!(DeviceOptions::default().to_string(), "");
    }

    #[test]
    fn malformed_options_say_what_is_accepted() {
        for (text, why) in [
            ("", "`` is not NAME=VALUE"),
            ("packed", "`packed` is not NAME=VALUE"),
            ("packed=", "is not NAME=VALUE"),
            ("=on", "is not NAME=VALUE"),
            ("packed=on,", "`` is not NAME=VALUE"),
            ("packed=on off", "is not NAME=VALUE"),
            ("packed=on,packed=off", "`packed` is given twice"),
            ("mq=on", "queues=N"),
            ("netdev=net0", "`netdev` is the launcher's"),
            ("vectors=4", "`vectors` is the launcher's"),
        ] {
            let error = text.parse::<DeviceOptions>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
