//! The words between the tool and a forwarder of ours: a line of JSON each.

use serde::{Deserialize, Serialize};

/// What a side does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Sends back what comes, source and destination address exchanged; what the ring has no room for is dropped.
    Swap,
    /// Sends frames of many flows, each built anew, and takes what comes back.
    Generate,
    /// Sends, and takes nothing.
    Send,
    /// Takes, and sends nothing.
    Receive,
    /// Sends numbered frames with a pattern, few at a time, to a peer that swaps, and compares every byte of what
    /// comes back. Not for measuring.
    Verify,
}

/// What the tool asks of a forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Begin; no answer.
    Start {
        /// With what.
        work: Work,
        /// Bytes of the frames, L2 header included, FCS excluded.
        size: u16,
    },
    /// Answer with an [`Account`].
    Account,
    /// Stop forwarding, and answer with an [`Account`] then.
    Stop,
}

/// What a forwarder has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// When, in nanoseconds of a clock that only goes forward.
    pub nanos: u64,
    /// Frames received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames sent.
    pub sent: u64,
    /// Time stamp counter cycles of the turns that moved a packet.
    pub cycles: u64,
    /// Packets of these turns: received ones, or where none are received, sent ones.
    pub packets: u64,
    /// Frames that were looked at.
    pub checked: u64,
    /// Of these, not what they should be.
    pub wrong: u64,
    /// Packets dropped by the port for another reason than a full ring.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_pipe() {
        let commands =
            [Command::Start { work: Work::Swap, size: 64 }, Command::Account, Command::Stop];
        for command in commands {
            let line = serde_json::to_string(&command).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Command>(&line).unwrap(), command);
        }
        let account = Account { received: 7, wrong: 1, ..Account::default() };
        let line = serde_json::to_string(&account).unwrap();
        assert_eq!(serde_json::from_str::<Account>(&line).unwrap(), account);
    }
}
