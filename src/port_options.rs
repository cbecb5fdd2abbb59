//! The options of a port specification, in DPDK's and QEMU's words.

use std::fmt;

use netdev::RingFeatures;

use crate::ports::Preset;

/// The options, for messages.
pub(crate) const ACCEPTED: &str = "server, queues=1..128, queue_size=1..32768 (a power of two), packed_vq=0|1, mrg_rxbuf=0|1, \
     in_order=0|1, event_idx=0|1 or indirect_desc=0|1";

/// Options that switch a feature of the rings.
const SWITCHES: [(&str, RingFeatures); 4] = [
    ("mrg_rxbuf", RingFeatures::MERGEABLE),
    ("in_order", RingFeatures::IN_ORDER),
    ("event_idx", RingFeatures::EVENT_IDX),
    ("indirect_desc", RingFeatures::INDIRECT),
];

/// Whether we listen, and what is decided; or what is wrong with one of the options.
pub(crate) fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<(bool, Preset), String> {
    let (mut server, mut preset) = (false, Preset::default());
    for word in words {
        let twice = match word.split_once('=') {
            None if word == "server" => std::mem::replace(&mut server, true),
            None => return Err(format!("`{word}` is not an option of a port")),
            Some((key, value)) => set(&mut preset, key, value)?,
        };
        if twice {
            return Err(format!("`{word}` says again what was said"));
        }
    }
    Ok((server, preset))
}

/// Sets what `key` names; whether it was set before.
fn set(preset: &mut Preset, key: &str, value: &str) -> Result<bool, String> {
    let number = |fits: fn(u16) -> bool| {
        let number = value.parse().ok().filter(|&number| fits(number));
        number.ok_or_else(|| format!("`{key}={value}` cannot be"))
    };
    Ok(match key {
        "queues" => preset.pairs.replace(number(|pairs| (1..=128).contains(&pairs))?).is_some(),
        "queue_size" => {
            let possible = number(|size| size.is_power_of_two() && size <= 1 << 15)?;
            preset.queue_size.replace(possible).is_some()
        }
        "packed_vq" => preset.packed.replace(number(|bit| bit < 2)? == 1).is_some(),
        _ => {
            let known = SWITCHES.iter().find(|(name, _)| *name == key);
            let (_, feature) =
                known.ok_or_else(|| format!("`{key}` is not an option of a port"))?;
            let before = (preset.on | preset.off).contains(*feature);
            let to = if number(|bit| bit < 2)? == 1 { &mut preset.on } else { &mut preset.off };
            *to |= *feature;
            before
        }
    })
}

/// Writes what [`parse`] reads.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, server: bool, preset: &Preset) -> fmt::Result {
    f.write_str(if server { ",server" } else { "" })?;
    if let Some(pairs) = preset.pairs {
        write!(f, ",queues={pairs}")?;
    }
    if let Some(size) = preset.queue_size {
        write!(f, ",queue_size={size}")?;
    }
    if let Some(packed) = preset.packed {
        write!(f, ",packed_vq={}", u8::from(packed))?;
    }
    for (name, feature) in SWITCHES {
        if preset.on.contains(feature) {
            write!(f, ",{name}=1")?;
        }
        if preset.off.contains(feature) {
            write!(f, ",{name}=0")?;
        }
    }
    Ok(())
}
