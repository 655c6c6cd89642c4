//! Both forms of a header, to the byte and to the bit.

use super::*;

const SALT: u64 = 0x1122_3344_5566_7788;
const NUMBER: u32 = 6;
/// Where frames stand in these tests.
const AT: u64 = 1024;

fn salt() -> Salt {
    Salt::new(SALT, NUMBER)
}

/// Of an entry that says that its file was synced up to `synced`.
fn header(payload_len: usize, synced: u32) -> FrameHeader {
    FrameHeader {
        kind: FrameKind::Normal,
        flag: Flag::Unset,
        id: LogId { term: Term(2), leader: NodeId(3), index: LogIndex(4) },
        clock: Timestamp(5),
        durable_upto: LogPosition { segment: SegmentId(NUMBER), offset: synced },
        payload_len: u32::try_from(payload_len).unwrap(),
    }
}

/// Two headers that have a short form, and one whose `durable_upto` no short one can say.
fn headers(payload_len: usize) -> [FrameHeader; 3] {
    [header(payload_len, 40), header(payload_len, 1024), header(payload_len, 41)]
}

fn encode(header: &FrameHeader, payload: &[u8], before: Chain) -> Vec<u8> {
    let (head, body) = payload.split_at(payload.len() / 2);
    let padded = [head, body, padding(payload.len())];
    let encoded = encode_header(header, &padded, salt(), AT, before);
    let frame = [encoded.bytes(), &padded.concat()].concat();
    // Appended to others it is the same.
    let mut pushed = b"others".to_vec();
    let chain = push_frame(&mut pushed, header, [head, body], salt(), AT, before);
    assert_eq!(pushed, [b"others", &*frame].concat());
    assert_eq!(chain, encoded.chain);
    frame
}

#[test]
fn a_frame_reads_back() {
    let before = Chain(9);
    for len in [0, 1, 7, 8, 9, 600] {
        let payload: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for (told, header_bytes) in headers(len).into_iter().zip([32, 32, 56]) {
            let bytes = encode(&told, &payload, before);
            let frame = check_frame(&bytes, salt(), AT, before).unwrap();
            assert_eq!(frame.payload, payload);
            assert_eq!(frame.header, told);
            assert_eq!((frame.len, frame.header_bytes()), (bytes.len(), header_bytes));
            assert!(bytes.len() <= frame_len_max(len));
        }
    }
    assert_eq!(entry_frame_len(9), encode(&header(9, 40), &[7; 9], before).len());
}

#[test]
fn what_has_no_room_in_a_short_header_gets_a_long_one_and_reads_back() {
    let change = |change: &dyn Fn(&mut FrameHeader)| {
        let mut header = header(0, 40);
        change(&mut header);
        let bytes = encode(&header, &[], Chain(9));
        let frame = check_frame(&bytes, salt(), AT, Chain(9)).unwrap();
        assert_eq!(frame.header, header);
        frame.header_bytes()
    };
    let at = |segment, offset| LogPosition { segment: SegmentId(segment), offset };
    let fits: [&dyn Fn(&mut FrameHeader); 6] = [
        &|header| header.id.index = LogIndex((1 << 40) - 1),
        &|header| header.id.term = Term((1 << 24) - 1),
        &|header| header.id.leader = NodeId((1 << 16) - 1),
        &|header| header.clock = Timestamp((1 << 56) - 1),
        &|header| header.kind = FrameKind::Blank,
        &|header| header.durable_upto = at(NUMBER, 0),
    ];
    for fit in fits {
        assert_eq!(change(fit), SHORT_HEADER_BYTES);
    }
    let does_not: [&dyn Fn(&mut FrameHeader); 9] = [
        &|header| header.id.index = LogIndex(1 << 40),
        &|header| header.id.term = Term(1 << 24),
        &|header| header.id.leader = NodeId(1 << 16),
        &|header| header.clock = Timestamp(1 << 56),
        &|header| header.kind = FrameKind::Vote,
        &|header| header.flag = Flag::Set,
        &|header| header.durable_upto = at(NUMBER - 1, 40),
        &|header| header.durable_upto = at(NUMBER + 1, 0),
        &|header| header.durable_upto = at(NUMBER, 1032),
    ];
    for other in does_not {
        assert_eq!(change(other), HEADER_BYTES);
    }
    // As far back as three bytes of words say, and no further.
    let far = (1 << 27) - 8;
    let is_short = |offset| header(0, 0).words_if_short(salt(), offset).is_some();
    assert!(is_short(far));
    assert!(!is_short(far + 8));
    assert_eq!(header(1 << 24, 40).words_if_short(salt(), AT), None);
    assert!(header((1 << 24) - 1, 40).words_if_short(salt(), AT).is_some());
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let chain = salt().chain();
    let long = encode(&header(3, 7), b"abc", chain);
    let golden: [u8; 48] = [
        3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0,
        0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0,
    ];
    assert_eq!(long[..48], golden);
    assert_eq!(long[56..], *b"abc\0\0\0\0\0");
    let short = encode(&header(3, 40), b"abc", chain);
    let golden: [u8; 24] =
        [227, 5, 0, 0, 0, 0, 0, 0, 3, 0, 0, 4, 0, 0, 0, 0, 123, 0, 0, 2, 0, 0, 3, 0];
    assert_eq!(short[..24], golden);
    assert_eq!(short[32..], *b"abc\0\0\0\0\0");
    // Written out once and kept: a change here is a new format version.
    assert_eq!(long[48..56], LONG_CHECKSUMS);
    assert_eq!(short[24..32], SHORT_CHECKSUMS);
}

// Also computed by independent readers written from docs/format.md alone.
const LONG_CHECKSUMS: [u8; 8] = [105, 227, 175, 101, 234, 205, 138, 209];
const SHORT_CHECKSUMS: [u8; 8] = [126, 14, 146, 151, 250, 0, 71, 248];

#[test]
fn every_flipped_bit_is_seen() {
    let before = Chain(9);
    for told in headers(12) {
        let good = encode(&told, b"some payload", before);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check_frame(&bytes, salt(), AT, before).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn another_place_file_or_predecessor_does_not_check() {
    for told in headers(12) {
        let bytes = encode(&told, b"some payload", Chain(9));
        let header = |salt, offset| check_header(&bytes, Salt::new(salt, NUMBER), offset);
        assert!(header(SALT, AT).is_some());
        assert_eq!(header(SALT, AT + 8), None);
        assert_eq!(header(SALT + 1, AT), None);
        let other = check_frame(&bytes, salt(), AT, Chain(8));
        assert!(matches!(other, Err(NotAFrame::Payload(_))));
    }
}

#[test]
fn a_hostile_length_is_refused_without_reading_it() {
    let mut bytes = encode(&header(0, 41), b"", Chain(0));
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(check_header(&bytes, salt(), AT), None);
}

#[test]
fn a_short_header_whose_values_nobody_writes_is_refused() {
    let good = encode(&header(0, 40), b"", Chain(0));
    // Makes the header checksum right again.
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let crc = salt().header_crc(AT, &bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        check_header(&bytes, salt(), AT)
    };
    assert!(changed(&|_| {}).is_some());
    assert!(changed(&|bytes| bytes[8] = 200).is_some_and(|h| h.header.payload_len == 200));
    // A kind that has no short form, one that is none, and a sync before the file began.
    for code in [FrameKind::Vote.code(), FrameKind::Seal.code(), 0, 13, 0x1f] {
        assert_eq!(changed(&|bytes| bytes[0] = SHORT_BITS | code), None, "{code}");
    }
    assert_eq!(changed(&|bytes| bytes[18] = 1), None);
}

#[test]
fn codes_name_all_kinds_and_nothing_else() {
    for code in 0..=u8::MAX {
        if let Some(kind) = FrameKind::from_code(code) {
            assert_eq!(kind.code(), code);
        } else {
            assert!(code == 0 || code > 12);
        }
    }
}
