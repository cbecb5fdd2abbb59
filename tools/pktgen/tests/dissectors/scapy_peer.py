"""Reads and writes capture files with scapy.

    scapy_peer.py read FILE       prints a JSON object per packet
    scapy_peer.py write DIR       writes packets (lines `NANOSECONDS HEX`) as micro.pcap, nano.pcap and micro.pcapng

An object has the time in nanoseconds, the bytes, the layers from the outside with their fields as text, whether scapy puts
the same bytes together when it computes lengths and checksums itself, and the number of layers that scapy could not read.
"""

import json
import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.all import ICMP, IP, TCP, UDP, Ether, PcapNgWriter, PcapReader, PcapWriter, Raw, load_contrib
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.utils import EDecimal

load_contrib("mpls")

COMPUTED = {IP: ["len", "chksum"], IPv6: ["plen"], UDP: ["len", "chksum"], TCP: ["chksum"], ICMP: ["chksum"],
            ICMPv6EchoRequest: ["cksum"]}


def layers(packet):
    while packet and packet.name != "NoPayload":
        yield packet
        packet = packet.payload


def rebuilt(packet):
    """The bytes that scapy makes of the packet when it has to compute what can be computed."""
    copy = packet.copy()
    for layer in layers(copy):
        for field in COMPUTED.get(type(layer), []):
            # RFC 768: a checksum of zero is none, which VXLAN over IPv4 uses.
            if not (isinstance(layer, UDP) and field == "chksum" and layer.chksum == 0):
                layer.delfieldval(field)
    return bytes(copy)


def describe(packet):
    text = bytes(packet)
    found = list(layers(packet))
    return {
        "nanoseconds": int(packet.time * 10**9),
        "bytes": text.hex(),
        "rebuilt": rebuilt(Ether(text)) == text,
        "layers": [
            {"layer": type(layer).__name__, "fields": {f.name: str(layer.getfieldval(f.name)) for f in layer.fields_desc}}
            for layer in found if not isinstance(layer, Raw) and type(layer).__name__ != "Padding"
        ],
    }


def write(directory):
    writers = [PcapWriter(f"{directory}/micro.pcap", linktype=1), PcapWriter(f"{directory}/nano.pcap", linktype=1, nano=True),
               PcapNgWriter(f"{directory}/micro.pcapng")]
    for line in sys.stdin:
        time, text = line.split()
        packet = Ether(bytes.fromhex(text))
        seconds, rest = divmod(int(time), 10**9)
        for writer in writers:
            packet.time = EDecimal(seconds) + EDecimal(rest) / 10**9
            writer.write(packet)
    for writer in writers:
        writer.close()


if sys.argv[1] == "read":
    for packet in PcapReader(sys.argv[2]):
        print(json.dumps(describe(packet)))
else:
    write(sys.argv[2])
