//! Reads a segment through, piece by piece: as long as its frames check, memory does not grow with
//! the file.

use std::path::Path;
use std::sync::Arc;

use super::context::Context;
use super::error::StorageError;
use super::format::PROLOGUE_BYTES;
use super::frame::Salt;
use super::segment_scan::{End, Placed, SegmentScan};
use super::window::Window;
use crate::env::fs::{Fs, FsFile, OpenHow, read_exact_at};

/// How much is read at once: little enough that it is still in the processor's cache when it is
/// checked.
const PIECE_BYTES: usize = 256 << 10;

/// Positions in a segment have 32 bits.
const FILE_BYTES_MAX: u64 = u32::MAX as u64;

/// Goes through the frames in the first `upto` bytes of a segment and shows each to `visit`.
/// Returns how they end, and how long the file is.
///
/// Memory: a piece, or twice the longest frame where that is more; what stands behind the frames
/// that check is held whole.
///
/// # Errors
/// `Io`; `Corrupt` when the file is longer than any segment; the first that `visit` returns.
pub(crate) fn scan_file(
    fs: &dyn Fs,
    path: &Path,
    salt: Salt,
    upto: u64,
    mut visit: impl FnMut(Placed<'_>) -> Result<(), StorageError>,
) -> Result<(End, u64), StorageError> {
    let (file, len) = open_measured(fs, path)?;
    let mut window = Window::new(file, path, PROLOGUE_BYTES as u64, PIECE_BYTES);
    let upto = upto.min(len);
    let mut scan = SegmentScan::new(salt);
    let mut wanted = PIECE_BYTES;
    loop {
        let left = usize::try_from(upto.saturating_sub(window.offset())).unwrap_or(usize::MAX);
        window.fill(wanted.min(left))?;
        let piece = window.rest();
        let piece = piece.get(..left).unwrap_or(piece);
        let (seen, from) = (piece.len(), scan.offset());
        scan.go_on(piece, &mut visit)?;
        let passed = scan.offset() - from;
        // Less than was wanted is all there is.
        if seen < wanted || seen == left {
            let rest = piece.get(passed..).unwrap_or_default();
            return Ok((scan.finish(rest), len));
        }
        // A frame that is not whole yet, or the end: only more of the file tells.
        wanted = if passed > 0 { PIECE_BYTES } else { 2 * seen };
        window.take(passed);
    }
}

/// The first bytes of a file, `most` at most. Memory: no more than the file has.
///
/// # Errors
/// `Io`; `Corrupt` when it is longer than a segment can be.
pub(crate) fn read_start(
    context: &Context,
    path: &Path,
    most: usize,
) -> Result<Vec<u8>, StorageError> {
    let (file, len) = open_measured(&*context.env.fs, path)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default().min(most)];
    read_exact_at(&*file, &mut bytes, 0).map_err(StorageError::wrap("read", path))?;
    Ok(bytes)
}

/// A file and its length, which is that of a segment at most.
fn open_measured(fs: &dyn Fs, path: &Path) -> Result<(Arc<dyn FsFile>, u64), StorageError> {
    let file = fs.open(path, OpenHow::Read).map_err(StorageError::wrap("open", path))?;
    let len = file.len().map_err(StorageError::wrap("measure", path))?;
    if len > FILE_BYTES_MAX {
        return Err(StorageError::corrupt(path, len, "the file is longer than any of its kind"));
    }
    Ok((file, len))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::env::Env;
    use crate::env::fs::write_all_at;
    use crate::storage::frame::Chain;
    use crate::storage::segment_scan::tests::{NUMBER, SALT, segments};
    use crate::storage::segment_scan::{Stop, scan};

    /// What a walk showed: where each frame begins, what it holds, the checksum before it.
    type Shown = Vec<(usize, Vec<u8>, Chain)>;

    fn show(shown: &mut Shown, placed: &Placed<'_>) {
        shown.push((placed.offset, placed.frame.payload.to_vec(), placed.before));
    }

    /// Scans bytes as a file, in pieces, and whole: there is to be no difference.
    #[track_caller]
    fn compare(bytes: &[u8], upto: usize) -> End {
        let fs = Env::simulated(1).env.fs;
        let path = Path::new("/segment");
        let file = fs.open(path, OpenHow::CreateNew).unwrap();
        write_all_at(&*file, &mut [IoSlice::new(bytes)], 0).unwrap();
        let salt = Salt::new(SALT, NUMBER);
        let (mut in_pieces, mut whole) = (Shown::new(), Shown::new());
        let (end, len) = scan_file(&*fs, path, salt, upto as u64, |placed| {
            show(&mut in_pieces, &placed);
            Ok(())
        })
        .unwrap();
        assert_eq!(len, bytes.len() as u64);
        let expected = scan(&bytes[..upto.min(bytes.len())], salt, |placed| {
            show(&mut whole, &placed);
            Ok::<_, ()>(())
        });
        assert_eq!((end, in_pieces), (expected.unwrap(), whole));
        end
    }

    #[test]
    fn pieces_show_what_the_whole_shows() {
        // Shorter than a piece, some pieces long, and ending at every place of one.
        let payloads: Vec<Vec<u8>> = [0, 1, 100, 3 * PIECE_BYTES, 5_000, PIECE_BYTES, 40_000]
            .into_iter()
            .chain((0..300).map(|n| 8 * n))
            .map(|len| vec![7; len])
            .collect();
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        for segment in segments(&payloads) {
            let len = segment.bytes.len();
            let end = compare(&segment.bytes, usize::MAX);
            assert_eq!((end.offset, end.stop), (len, Stop::Clean));
            for upto in [0, 10, PIECE_BYTES, len - 1, len, len + 1] {
                compare(&segment.bytes, upto);
            }
            for start in segment.starts.iter().step_by(29) {
                compare(&segment.bytes, *start);
            }
            // Room behind it, and damage everywhere.
            let mut bytes = segment.bytes;
            bytes.resize(len + 3 * PIECE_BYTES, 0);
            let end = compare(&bytes, usize::MAX);
            assert_eq!((end.offset, end.stop), (len, Stop::Clean));
            for at in (PROLOGUE_BYTES..bytes.len()).step_by(bytes.len() / 23) {
                let byte = bytes[at];
                bytes[at] ^= 0x40;
                let end = compare(&bytes, usize::MAX);
                assert!(matches!(end.stop, Stop::Bad(_)), "{at}");
                bytes[at] = byte;
            }
        }
    }
}
