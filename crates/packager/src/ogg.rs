//! Pages of an Ogg stream (RFC 3533 section 6).

/// Flag of the first page of a logical stream.
pub const FIRST: u8 = 0x02;
/// Flag of the last page.
pub const LAST: u8 = 0x04;
/// Largest number of segments of a page. A packet needs one segment more than it has whole 255 bytes.
pub const MOST_SEGMENTS: usize = 255;

/// Returns a page of these packets, which must fit into it. `granule`: position at their end; `number`: of
/// the page in its logical stream `serial`.
pub fn page(flags: u8, granule: u64, serial: u32, number: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut lacing = Vec::new();
    for packet in packets {
        lacing.extend(std::iter::repeat_n(255, packet.len() / 255));
        lacing.push((packet.len() % 255) as u8);
    }
    let body: usize = packets.iter().map(|packet| packet.len()).sum();
    let mut page = Vec::with_capacity(27 + lacing.len() + body);
    page.extend(b"OggS\0");
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend(serial.to_le_bytes());
    page.extend(number.to_le_bytes());
    page.extend([0; 4]);
    // At most `MOST_SEGMENTS`.
    page.push(lacing.len() as u8);
    page.extend(lacing);
    packets.iter().for_each(|packet| page.extend_from_slice(packet));
    let checksum = checksum(&page).to_le_bytes();
    page[22..26].copy_from_slice(&checksum);
    page
}

/// Returns the checksum of a page whose checksum field is zero.
pub fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut crc, mut bit) = ((n as u32) << 24, 0);
        while bit < 8 {
            crc = if crc >> 31 == 1 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_ogg() {
        // The complement of the check value of CRC-32/POSIX, which differs only in the final inversion.
        assert_eq!(checksum(b"123456789"), 0x89a1_897f);
    }
}
