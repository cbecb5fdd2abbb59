//! udp-echo: answers ARP, ICMP echo (RFC 792) and UDP echo (RFC 862, port 7) in place, on the address that
//! `netdev.ip=` names.
//!
//! An answer is the request turned round. Swapping source and destination leaves the IPv4 and UDP checksums
//! as right (or wrong) as they were; ICMP's changes by the one word that changes. Fragments are not answered.
#![cfg_attr(all(panic = "abort", not(feature = "linux")), no_std)]
#![cfg_attr(not(feature = "linux"), no_main)]

use barewire::params::Ipv4Interface;
use barewire::{Burst, Config, Error, Machine};

barewire::main!(udp_echo);

fn udp_echo(mut machine: Machine) -> Result<(), Error> {
    let interface: Ipv4Interface = machine.params.require("netdev.ip")?;
    machine.params.finish("netdev.ip=ADDRESS/PREFIX[:GATEWAY]")?;
    let mut ports = machine.start_ports(&Config::default())?;
    let mut event_loop = machine.event_loop(&ports);
    event_loop.run(|turn| {
        for port in &mut ports {
            let host = Host { mac: port.info.mac.0, ip: interface.address.octets() };
            let mut burst = Burst::new();
            turn.receive(&mut *port.rx[0], &mut burst);
            burst.retain(|packet| host.answer(packet.bytes_mut()).is_some());
            turn.send(&mut *port.tx[0], &mut burst);
        }
    });
    Ok(())
}

struct Host {
    mac: [u8; 6],
    ip: [u8; 4],
}

impl Host {
    /// Turns a request into its answer; `None` where there is nothing to answer.
    fn answer(&self, frame: &mut [u8]) -> Option<()> {
        let (ethernet, packet) = frame.split_at_mut_checked(14)?;
        match ethernet[12..14] {
            [0x08, 0x06] => self.arp(packet.get_mut(..28)?)?,
            [0x08, 0x00] if ethernet[..6] == self.mac => self.ipv4(packet)?,
            _ => return None,
        }
        ethernet.copy_within(6..12, 0);
        ethernet[6..12].copy_from_slice(&self.mac);
        Some(())
    }

    /// RFC 826: "who has our address?" becomes "we do".
    fn arp(&self, packet: &mut [u8]) -> Option<()> {
        (packet[..8] == [0, 1, 8, 0, 6, 4, 0, 1] && packet[24..28] == self.ip).then_some(())?;
        packet[7] = 2;
        packet.copy_within(8..18, 18);
        packet[8..14].copy_from_slice(&self.mac);
        packet[14..18].copy_from_slice(&self.ip);
        Some(())
    }

    fn ipv4(&self, packet: &mut [u8]) -> Option<()> {
        let first = *packet.first()?;
        let header_len = usize::from(first & 0x0f) * 4;
        let (header, payload) = packet.split_at_mut_checked(header_len)?;
        let whole = first >> 4 == 4 && header_len >= 20 && header[6] & 0x3f == 0 && header[7] == 0;
        (whole && header[16..20] == self.ip).then_some(())?;
        match header[9] {
            1 => icmp_echo(payload.get_mut(..8)?)?,
            17 => udp_to_echo_port(payload.get_mut(..8)?)?,
            _ => return None,
        }
        header.copy_within(12..16, 16);
        header[12..16].copy_from_slice(&self.ip);
        Some(())
    }
}

/// Echo request (8) to echo reply (0): the checksum grows by what the type word lost (RFC 1624).
fn icmp_echo(header: &mut [u8]) -> Option<()> {
    (header[..2] == [8, 0]).then(|| header[0] = 0)?;
    let sum = u16::from_be_bytes([header[2], header[3]]);
    let (sum, carry) = sum.overflowing_add(0x0800);
    header[2..4].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    Some(())
}

fn udp_to_echo_port(header: &mut [u8]) -> Option<()> {
    (header[2..4] == [0, 7]).then(|| header[..4].rotate_left(2))
}
