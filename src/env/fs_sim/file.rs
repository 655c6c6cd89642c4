//! A file of the simulated disk: what the medium holds, what the page cache shows, and the changes
//! between them that a power cut may keep or lose.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{Content, Sector, spans};

/// One file. Cloning copies pointers.
#[derive(Clone, Debug, Default)]
pub(super) struct SimFile {
    /// What the medium holds.
    pub(super) durable: Arc<Content>,
    /// What reads show.
    pub(super) cache: Arc<Content>,
    /// What each sector of the medium held before it was last written, for damage at rest.
    pub(super) previous: Arc<Content>,
    /// For each sector touched since the last sync, what the page cache held after each touch.
    pub(super) pending: BTreeMap<usize, Vec<Sector>>,
    /// Every length that the file has had since the last sync.
    pub(super) lengths: Vec<u64>,
}

impl SimFile {
    /// A file that is `content` through and through.
    pub(super) fn clean(content: Arc<Content>, previous: Arc<Content>) -> Self {
        Self {
            cache: Arc::clone(&content),
            durable: content,
            previous,
            pending: BTreeMap::new(),
            lengths: Vec::new(),
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.pending.is_empty() && self.lengths.is_empty()
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        if data.is_empty() {
            return;
        }
        let cache = Arc::make_mut(&mut self.cache);
        cache.write(data, offset);
        for span in spans(offset, data.len()) {
            let version = cache.sector(span.sector).clone();
            self.pending.entry(span.sector).or_default().push(version);
        }
        self.note_length();
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let cache = Arc::make_mut(&mut self.cache);
        let touched = cache.sectors_from(len);
        let before: Vec<Sector> =
            touched.clone().map(|index| cache.sector(index).clone()).collect();
        cache.set_len(len);
        for (index, before) in touched.zip(before) {
            // Room that was never written reads the same with and without the cut.
            if matches!(before, Sector::Data(_)) && *cache.sector(index) != before {
                let version = cache.sector(index).clone();
                self.pending.entry(index).or_default().push(version);
            }
        }
        self.note_length();
    }

    pub(super) fn allocate(&mut self, offset: u64, end: u64) {
        Arc::make_mut(&mut self.cache).reserve(offset, end);
        self.note_length();
    }

    fn note_length(&mut self) {
        let len = self.cache.len();
        if self.lengths.last() != Some(&len) {
            self.lengths.push(len);
        }
    }

    /// The sync worked: the medium holds all changes since the last one.
    pub(super) fn sync(&mut self) {
        if self.is_clean() {
            return;
        }
        let before = Arc::clone(&self.durable);
        self.durable = Arc::new(self.all_written());
        let previous = Arc::make_mut(&mut self.previous);
        for index in self.pending.keys() {
            previous.put(*index, before.sector(*index).clone());
        }
        self.forget_pending();
    }

    /// The medium with all changes since the last sync. Not always what the cache shows: what a
    /// failed sync dropped is in the cache alone.
    pub(super) fn all_written(&self) -> Content {
        let mut content = (*self.durable).clone();
        if let Some(shortest) = self.lengths.iter().min()
            && *shortest < content.len()
        {
            content.set_len(*shortest);
        }
        for (index, versions) in &self.pending {
            content.put(*index, versions.last().cloned().unwrap_or_default());
        }
        content.set_len(self.cache.len());
        content.reserve_as(&self.cache);
        content
    }

    /// The sync failed: the changes will never reach the medium, and nobody remembers that.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
        self.lengths.clear();
    }

    /// Changes medium and cache alike, as if the page cache had been dropped.
    pub(super) fn damage(&mut self, change: impl Fn(&mut Content)) {
        let shared = Arc::ptr_eq(&self.durable, &self.cache);
        change(Arc::make_mut(&mut self.durable));
        if shared {
            self.cache = Arc::clone(&self.durable);
        } else {
            change(Arc::make_mut(&mut self.cache));
        }
    }
}
