//! Why a connection was ended: what the peer did, typed, so that a test or an operator can tell.

use core::fmt;

use rustix::io::Errno;

use crate::message::Request;

/// What ended a connection. The connection is closed, with every descriptor and mapping that it brought;
/// the port itself goes on and takes the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// The peer closed the connection between two messages: the ordinary end.
    Closed,
    /// The peer closed the connection within a message.
    ClosedMidMessage,
    /// The socket failed.
    Socket(Errno),
    /// The header names a request that we do not know.
    UnknownRequest(u32),
    /// A request that we know, without the feature that it belongs to.
    NotNegotiated(Request),
    /// The header's version is not 1.
    Version(u32),
    /// The header has reserved flags set, or the reply flag where none is due.
    Flags(u32),
    /// The header announces more bytes than any message has.
    TooLarge(u32),
    /// The payload's size does not fit the request.
    Size {
        /// The request.
        request: Request,
        /// Bytes of its payload.
        size: usize,
    },
    /// Fewer or more descriptors than the request has.
    Descriptors {
        /// The request.
        request: Request,
        /// Descriptors that came with it.
        count: usize,
    },
    /// More descriptors came than any message has, or some were cut off.
    DescriptorsTruncated,
    /// A descriptor of the wrong kind: memory that is no regular file, an event that is no eventfd.
    DescriptorKind(Request),
    /// Feature bits that were not offered.
    Features(u64),
    /// Protocol feature bits that were not offered.
    ProtocolFeatures(u64),
    /// The ring's number is beyond the device's rings.
    RingIndex(u64),
    /// The ring's size is no power of two from 1 to 32,768.
    RingSize(u32),
    /// The ring's next index exceeds 16 bits.
    RingBase(u32),
    /// The ring's addresses are misaligned, or not wholly inside one memory region.
    RingAddress(u32),
    /// The ring was changed in a way that needs it stopped.
    RingRunning(u32),
    /// Our driver found the back end's used ring out of order beyond repair.
    RingBroken,
    /// A value that is none of those that the request has.
    Value(Request),
    /// A region of the memory table is empty, or one of its sums overflows.
    RegionShape,
    /// Two regions of the memory table overlap.
    RegionOverlap,
    /// The region's file ends before the region does.
    RegionBeyondFile,
    /// The region could not be mapped.
    Map(Errno),
    /// There are too many mappings in this process already.
    TooManyMappings,
    /// The peer cut its memory's file short while we used it (SIGBUS).
    MemoryTruncated,
    /// The peer did not answer in time.
    NoReply(Request),
    /// The peer's answer is not one to the request.
    BadReply(Request),
    /// The peer answered that it could not do what was asked.
    Refused(Request),
    /// The peer has fewer pairs of queues than our driver was started with.
    QueuePairs {
        /// Pairs that we need.
        needed: u16,
        /// Pairs that the peer has.
        offered: u16,
    },
    /// The peer does not let these features stand: it took FEATURES_OK back.
    FeaturesRefused(u64),
    /// The peer does not offer a feature that we need.
    FeatureMissing(u64),
}

impl Violation {
    /// Whether this is how a well-behaved peer leaves.
    pub fn is_ordinary(self) -> bool {
        self == Self::Closed || matches!(self, Self::Socket(Errno::CONNRESET | Errno::PIPE))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::ClosedMidMessage => {
                f.write_str("the peer closed the connection within a message")
            }
            Self::Socket(errno) => write!(f, "the socket failed: {errno}"),
            Self::UnknownRequest(code) => write!(f, "unknown request {code}"),
            Self::NotNegotiated(request) => {
                write!(f, "{request:?} without the feature that it belongs to")
            }
            Self::Version(flags) => write!(f, "protocol version {} is not 1", flags & 3),
            Self::Flags(flags) => write!(f, "header flags {flags:#x}"),
            Self::TooLarge(size) => write!(f, "a payload of {size} bytes"),
            Self::Size { request, size } => write!(f, "{request:?} with a payload of {size} bytes"),
            Self::Descriptors { request, count } => {
                write!(f, "{request:?} with {count} file descriptors")
            }
            Self::DescriptorsTruncated => {
                f.write_str("more file descriptors than a message can have")
            }
            Self::DescriptorKind(request) => {
                write!(f, "{request:?} with a file descriptor of the wrong kind")
            }
            Self::Features(bits) => write!(f, "features {bits:#x} were not offered"),
            Self::ProtocolFeatures(bits) => {
                write!(f, "protocol features {bits:#x} were not offered")
            }
            Self::RingIndex(index) => write!(f, "there is no ring {index}"),
            Self::RingSize(size) => write!(f, "a ring of {size} entries"),
            Self::RingBase(base) => write!(f, "a ring index of {base}"),
            Self::RingAddress(index) => {
                write!(f, "ring {index} is misaligned or not inside one memory region")
            }
            Self::RingRunning(index) => write!(f, "ring {index} was changed while it runs"),
            Self::RingBroken => f.write_str("the back end has broken a ring beyond repair"),
            Self::Value(request) => write!(f, "{request:?} with an impossible value"),
            Self::RegionShape => f.write_str("a memory region is empty or its end overflows"),
            Self::RegionOverlap => f.write_str("two memory regions overlap"),
            Self::RegionBeyondFile => f.write_str("a memory region's file is shorter than it"),
            Self::Map(errno) => write!(f, "a memory region could not be mapped: {errno}"),
            Self::TooManyMappings => f.write_str("this process has too many memory regions mapped"),
            Self::MemoryTruncated => f.write_str("the peer truncated its memory while it was used"),
            Self::NoReply(request) => write!(f, "no reply to {request:?}"),
            Self::BadReply(request) => write!(f, "the reply to {request:?} makes no sense"),
            Self::Refused(request) => write!(f, "the peer refused {request:?}"),
            Self::QueuePairs { needed, offered } => {
                write!(f, "the peer has {offered} of the {needed} pairs of queues that are needed")
            }
            Self::FeaturesRefused(bits) => write!(f, "the peer refused features {bits:#x}"),
            Self::FeatureMissing(bits) => write!(f, "the peer does not offer features {bits:#x}"),
        }
    }
}

impl core::error::Error for Violation {}
