//! Compressed messages (permessage-deflate) that anybody may send to the gateway: they are read as
//! zlib reads them, each by itself, and never take more memory than their bound.

use flate2::{Decompress, FlushDecompress, Status};
use relogin_gateway::testing::{Compression, Inflated};

/// The largest message, so small that a fuzzer reaches it.
const MAX: usize = 64 << 10;

/// Bytes that may be held beside a message and its text: a decompressor, and room for its next
/// piece.
const BESIDE: usize = (48 << 10) + (64 << 10);

/// The end of a message that is not sent (RFC 7692, section 7.2.2), and an empty last block.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// A message that every sender of the gateway's own kind may send.
const PLAIN: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

pub(crate) fn message(input: &[u8]) {
    let compression = Compression::default();
    let (inflated, most) = compression.inflate(input, MAX);
    // A vector may have twice as much room as it needs.
    assert!(most <= input.len() + 2 * (MAX + 1) + BESIDE, "{most} bytes for a message of {}", input.len());
    assert_eq!(compression.held(), 0, "a message that is dealt with is not counted any more");
    let expected = by_zlib(input);
    match &inflated {
        Inflated::Message(text) => assert_eq!(Some(&text[..]), expected.as_deref(), "it says something else"),
        Inflated::TooLarge | Inflated::Invalid => assert_eq!(expected, None, "{inflated:?}"),
    }
    // Nothing is left of it for the next one, whatever it was.
    assert_eq!(compression.inflate(PLAIN, MAX).0, Inflated::Message("Hello".into()));
    assert_eq!(compression.inflate(input, MAX).0, inflated, "it says the same as before");
    // One byte less than it says is too few.
    if let Inflated::Message(text) = &inflated
        && let Some(less) = text.len().checked_sub(1)
    {
        assert_eq!(compression.inflate(input, text.len()).0, inflated);
        assert_eq!(compression.inflate(input, less).0, Inflated::TooLarge);
    }
    comes_back(&compression, input);
    comes_back(&compression, &input.repeat(4096 / input.len().max(1)));
}

/// A compressed message is shorter, and decompresses to the original.
fn comes_back(compression: &Compression, text: &[u8]) {
    if let Some(deflated) = compression.deflate(text) {
        assert!(deflated.len() < text.len(), "{} of {}", deflated.len(), text.len());
        assert_eq!(compression.inflate(&deflated, text.len()).0, Inflated::Message(text.to_vec().into()));
    }
    assert_eq!(compression.held(), 0);
}

/// All of it at once. `None` if it is malformed, or too large.
fn by_zlib(message: &[u8]) -> Option<Vec<u8>> {
    let whole = [message, &END].concat();
    let (mut decompressor, mut text) = (Decompress::new(false), vec![0; MAX + 1]);
    let status = decompressor.decompress(&whole, &mut text, FlushDecompress::None).ok()?;
    text.truncate(usize::try_from(decompressor.total_out()).ok()?);
    let consumed = usize::try_from(decompressor.total_in()).ok()?;
    // After a last block of its own, an empty one may follow, of which the first byte is sent.
    let is_at_end = consumed == whole.len() || matches!(message.get(consumed..), Some([] | [0]));
    (status == Status::StreamEnd && is_at_end && text.len() <= MAX).then_some(text)
}
