//! From port specifications to devices. Which drivers there are is the facade's business: a new one appears
//! here by itself.

use netbuf::Pool;
use netdev::Device;

pub use barewire::ports::PortSpec;

use crate::{Error, Options, memory};

/// Devices with the names that reports give them.
type Devices = Vec<(String, Box<dyn Device>)>;

/// Opens the ports and makes the packet memory that they share.
pub(crate) fn open(specs: &[PortSpec], options: &Options) -> Result<(Devices, Pool), Error> {
    let config = memory::pool_config(options);
    let mut memory = memory::share(config, specs.len())?;
    let devices = specs
        .iter()
        .map(|spec| {
            let name = spec.to_string();
            match spec.open(&mut memory) {
                Ok(device) => Ok((name, device)),
                Err(reason) => Err(Error::Port { name, reason }),
            }
        })
        .collect::<Result<_, _>>()?;
    Ok((devices, memory::pool(&mut memory, config)?))
}
