use super::*;
use proptest::prelude::*;

fn check(head: &str) -> (Option<u16>, Class, &'static str, Framing) {
    let found = examine(head.as_bytes(), Mitigation::Defensive);
    (found.status, found.class, found.reason.unwrap_or("-"), found.framing)
}

fn post(headers: &str) -> (Option<u16>, Class, &'static str, Framing) {
    check(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))
}

#[test]
fn plain_requests_are_compliant() {
    let plain = |framing| (None, Class::Compliant, "-", framing);
    assert_eq!(check("GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"), plain(Framing::None));
    assert_eq!(check("GET / HTTP/1.0\r\n\r\n"), plain(Framing::None));
    assert_eq!(post("Content-Length: 12\r\n"), plain(Framing::Length(12)));
    assert_eq!(post("Transfer-Encoding: Chunked\r\n"), plain(Framing::Chunked));
}

#[test]
fn what_no_two_servers_agree_on_is_refused() {
    for headers in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "X: a\0b\r\n",
        "X: a\r\n folded\r\n",
        "Host: b\r\n",
        "no colon\r\n",
        ": empty\r\n",
    ] {
        let (status, class, ..) = post(headers);
        assert_eq!((status, class), (Some(400), Class::Severe), "{headers:?}");
    }
    for head in [
        "GET /\r\n\r\n",
        "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(check(head).0, Some(400), "{head:?}");
    }
    assert_eq!(check("PRI * HTTP/2.0\r\n\r\n").0, Some(505));
    assert_eq!(post("Transfer-Encoding: gzip, chunked\r\n").0, Some(501));
}

#[test]
fn ambiguous_requests_pass_once() {
    for (headers, reason) in [
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "DuplicateContentLength"),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "BothTeClPresent"),
        ("Transfer_Encoding: chunked\r\n", "SuspiciousHeader"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let found = examine(head.as_bytes(), Mitigation::Defensive);
        assert_eq!((found.status, found.close), (None, true), "{headers:?}");
        assert_eq!((found.class, found.reason), (Class::Ambiguous, Some(reason)));
        let strict = examine(head.as_bytes(), Mitigation::Strictest);
        assert_eq!((strict.status, strict.close), (Some(400), true));
        let monitor = examine(head.as_bytes(), Mitigation::Monitor);
        assert_eq!((monitor.status, monitor.close), (None, false));
    }
    let (_, class, reason, _) = check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    assert_eq!((class, reason), (Class::Ambiguous, "UndefinedContentLengthSemantics"));
    let (_, class, reason, _) = check("GET / HTTP/1.1\nHost: a\n\n");
    assert_eq!((class, reason), (Class::Acceptable, "NonCompliantHeader"));
}

#[test]
fn what_looks_like_framing_is_not_passed_on() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 9\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n";
    let found = examine(head.as_bytes(), Mitigation::Defensive);
    assert_eq!(found.framing, Framing::Length(2));
    let expected = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(String::from_utf8(found.rewritten.unwrap()).unwrap(), expected);
}

#[test]
fn limits_are_those_of_the_service() {
    let long = "a".repeat(17 << 10);
    assert_eq!(check(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")).0, Some(414));
    assert_eq!(post(&format!("X: {long}\r\n")).0, Some(400));
    assert_eq!(post(&"X: y\r\n".repeat(101)).0, Some(400));
}

#[test]
fn the_end_of_a_head_is_found_however_it_comes() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    assert_eq!(end(text, 0), Some(27));
    for split in 0..27 {
        assert_eq!(end(&text[..split], 0), None);
        assert_eq!(end(text, split), Some(27));
    }
    assert_eq!(end(b"a\n\nb", 0), Some(3));
}

fn read(framing: Framing, bytes: &[u8]) -> Result<(usize, bool, u64), BadChunk> {
    let (mut reader, mut size) = (BodyReader::new(framing), 0);
    let taken = reader.take(bytes, &mut size)?;
    Ok((taken, reader.is_done(), size))
}

#[test]
fn a_body_ends_where_its_framing_says() {
    assert_eq!(read(Framing::None, b"GET"), Ok((0, true, 0)));
    assert_eq!(read(Framing::Length(2), b"abGET"), Ok((2, true, 2)));
    assert_eq!(read(Framing::Chunked, b"2\r\nab\r\n0\r\n\r\nGET"), Ok((12, true, 2)));
    let extended = b"2;a=b\r\nab\r\n0\r\nX: y\r\n\r\n";
    assert_eq!(read(Framing::Chunked, extended), Ok((extended.len(), true, 2)));
    for bad in [
        &b"2\nab\r\n"[..],
        b"2\r\nabc\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x2\r\nab\r\n",
        b"2;a\nb\r\nab",
        b"11111111111111111\r\n",
        b"2\r\nab0\r\n\r\n",
    ] {
        assert_eq!(read(Framing::Chunked, bad), Err(BadChunk), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for mode in [Mitigation::Monitor, Mitigation::Defensive, Mitigation::Strictest] {
            let mut head = bytes.clone();
            head.extend_from_slice(b"\r\n\r\n");
            let found = examine(&head[..end(&head, 0).unwrap()], mode);
            prop_assert!(found.status.is_none() || found.close);
        }
    }

    #[test]
    fn a_chunked_body_ends_at_the_same_byte_however_it_is_split(
        chunks in prop::collection::vec("[a-z]{1,20}", 0..5), step in 1usize..7
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let length = bytes.len();
        bytes.extend_from_slice(b"GET / HTTP/1.1");
        let (mut reader, mut size, mut total) = (BodyReader::new(Framing::Chunked), 0, 0);
        for part in bytes.chunks(step) {
            total += reader.take(part, &mut size).unwrap();
        }
        prop_assert!(reader.is_done());
        prop_assert_eq!(total, length);
        prop_assert_eq!(size, chunks.concat().len() as u64);
    }
}
