//! The checksum of heartbeat blocks and of message keys.

/// CRC-32, reflected polynomial 0xEDB88320, with the given seed and without the final inversion
/// (`lib/crc32.c: crc32_le`).
///
/// ```
/// use stackglue_o2cb::crc_le;
///
/// assert_eq!(crc_le(0, b"123456789"), 0x2DFD_2D88);
/// assert_eq!(crc_le(32, b"123456789"), 0xAF0C_AF2B);
/// assert_eq!(crc_le(0, &[0; 512]), 0);
/// ```
pub const fn crc_le(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = seed;
    let mut at = 0;
    while at < bytes.len() {
        crc = TABLE[((crc ^ bytes[at] as u32) & 0xff) as usize] ^ (crc >> 8);
        at += 1;
    }
    crc
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
