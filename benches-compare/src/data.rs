//! Rows to write and keys to read, the same for every store and in every run.

/// A key with its value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// How many rows of which lengths in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) key: usize,
    pub(crate) value: usize,
}

/// Rows whose keys begin with one [`prefix`].
pub(crate) const GROUP_ROWS: usize = 1000;

impl Shape {
    /// The rows: each key once, in random order, with random bytes for values.
    pub(crate) fn rows(self) -> Vec<Row> {
        self.rows_from(0)
    }

    /// As [`Self::rows`], with the keys that come behind the first `from` ones, and other values.
    pub(crate) fn rows_from(self, from: usize) -> Vec<Row> {
        let mut random = Random(0x5EED + from as u64);
        let numbers = from..from + self.rows;
        let mut rows: Vec<Row> = numbers
            .map(|number| Row { key: key(number, self.key), value: random.bytes(self.value) })
            .collect();
        random.shuffle(&mut rows);
        rows
    }

    /// `count` of the keys, drawn at random: one may come twice.
    pub(crate) fn drawn_keys(self, count: usize) -> Vec<Vec<u8>> {
        let mut random = Random(0xFACE);
        (0..count).map(|_| key(random.below(self.rows), self.key)).collect()
    }

    /// All prefixes that have [`GROUP_ROWS`] rows, in random order.
    pub(crate) fn prefixes(self) -> Vec<Vec<u8>> {
        let mut prefixes: Vec<_> = (0..self.rows / GROUP_ROWS).map(prefix).collect();
        Random(0xF1F0).shuffle(&mut prefixes);
        prefixes
    }

    /// Bytes of all keys and values.
    pub(crate) const fn bytes(self) -> u64 {
        self.rows as u64 * (self.key + self.value) as u64
    }
}

/// The keys of the rows in another random order.
pub(crate) fn keys_shuffled(rows: &[Row]) -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    Random(0xFACE).shuffle(&mut keys);
    keys
}

/// Key number `number`: the group it belongs to, then its place there.
fn key(number: usize, len: usize) -> Vec<u8> {
    let mut key = prefix(number / GROUP_ROWS);
    let width = len - key.len();
    key.extend_from_slice(format!("{:0width$x}", number % GROUP_ROWS).as_bytes());
    key
}

/// What the keys of one group begin with.
fn prefix(group: usize) -> Vec<u8> {
    format!("{group:07x}:").into_bytes()
}

/// A small generator with a fixed seed: every run writes the same bytes.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    #[expect(clippy::cast_possible_truncation, reason = "below a length")]
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// So many random bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes.shrink_to_fit();
        bytes
    }

    /// Puts the items in random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_as_many_rows_as_it_says() {
        let shape = Shape { rows: 3 * GROUP_ROWS, key: 16, value: 8 };
        let rows = shape.rows();
        for prefix in shape.prefixes() {
            assert_eq!(rows.iter().filter(|row| row.key.starts_with(&prefix)).count(), GROUP_ROWS);
        }
    }

    #[test]
    fn rows_have_their_lengths_and_no_key_comes_twice() {
        let rows = Shape { rows: 2500, key: 32, value: 100 }.rows();
        assert!(rows.iter().all(|row| row.key.len() == 32 && row.value.len() == 100));
        let keys: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.key).collect();
        assert_eq!(keys.len(), rows.len());
    }
}
