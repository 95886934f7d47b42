//! What the files accept: the rules by which a kernel reads a number, a word or an address.

use std::net::Ipv4Addr;

use dlm::Errno;

use crate::cluster_conf::HeartbeatMode;

/// A number in decimal, hexadecimal with `0x` or octal with `0`, up to the end of the text or of the
/// line. No digit at all is 0, and nobody looks at a second line
/// (`fs/ocfs2/cluster/nodemanager.c: o2nm_cluster_attr_write`).
pub(super) fn number(text: &[u8]) -> Result<u64, Errno> {
    let (radix, digits) = match text {
        [b'0', b'x' | b'X', digits @ ..] if digits.first().is_some_and(u8::is_ascii_hexdigit) => {
            (16, digits)
        }
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    number_in(radix, digits)
}

/// A number in decimal only: a zero in front changes nothing.
pub(super) fn decimal(text: &[u8]) -> Result<u64, Errno> {
    number_in(10, text)
}

/// A number that fits no 64 bits is larger than every limit: it is the largest one here.
fn number_in(radix: u32, text: &[u8]) -> Result<u64, Errno> {
    let mut number: u64 = 0;
    for &byte in text {
        match (byte as char).to_digit(radix) {
            Some(digit) => {
                number = number.saturating_mul(radix.into()).saturating_add(digit.into());
            }
            None if matches!(byte, b'\n' | 0) => break,
            None => return Err(Errno::EINVAL),
        }
    }
    Ok(number)
}

/// Milliseconds: not 0, and below the largest number of 32 bits.
pub(super) fn milliseconds(text: &[u8]) -> Result<u32, Errno> {
    match number(text)? {
        0 => Err(Errno::EINVAL),
        ms => u32::try_from(ms).ok().filter(|&ms| ms < u32::MAX).ok_or(Errno::ERANGE),
    }
}

/// A port: 1 to 65534.
pub(super) fn port(text: &[u8]) -> Result<u16, Errno> {
    match number(text)? {
        0 => Err(Errno::EINVAL),
        port => u16::try_from(port).ok().filter(|&port| port < u16::MAX).ok_or(Errno::ERANGE),
    }
}

/// Four numbers of at most three digits. What comes behind them does not matter.
pub(super) fn address(text: &[u8]) -> Result<Ipv4Addr, Errno> {
    let mut octets = [0u16; 4];
    let mut rest = text;
    for (at, octet) in octets.iter_mut().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix(b".").ok_or(Errno::EINVAL)?;
        }
        rest = rest.trim_ascii_start();
        let digits = rest.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(Errno::EINVAL);
        }
        let (number, behind) = rest.split_at(digits);
        *octet = number.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        rest = behind;
    }
    let [a, b, c, d] = octets.map(u8::try_from);
    match (a, b, c, d) {
        (Ok(a), Ok(b), Ok(c), Ok(d)) => Ok(Ipv4Addr::new(a, b, c, d)),
        _ => Err(Errno::ERANGE),
    }
}

/// The beginning of a mode's name, in any case; a newline at the end is left out.
pub(super) fn heartbeat_mode(text: &[u8]) -> Result<HeartbeatMode, Errno> {
    let word = text.strip_suffix(b"\n").unwrap_or(text);
    let begins = |name: &str| {
        name.as_bytes().get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    match word {
        [] => Err(Errno::EINVAL),
        _ if begins("local") => Ok(HeartbeatMode::Local),
        _ if begins("global") => Ok(HeartbeatMode::Global),
        _ => Err(Errno::EINVAL),
    }
}

/// One of these words, whole, in any case, with a newline behind it.
pub(super) fn word(text: &[u8], words: &[&'static str]) -> Result<&'static str, Errno> {
    let given = text.strip_suffix(b"\n").ok_or(Errno::EINVAL)?;
    let found = words.iter().find(|word| word.as_bytes().eq_ignore_ascii_case(given));
    found.copied().ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_the_kernel_reads_it() {
        let cases: [(&[u8], Result<u64, Errno>); 15] = [
            (b"30000\n", Ok(30000)),
            (b"30000", Ok(30000)),
            (b"0x10\n", Ok(16)),
            (b"0X1f", Ok(31)),
            (b"010", Ok(8)),
            (b"", Ok(0)),
            (b"\n", Ok(0)),
            (b"5\nand more", Ok(5)),
            (b"5\0and more", Ok(5)),
            (b"99999999999999999999999", Ok(u64::MAX)),
            (b"08", Err(Errno::EINVAL)),
            (b"0x", Err(Errno::EINVAL)),
            (b" 5", Err(Errno::EINVAL)),
            (b"-5", Err(Errno::EINVAL)),
            (b"5 ", Err(Errno::EINVAL)),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!((decimal(b"010"), decimal(b"0x10")), (Ok(10), Err(Errno::EINVAL)));
    }

    #[test]
    fn milliseconds_and_ports_have_limits() {
        assert_eq!(milliseconds(b"0"), Err(Errno::EINVAL));
        assert_eq!(milliseconds(b"4294967294"), Ok(u32::MAX - 1));
        assert_eq!(milliseconds(b"4294967295"), Err(Errno::ERANGE));
        assert_eq!(port(b"0"), Err(Errno::EINVAL));
        assert_eq!(port(b"65534"), Ok(65534));
        assert_eq!(port(b"65535"), Err(Errno::ERANGE));
    }

    #[test]
    fn an_address_is_four_numbers_of_three_digits() {
        let cases: [(&[u8], Result<Ipv4Addr, Errno>); 8] = [
            (b"10.77.0.1\n", Ok(Ipv4Addr::new(10, 77, 0, 1))),
            (b"010.077.000.001", Ok(Ipv4Addr::new(10, 77, 0, 1))),
            (b"1.2.3.4 and more", Ok(Ipv4Addr::new(1, 2, 3, 4))),
            (b"1.2.3", Err(Errno::EINVAL)),
            (b"1.2.3.", Err(Errno::EINVAL)),
            (b"1234.1.1.1", Err(Errno::EINVAL)),
            (b"256.1.1.1", Err(Errno::ERANGE)),
            (b"", Err(Errno::EINVAL)),
        ];
        for (text, expected) in cases {
            assert_eq!(address(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
    }

    // Behaviour 24.
    #[test]
    fn a_mode_may_be_cut_short_and_a_method_may_not() {
        for (text, expected) in [
            (&b"local\n"[..], Ok(HeartbeatMode::Local)),
            (b"GLOBAL", Ok(HeartbeatMode::Global)),
            (b"g", Ok(HeartbeatMode::Global)),
            (b"", Err(Errno::EINVAL)),
            (b"\n", Err(Errno::EINVAL)),
            (b"locally", Err(Errno::EINVAL)),
            (b"local\n\n", Err(Errno::EINVAL)),
        ] {
            assert_eq!(heartbeat_mode(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
        for (text, expected) in [
            (&b"Reset\n"[..], Ok("reset")),
            (b"reset", Err(Errno::EINVAL)),
            (b"res\n", Err(Errno::EINVAL)),
            (b"\n", Err(Errno::EINVAL)),
        ] {
            assert_eq!(word(text, &["reset", "panic"]), expected);
        }
    }
}
