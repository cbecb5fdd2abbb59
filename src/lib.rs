//! Barewire: packet-processing network functions as unikernel images and as Linux processes.
//!
//! This crate is the facade: the only place, besides a `main.rs`, that names concrete drivers and a platform.
//! A network function is a `fn(Machine) -> Result<(), Error>` named by [`main!`]; the [`Machine`] has the ports, the
//! parameters and the event loop. Feature `kvm` (default) makes the examples unikernel images, feature `linux`
//! makes them processes; where both are on, `linux` wins.
//!
//! | to learn about | read |
//! | --- | --- |
//! | packets, pools, bursts | [`netbuf`] |
//! | ports and queues, statistics, how to write a driver | [`netdev`] |
//! | polling, timers, idling | [`eventloop`] |
#![cfg_attr(not(any(test, feature = "linux")), no_std)]

extern crate alloc;

mod error;
#[cfg(all(feature = "kvm", not(feature = "linux")))]
mod kvm;
#[cfg(feature = "linux")]
mod linux;
#[cfg(any(feature = "kvm", feature = "linux"))]
mod machine;
pub mod params;
#[cfg(feature = "linux")]
mod port_memory;
#[cfg(feature = "linux")]
mod port_options;
#[cfg(feature = "linux")]
pub mod ports;

pub use error::Error;
pub use eventloop;
#[doc(hidden)]
#[cfg(feature = "linux")]
pub use linux::run as run_process;
#[cfg(any(feature = "kvm", feature = "linux"))]
pub use machine::Machine;
pub use netbuf::{self, Burst, Netbuf, Pool, PoolConfig};
pub use netdev::{self, Config, Device, MacAddress, Offloads, Port, RxQueue, TxQueue};
#[doc(hidden)]
#[cfg(all(feature = "kvm", not(feature = "linux")))]
pub use {kvm::run as run_image, plat_kvm};

/// Prints a line on the machine's console.
#[cfg(feature = "linux")]
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { ::std::println!($($text)*) };
}

/// Prints a line on the machine's console.
#[cfg(all(feature = "kvm", not(feature = "linux")))]
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::plat_kvm::println!($($text)*) };
}

/// Names the network function of a program: a `fn(Machine) -> Result<(), Error>`.
///
/// In an image the machine ends when the function returns; a process exits. The status is 0 for `Ok`, 2 for an
/// error of usage, 1 for any other; of an image, what `plat_kvm::ExitCode` says of these.
#[cfg(feature = "linux")]
#[macro_export]
macro_rules! main {
    ($function:path) => {
        fn main() -> ::std::process::ExitCode {
            $crate::run_process($function)
        }
    };
}

/// Names the network function of a program: a `fn(Machine) -> Result<(), Error>`.
///
/// In an image the machine ends when the function returns; a process exits. The status is 0 for `Ok`, 2 for an
/// error of usage, 1 for any other; of an image, what `plat_kvm::ExitCode` says of these.
#[cfg(all(feature = "kvm", not(feature = "linux")))]
#[macro_export]
macro_rules! main {
    ($function:path) => {
        fn barewire_main(machine: $crate::plat_kvm::Machine) -> $crate::plat_kvm::ExitCode {
            $crate::run_image(machine, $function)
        }
        $crate::plat_kvm::entry!(barewire_main);
    };
}
