//! Parameters of a network function: `key=value` words, from the kernel command line of an image or from
//! the command line of a process.
//!
//! Typed and strict: a malformed word is refused when the program starts, a value of the wrong form when it
//! is read, and a key that nobody reads by [`Params::finish`]. Deliberately absent: defaults kept here (the
//! reader states them) and parameters that take effect without being named by the program.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

/// Longest command line, in bytes (what Linux takes on x86).
pub const MAX_BYTES: usize = 2048;

/// A parameter was malformed, unknown, or has a value of the wrong form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError(String);

impl ParamError {
    fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ParamError {}

/// A type that a parameter's value can have.
pub trait Value: Sized {
    /// What is accepted, as words for a message.
    const ACCEPTED: &'static str;

    /// Reads a value; `None` where it has not the form.
    fn parse(text: &str) -> Option<Self>;
}

impl Value for bool {
    const ACCEPTED: &'static str = "on or off";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        }
    }
}

impl Value for u32 {
    const ACCEPTED: &'static str = "a whole number from 0 to 4294967295";

    fn parse(text: &str) -> Option<Self> {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    }
}

impl Value for u16 {
    const ACCEPTED: &'static str = "a whole number from 0 to 65535";

    fn parse(text: &str) -> Option<Self> {
        u32::parse(text).and_then(|number| number.try_into().ok())
    }
}

/// What the event loop does when there is nothing to do, as `idle=` takes it. Every network function accepts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Polls again at once.
    Spin,
    /// Polls again after a short pause of the core.
    #[default]
    Pause,
    /// Sleeps until a device or a peer wakes the core, after a while without packets.
    Sleep,
}

impl Value for IdlePolicy {
    const ACCEPTED: &'static str = "spin, pause or sleep";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "spin" => Some(Self::Spin),
            "pause" => Some(Self::Pause),
            "sleep" => Some(Self::Sleep),
            _ => None,
        }
    }
}

/// An IPv4 address with its network, as `netdev.ip=` takes it: `ADDRESS/PREFIX[:GATEWAY]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Interface {
    /// The interface's own address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix, 0 to 32 bits.
    pub prefix: u8,
    /// Where packets to other networks go.
    pub gateway: Option<Ipv4Addr>,
}

impl Value for Ipv4Interface {
    const ACCEPTED: &'static str = "ADDRESS/PREFIX[:GATEWAY], such as 10.0.0.2/24:10.0.0.1";

    fn parse(text: &str) -> Option<Self> {
        let (network, gateway) = match text.split_once(':') {
            Some((network, gateway)) => (network, Some(gateway.parse().ok()?)),
            None => (text, None),
        };
        let (address, prefix) = network.split_once('/')?;
        let prefix = u32::parse(prefix).and_then(|p| u8::try_from(p).ok()).filter(|&p| p <= 32)?;
        let address = Ipv4Addr::from_str(address).ok()?;
        let usable =
            !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
        usable.then_some(Self { address, prefix, gateway })
    }
}

#[derive(Debug)]
struct Param {
    key: String,
    value: Option<String>,
    read: Cell<bool>,
}

/// The parameters, in order.
#[derive(Debug, Default)]
pub struct Params(Vec<Param>);

impl Params {
    /// Reads a kernel command line: words between white space, `"` around white space that belongs to a
    /// value.
    ///
    /// # Errors
    /// Too long, not printable ASCII, an open quote, or what [`from_words`](Self::from_words) refuses.
    pub fn from_line(line: &[u8]) -> Result<Self, ParamError> {
        if line.len() > MAX_BYTES {
            return Err(ParamError::new(format_args!(
                "the command line has {} bytes; at most {MAX_BYTES} are accepted",
                line.len()
            )));
        }
        let is_text = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
        if let Some(at) = line.iter().position(|b| !is_text(b)) {
            return Err(ParamError::new(format_args!(
                "byte {at} of the command line is 0x{:02x}; printable ASCII is accepted",
                line[at]
            )));
        }
        let mut words = Vec::new();
        let (mut word, mut quoted, mut open) = (String::new(), false, false);
        for &byte in line {
            match byte {
                b'"' => (quoted, open) = (!quoted, true),
                b if b.is_ascii_whitespace() && !quoted => {
                    if open {
                        words.push(core::mem::take(&mut word));
                    }
                    open = false;
                }
                b => {
                    word.push(char::from(b));
                    open = true;
                }
            }
        }
        if quoted {
            return Err(ParamError::new("the command line has a quote (\") that is never closed"));
        }
        if open {
            words.push(word);
        }
        Self::from_words(words.iter().map(String::as_str))
    }

    /// Takes words of the form `key=value` or `key`.
    ///
    /// # Errors
    /// A word without a key or with an empty value, a value that starts with `=`, and a key given twice.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, ParamError> {
        let mut params = Self::default();
        for word in words {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (word, None),
            };
            let bad_value = value.is_some_and(|v| v.is_empty() || v.starts_with('='));
            if key.is_empty() || bad_value {
                return Err(ParamError::new(format_args!(
                    "`{word}` is not a parameter; key=value or key is accepted"
                )));
            }
            if params.0.iter().any(|p| p.key == key) {
                return Err(ParamError::new(format_args!("the parameter `{key}` is given twice")));
            }
            params.0.push(Param {
                key: key.to_string(),
                value: value.map(ToString::to_string),
                read: Cell::new(false),
            });
        }
        Ok(params)
    }

    /// Reads the value of `key`; `None` where it is not given.
    ///
    /// # Errors
    /// The value has not the form of `T`.
    pub fn get<T: Value>(&self, key: &str) -> Result<Option<T>, ParamError> {
        let Some(param) = self.0.iter().find(|p| p.key == key) else { return Ok(None) };
        param.read.set(true);
        let value = param.value.as_deref().unwrap_or("");
        T::parse(value).map(Some).ok_or_else(|| {
            ParamError::new(format_args!(
                "{key}={value} is not possible; {key}= takes {}",
                T::ACCEPTED
            ))
        })
    }

    /// Reads the value of `key`, which must be given.
    ///
    /// # Errors
    /// It is not given, or the value has not the form of `T`.
    pub fn require<T: Value>(&self, key: &str) -> Result<T, ParamError> {
        self.get(key)?.ok_or_else(|| {
            ParamError::new(format_args!(
                "the parameter {key}= is missing; it takes {}",
                T::ACCEPTED
            ))
        })
    }

    /// To be called when everything that the program knows has been read.
    ///
    /// # Errors
    /// A parameter that nothing has read; the message names those that were asked for.
    pub fn finish(&self, known: &str) -> Result<(), ParamError> {
        match self.0.iter().find(|p| !p.read.get()) {
            None => Ok(()),
            Some(param) => Err(ParamError::new(format_args!(
                "the parameter `{}` is unknown; accepted: {known}, idle=spin|pause|sleep",
                param.key
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &[u8]) -> String {
        Params::from_line(line).unwrap_err().to_string()
    }

    #[test]
    fn words_quotes_and_types() {
        let params = Params::from_line(
            b"  mac-updating=off\tname=\"a b\"  netdev.ip=10.0.0.2/24:10.0.0.1 count=7\n",
        )
        .unwrap();
        assert_eq!(params.get("mac-updating"), Ok(Some(false)));
        assert_eq!(params.get("count"), Ok(Some(7u32)));
        assert_eq!(params.get::<bool>("absent"), Ok(None));
        let ip: Ipv4Interface = params.get("netdev.ip").unwrap().unwrap();
        assert_eq!((ip.address, ip.prefix), (Ipv4Addr::new(10, 0, 0, 2), 24));
        assert_eq!(ip.gateway, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(params.finish("x").unwrap_err().to_string().contains("`name` is unknown"));
    }

    #[test]
    fn an_empty_line_has_no_parameters() {
        for line in [&b""[..], b"   \t "] {
            assert!(Params::from_line(line).unwrap().finish("").is_ok());
        }
    }

    #[test]
    fn malformed_lines_are_refused_with_what_is_wrong() {
        assert!(refused(&[b'a'; MAX_BYTES + 1]).contains("at most"));
        assert!(refused(b"a=1\0b=2").contains("byte 3"));
        assert!(refused("käse=1".as_bytes()).contains("0xc3"));
        assert!(refused(b"a=\"b c").contains("never closed"));
        for word in ["key=", "=value", "key==v", "\"\""] {
            assert!(refused(word.as_bytes()).contains("is not a parameter"), "{word}");
        }
        assert!(refused(b"a=1 b=2 a=3").contains("`a` is given twice"));
    }

    #[test]
    fn values_of_the_wrong_form_say_what_is_accepted() {
        for bad in ["4294967296", "-1", "+1", "0x10", "1e3", "one"] {
            let line = alloc::format!("n={bad}");
            let error = Params::from_line(line.as_bytes()).unwrap().get::<u32>("n").unwrap_err();
            assert!(error.to_string().contains("whole number"), "{bad}");
        }
        for bad in
            ["10.0.0.2", "10.0.0.2/33", "10.0.0/24", "0.0.0.0/0", "224.0.0.1/24", "10.0.0.2/24:x"]
        {
            let line = alloc::format!("netdev.ip={bad}");
            let params = Params::from_line(line.as_bytes()).unwrap();
            assert!(params.get::<Ipv4Interface>("netdev.ip").is_err(), "{bad}");
        }
        let params = Params::from_line(b"mac-updating").unwrap();
        assert!(params.get::<bool>("mac-updating").unwrap_err().to_string().contains("on or off"));
    }
}
