//! MJR files for tests, and the packets of Ogg Opus files.

/// Returns an RTP packet.
pub fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    [&[0x80, 111, high, low, 0, 0, 0, 0, 0, 0, 0, 0], payload].concat()
}

/// Returns an MJR file. `first_at`: time of the first packet in microseconds; `packets`: milliseconds since
/// then, sequence number, and payload.
pub fn mjr(first_at: u64, packets: &[(u32, u16, &[u8])]) -> Vec<u8> {
    let json = format!("{{\"t\":\"a\",\"c\":\"opus\",\"s\":{first_at},\"u\":{first_at}}}");
    let mut file = [b"MJR00002", &(json.len() as u16).to_be_bytes()[..], json.as_bytes()].concat();
    for (millis, sequence, payload) in packets {
        let packet = rtp(*sequence, payload);
        file.extend(b"MEET");
        file.extend(millis.to_be_bytes());
        file.extend((packet.len() as u16).to_be_bytes());
        file.extend(packet);
    }
    file
}

/// Returns the packets of an Ogg file after the two headers, and the last granule position.
pub fn opus_packets(ogg: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let (mut packets, mut packet, mut rest, mut granule) = (Vec::new(), Vec::new(), ogg, 0);
    while let Some(header) = rest.get(..27) {
        assert!(header.starts_with(b"OggS"));
        granule = u64::from_le_bytes(header[6..14].try_into().unwrap());
        let (lacing, mut body) = rest[27..].split_at(usize::from(header[26]));
        for length in lacing {
            let (segment, after) = body.split_at(usize::from(*length));
            packet.extend(segment);
            body = after;
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = body;
    }
    packets.drain(..2);
    (packets, granule)
}
