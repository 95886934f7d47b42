//! The messages with which nodes whose disk hangs agree to wait for it.

use super::region_map::REGIONS_MAX;
use crate::crc_le;

/// What one node tells another about a region whose writes do not come back. On the wire it is a
/// message of this type number, under the region's key, with the sender's node number as its one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Negotiation {
    /// To the lowest live node: my write hangs (`O2HB_NEGO_TIMEOUT_MSG`).
    Timeout = 1,
    /// From the lowest live node: everybody's does, start the timers again (`O2HB_NEGO_APPROVE_MSG`).
    Approve = 2,
}

impl Negotiation {
    /// The most bytes a message of this kind has.
    pub const PAYLOAD_MAX: usize = 1;

    /// The message type on the wire.
    pub const fn message_type(self) -> u16 {
        self as u16
    }

    /// The kind of that message type.
    pub const fn from_message_type(number: u16) -> Option<Negotiation> {
        match number {
            1 => Some(Negotiation::Timeout),
            2 => Some(Negotiation::Approve),
            _ => None,
        }
    }
}

/// The message key of a region. `number` is the region's number on this node: in global mode nodes
/// that registered their regions in different orders do not understand each other.
pub(super) fn key_of(name: &str, number: u8) -> u32 {
    crc_le(u32::from(number) + REGIONS_MAX, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour 71.
    #[test]
    fn the_key_is_made_of_number_and_name() {
        for (number, key) in [(0, 0xD783_8AA6), (1, 0x2659_8F0C), (2, 0xEF46_87B3)] {
            assert_eq!(key_of("632A924FDD844190BDA93C0DF6B94899", number), key);
        }
    }

    #[test]
    fn message_types_are_one_and_two() {
        let kinds = (0..4).map(Negotiation::from_message_type).collect::<Vec<_>>();
        assert_eq!(kinds, [None, Some(Negotiation::Timeout), Some(Negotiation::Approve), None]);
        assert_eq!(Negotiation::Approve.message_type(), 2);
    }
}
