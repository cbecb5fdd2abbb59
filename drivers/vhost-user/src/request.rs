//! The requests of the protocol, by name and number. What they carry is in message.rs.

macro_rules! requests {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// What a front end asks of a back end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Request {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl Request {
            /// Every request that we know by name.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

requests! {
    /// Reply: the virtio features that the back end offers.
    GetFeatures = 1,
    /// The virtio features that the driver accepted.
    SetFeatures = 2,
    /// The sender is this session's front end.
    SetOwner = 3,
    /// Deprecated; all rings stop.
    ResetOwner = 4,
    /// The guest's memory, one descriptor per region.
    SetMemTable = 5,
    /// The migration log.
    SetLogBase = 6,
    /// An event for the migration log.
    SetLogFd = 7,
    /// A ring's size.
    SetVringNum = 8,
    /// Where a ring lies, in the front end's user addresses.
    SetVringAddr = 9,
    /// The index of the next chain to take.
    SetVringBase = 10,
    /// Stops a ring. Reply: the index of the next chain to take.
    GetVringBase = 11,
    /// The event by which the driver notifies the device.
    SetVringKick = 12,
    /// The event by which the device notifies the driver.
    SetVringCall = 13,
    /// The event by which the back end reports a broken ring.
    SetVringErr = 14,
    /// Reply: the protocol features that the back end offers.
    GetProtocolFeatures = 15,
    /// The protocol features that the front end accepted.
    SetProtocolFeatures = 16,
    /// Reply: how many queue pairs there can be.
    GetQueueNum = 17,
    /// Enables or disables a ring.
    SetVringEnable = 18,
    /// Announce the guest after its migration.
    SendRarp = 19,
    /// The guest's MTU.
    NetSetMtu = 20,
    /// A socket for requests in the other direction.
    SetBackendReqFd = 21,
    /// An I/O TLB message.
    IotlbMsg = 22,
    /// A ring's byte order.
    SetVringEndian = 23,
    /// Reads the configuration space.
    GetConfig = 24,
    /// Writes the configuration space.
    SetConfig = 25,
    /// Reply: memory that records what is in flight.
    GetInflightFd = 31,
    /// Gives that memory back after a reconnection.
    SetInflightFd = 32,
    /// Resets the device, all state included.
    ResetDevice = 34,
    /// A notification as a message.
    VringKick = 35,
    /// Reply: how many memory regions there can be.
    GetMaxMemSlots = 36,
    /// Adds a memory region.
    AddMemReg = 37,
    /// Removes a memory region.
    RemMemReg = 38,
    /// The virtio device status, as the driver wrote it.
    SetStatus = 39,
    /// Reply: the virtio device status.
    GetStatus = 40,
}

impl Request {
    /// The request with this number, if we know it by name.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|request| *request as u32 == code)
    }
}
