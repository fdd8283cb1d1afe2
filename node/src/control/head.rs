//! The head of an HTTP/1.1 answer, read up to its last byte and not one further: what comes behind it belongs to somebody
//! else.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What is of interest in a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// The protocol of a 101.
    pub(super) upgrade: Option<String>,
    /// Where a redirection leads.
    pub(super) location: Option<String>,
}

/// Reads a head of at most [`MAX_HEAD_BYTES`].
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Head> {
    let mut head = Vec::new();
    while !head.ends_with(END) {
        if head.len() == MAX_HEAD_BYTES {
            return Err(io::Error::other("answers with a head that is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    parse(&head).ok_or_else(|| io::Error::other("answers something that is not HTTP/1"))
}

fn parse(head: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let version = first.next()?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return None;
    }
    let status = first
        .next()
        .filter(|text| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()))?
        .parse()
        .ok()?;
    let field = |wanted: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_owned())
    };
    Some(Head {
        status,
        upgrade: field("upgrade"),
        location: field("location"),
    })
}

const END: &[u8] = b"\r\n\r\n";
const MAX_HEAD_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_behind_the_head_stays_in_the_stream() {
        let mut stream: &[u8] =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade:  malha-carrier/1\r\n\r\n\0\x03abc";
        let head = read(&mut stream).await.unwrap();
        assert_eq!(
            (head.status, head.upgrade.as_deref()),
            (101, Some("malha-carrier/1"))
        );
        assert_eq!(stream, b"\0\x03abc");
    }

    #[tokio::test]
    async fn what_is_no_head_is_an_error() {
        let endless = vec![b'a'; MAX_HEAD_BYTES + 10];
        let hostile: [&[u8]; 6] = [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 +20 OK\r\n\r\n",
            &endless,
        ];
        for mut stream in hostile {
            let text = String::from_utf8_lossy(stream).into_owned();
            let head = read(&mut stream).await;
            assert!(head.is_err(), "{text}");
        }
    }
}
