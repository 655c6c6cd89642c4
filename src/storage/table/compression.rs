//! Makes the content of a block shorter, and long again.
//!
//! Zstandard is the library in C, so it is behind the feature `zstd`; LZ4 is Rust. A block says for
//! itself how it is stored.

#[cfg(feature = "zstd")]
use std::cell::RefCell;
use std::io;

use crate::config::Compression;

/// The content as it is.
pub(super) const RAW: u8 = 0;
/// One LZ4 block.
const LZ4: u8 = 1;
/// One Zstandard frame.
const ZSTD: u8 = 2;

/// The feature without which a build has no Zstandard.
pub(in crate::storage) const FEATURE: &str = "zstd";
/// How much work is put into each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Effort {
    /// The fastest level: what a table saves beyond it is little and costs every merge.
    Least,
    /// The library's ordinary level, for what is compressed once and kept.
    Ordinary,
}

#[cfg(feature = "zstd")]
impl Effort {
    const fn zstd_level(self) -> i32 {
        match self {
            Self::Least => 1,
            Self::Ordinary => 3,
        }
    }
}

/// No LZ4 block is shorter than its content by more than this.
const LZ4_RATIO_MAX: usize = 256;
/// Memory that is kept for the next block.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Compresses the blocks of one file.
pub(in crate::storage) struct Compressor {
    with: With,
    scratch: Vec<u8>,
}

enum With {
    Nothing,
    Lz4,
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Compressor {
    /// Gets ready; `None` for a compression that this build leaves out.
    ///
    /// # Errors
    /// What the library says when it cannot start.
    #[cfg_attr(
        not(feature = "zstd"),
        expect(
            clippy::unnecessary_wraps,
            unused_variables,
            reason = "only the library in C can fail to start, and has levels"
        )
    )]
    pub(in crate::storage) fn new(
        compression: Compression,
        effort: Effort,
    ) -> io::Result<Option<Self>> {
        let with = match compression {
            Compression::Off => With::Nothing,
            Compression::Lz4 => With::Lz4,
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                With::Zstd(Box::new(zstd::bulk::Compressor::new(effort.zstd_level())?))
            }
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => return Ok(None),
        };
        Ok(Some(Self { with, scratch: Vec::new() }))
    }

    /// How a content is to be stored, and as which bytes: as it is, unless it becomes shorter by an
    /// eighth. What saves less is not worth the work of every read.
    pub(in crate::storage) fn compress<'a>(&'a mut self, content: &'a [u8]) -> (u8, &'a [u8]) {
        let worth_it = content.len() - content.len() / 8;
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_BYTES_MAX);
        let compressed = match &mut self.with {
            With::Nothing => None,
            With::Lz4 => {
                let most = lz4_flex::block::get_maximum_output_size(content.len());
                self.scratch.resize(most, 0);
                let len = lz4_flex::block::compress_into(content, &mut self.scratch);
                len.ok().map(|len| (LZ4, len))
            }
            #[cfg(feature = "zstd")]
            With::Zstd(zstd) => {
                self.scratch.resize(worth_it, 0);
                // It fails when what comes out does not fit, which is to say that it is too long.
                let len = zstd.compress_to_buffer(content, self.scratch.as_mut_slice());
                len.ok().map(|len| (ZSTD, len))
            }
        };
        match compressed.and_then(|(method, len)| Some((method, self.scratch.get(..len)?))) {
            Some((method, stored)) if stored.len() <= worth_it => (method, stored),
            _ => (RAW, content),
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Why a content cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotDecompressed {
    /// It is not what the method makes, or not as long as the block says.
    Malformed,
    /// This build leaves the method out: the name of the feature that has it.
    #[cfg(not(feature = "zstd"))]
    MissingFeature(&'static str),
}

/// The content that is stored like this. The caller has bounded `content_bytes`.
///
/// # Errors
/// When there is none.
pub(super) fn decompress(
    method: u8,
    stored: &[u8],
    content_bytes: usize,
) -> Result<Vec<u8>, NotDecompressed> {
    match method {
        RAW if stored.len() == content_bytes => Ok(stored.to_vec()),
        LZ4 if content_bytes / LZ4_RATIO_MAX <= stored.len() => {
            let mut content = vec![0; content_bytes];
            match lz4_flex::block::decompress_into(stored, &mut content) {
                Ok(len) if len == content_bytes => Ok(content),
                _ => Err(NotDecompressed::Malformed),
            }
        }
        ZSTD => decompress_zstd(stored, content_bytes),
        _ => Err(NotDecompressed::Malformed),
    }
}

#[cfg(feature = "zstd")]
fn decompress_zstd(stored: &[u8], content_bytes: usize) -> Result<Vec<u8>, NotDecompressed> {
    thread_local! {
        /// Setting one up costs more than a block.
        static ZSTD_READER: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { RefCell::new(None) };
    }
    ZSTD_READER.with_borrow_mut(|reader| {
        if reader.is_none() {
            *reader = zstd::bulk::Decompressor::new().ok();
        }
        let reader = reader.as_mut().ok_or(NotDecompressed::Malformed)?;
        let mut content = vec![0; content_bytes];
        match reader.decompress_to_buffer(stored, content.as_mut_slice()) {
            Ok(len) if len == content_bytes => Ok(content),
            _ => Err(NotDecompressed::Malformed),
        }
    })
}

#[cfg(not(feature = "zstd"))]
fn decompress_zstd(_stored: &[u8], _content_bytes: usize) -> Result<Vec<u8>, NotDecompressed> {
    Err(NotDecompressed::MissingFeature(FEATURE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all() -> Vec<Compression> {
        let all = [Compression::Off, Compression::Lz4, Compression::Zstd];
        all.into_iter()
            .filter(|&with| Compressor::new(with, Effort::Least).unwrap().is_some())
            .collect()
    }

    #[test]
    fn a_build_has_what_its_features_say() {
        assert_eq!(all().contains(&Compression::Zstd), cfg!(feature = "zstd"));
        #[cfg(not(feature = "zstd"))]
        assert_eq!(decompress(ZSTD, b"", 0), Err(NotDecompressed::MissingFeature("zstd")));
    }

    #[test]
    fn what_does_not_become_shorter_by_an_eighth_stays_as_it_is() {
        let mut noise = vec![0; 4096];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for with in all() {
            let mut compressor = Compressor::new(with, Effort::Least).unwrap().unwrap();
            assert_eq!(compressor.compress(&noise), (RAW, noise.as_slice()));
            let (method, stored) = compressor.compress(&[7; 4096]);
            assert_eq!(method == RAW, with == Compression::Off);
            assert!(with == Compression::Off || stored.len() < 200);
        }
    }

    proptest! {
        #[test]
        fn contents_come_back(
            words in proptest::collection::vec(0..20_u8, 0..5000),
        ) {
            for with in all() {
                let mut compressor = Compressor::new(with, Effort::Least).unwrap().unwrap();
                let (method, stored) = compressor.compress(&words);
                prop_assert_eq!(decompress(method, stored, words.len()), Ok(words.clone()));
                if method != RAW {
                    let longer = decompress(method, stored, words.len() + 1);
                    prop_assert_eq!(longer, Err(NotDecompressed::Malformed));
                    let shorter = decompress(method, stored, words.len() - 1);
                    prop_assert_eq!(shorter, Err(NotDecompressed::Malformed));
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_or_decompressed(
            method in 0..4_u8,
            stored in proptest::collection::vec(any::<u8>(), 0..100),
            content_bytes in 0..10_000_usize,
        ) {
            if let Ok(content) = decompress(method, &stored, content_bytes) {
                prop_assert_eq!(content.len(), content_bytes);
            }
        }
    }
}
